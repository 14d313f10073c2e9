"""The final score of a run, its mean over seeds with an interval, and what a deficit cost."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from shared.partners import last_step, partners, points, recovery
from shared.plan import Plan, RunPlan
from shared.probe import ACCURACY
from shared.results import Results

LAST_EPOCHS = 5
INTERVAL = "95 % Student t over seeds"
REESTIMATED = "BatchNorm statistics re-estimated"


def final_score(results: Results, run: RunPlan) -> float | None:
    """Mean test accuracy (0..1) of the run's `scored_epochs`, as `last_accuracies` has them.

    None where there are none; NaN where one of them is.
    """
    found = last_accuracies(results, run, scored_epochs(run))
    return None if found is None else float(np.mean(found))


def last_accuracies(results: Results, run: RunPlan, n: int) -> list[float] | None:
    """Test accuracies (0..1) of the run's last `n` epochs (of all, if it has fewer), in order.

    Where the plan measures all of them with BatchNorm statistics re-estimated, these measurements
    are taken, else what training recorded with running ones. None until the run has ended (and
    all are measured), and for a measurement job, whose runs may break off anywhere.
    """
    if results.measures is not None:
        return None
    rows = results.last_epochs(run, n)
    if not rows:
        return None
    if not reestimated(results.plan, run, n):
        return [float(row["test_accuracy"]) for row in rows]
    found = {
        one["epoch"]: float(one["values"]["accuracy"])
        for one in results.measurements(run, {ACCURACY})
    }
    epochs = [row["epoch"] for row in rows]
    return [found[epoch] for epoch in epochs] if found.keys() >= set(epochs) else None


def reestimated(plan: Plan, run: RunPlan, n: int) -> bool:
    """Whether the accuracy at each of the run's last `n` epochs is to be measured with BatchNorm
    statistics re-estimated."""
    asked = {
        epoch
        for epoch, _, digest in run.probes
        if plan.probes[digest]["kind"] == ACCURACY
        and plan.probes[digest]["batchnorm_statistics"] == "reestimated"
    }
    return asked >= set(range(max(1, run.epochs - n + 1), run.epochs + 1))


def scored_epochs(run: RunPlan, most: int = LAST_EPOCHS) -> int:
    """How many epochs at a run's end are scored: `most`, but no more than the latter half of those
    after its last window (of all, where a window lasts to the end), and of those after the last
    step of its pruning. A short run would else be scored under its deficit, before it was pruned,
    or while it still learns its first steps."""
    after = recovery(run) or run.epochs
    if run.pruning:
        after = min(after, run.epochs - last_step(run))
    return max(1, min(most, after // 2))


def score_words(runs: Iterable[RunPlan], plan: Plan | None = None) -> str:
    """What is scored; with the plan also with which BatchNorm statistics."""
    runs = list(runs)
    counts = sorted({scored_epochs(run) for run in runs}) or [LAST_EPOCHS]
    most = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    words = f"mean test accuracy of the last {most} epochs"
    if counts == [1]:
        words = "test accuracy of the last epoch"
    if plan and runs and all(reestimated(plan, run, scored_epochs(run)) for run in runs):
        words += f", {REESTIMATED}"
    return words


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Mean over n independent values with its 95 % Student t interval.

        mean  +-  t(0.975, n - 1) * s / sqrt(n),      s^2 = sum (x - mean)^2 / (n - 1)

    float64, in the unit of the values. One value has no s and no interval (null). The interval is
    not cut at the ends of a scale: with few seeds it may pass 0 or 1.
    """
    x = np.array(list(values), dtype=np.float64)
    n = len(x)
    if n == 0:
        return {"n": 0, "mean": None, "standard_deviation": None, "interval": None}
    mean = float(x.mean())
    if n == 1:
        return {"n": 1, "mean": mean, "standard_deviation": None, "interval": None}
    from scipy.special import stdtrit  # 0.6 s to import: not when the API starts

    deviation = float(x.std(ddof=1))
    half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
    return {
        "n": n,
        "mean": mean,
        "standard_deviation": deviation,
        "interval": [mean - half, mean + half],
    }


def summary(results: Results) -> dict[str, Any]:
    """Each point of the sweep over its seeds: the final score, and the drop against no deficit. And
    what follows from them: critical periods, sensitivity, what is left under controls."""
    from shared import control, critical, sensitivity  # they read the scores of this file

    once = results.remembering()
    scores, clean = finals(once), partners(once)
    classes = results.numerics()
    return {
        "score": score_words(results.plan.runs, results.plan),
        "interval": INTERVAL,
        "points": [_point(runs, scores, clean) for runs in points(results.plan)],
        "critical_period": critical.critical_period(once),
        "peak_sensitivity": critical.peak_sensitivity(once),
        "sensitivity": sensitivity.sensitivity(once),
        "controls": control.surviving(once),
        "numerics": classes,
        "mixed_numerics": len(classes) > 1,
    }


def finals(results: Results) -> dict[int, float]:
    """Run index -> final score, of the runs that have one; NaN where a run diverged."""
    found = {run.index: final_score(results, run) for run in results.plan.runs}
    return {index: value for index, value in found.items() if value is not None}


def drops(results: Results) -> dict[int, float]:
    """Run index -> score without deficit - score with it (0..1), same seed and config. Of runs with
    a deficit alone; a pair that is not finished, or of which one diverged, is left out."""
    return _drops(finals(results), partners(results))


def _drops(scores: dict[int, float], clean: dict[int, RunPlan]) -> dict[int, float]:
    found = {
        index: scores.get(other.index, math.nan) - scores.get(index, math.nan)
        for index, other in clean.items()
    }
    return {index: drop for index, drop in found.items() if math.isfinite(drop)}


def _point(
    runs: list[RunPlan], scores: dict[int, float], clean: dict[int, RunPlan]
) -> dict[str, Any]:
    there = [run for run in runs if math.isfinite(scores.get(run.index, math.nan))]
    pairs = {run.index: clean[run.index] for run in there if run.index in clean}
    found = _drops(scores, pairs)
    return {
        "variant": runs[0].variant,
        "point": runs[0].point,
        "windows": runs[0].windows,
        "runs": len(runs),
        "scored_epochs": scored_epochs(runs[0]),
        "seeds": [{"seed": r.seed, "run": r.index, "score": scores[r.index]} for r in there],
        **spread(scores[run.index] for run in there),
        "drop": spread(found.values()) if found else None,
    }
