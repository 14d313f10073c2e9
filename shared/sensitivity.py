"""Sensitivity: what a deficit in one short window costs, by where the window lies."""

import math
from typing import Any

import numpy as np

from shared.measurements import SCORED
from shared.partners import acting, curve, partners, points
from shared.plan import Plan, RunPlan
from shared.results import Results
from shared.score import last_accuracies, scored_epochs, spread

LAST_EPOCHS = SCORED


def sensitivity(results: Results) -> list[dict[str, Any]]:
    """The drop of each point of the sweep that has exactly one window, over its seeds.

        drop = median(accuracy without the deficit) - median(accuracy with it)

    each over the run's last `median_epochs` epochs, 0..1, paired by seed with the run
    `without_deficit`. These are 10, fewer where `scored_epochs` gives fewer for one of the two, and
    as many for both. A pair that is not finished, or of which one diverged, does not count.
    """
    clean = partners(results)
    return [_point(results, runs, clean) for runs in single(results.plan)]


def single(plan: Plan) -> list[list[RunPlan]]:
    """The points of the sweep that have exactly one window, which is not empty: their seeds."""
    return [runs for runs in points(plan) if len(acting(runs[0])) == 1]


def _point(results: Results, runs: list[RunPlan], clean: dict[int, RunPlan]) -> dict[str, Any]:
    (window,) = acting(runs[0])
    counts = {run.index: _count(run, clean.get(run.index)) for run in runs}
    found = [
        {"seed": run.seed, "run": run.index, "drop": drop}
        for run in runs
        if run.index in clean
        and (drop := _drop(results, run, clean[run.index], counts[run.index])) is not None
    ]
    return {
        **curve(runs[0]),
        "point": runs[0].point,
        "onset": window["start"],
        "length": window["end"] - window["start"],
        "median_epochs": min(counts.values()),
        **spread(float(one["drop"]) for one in found),
        "seeds": found,
    }


def _count(run: RunPlan, clean: RunPlan | None) -> int:
    pair = [run] if clean is None else [run, clean]
    return min(scored_epochs(one, LAST_EPOCHS) for one in pair)


def _drop(results: Results, run: RunPlan, clean: RunPlan, n: int) -> float | None:
    with_it, without = (last_accuracies(results, one, n) for one in (run, clean))
    if with_it is None or without is None:
        return None
    drop = float(np.median(without) - np.median(with_it))
    return drop if math.isfinite(drop) else None
