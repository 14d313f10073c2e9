"""The final score of a run, its mean over seeds with an interval, and what a deficit cost."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from shared.plan import RunPlan
from shared.results import Results

LAST_EPOCHS = 5
INTERVAL = "95 % Student t over seeds"


def final_score(results: Results, run: RunPlan) -> float | None:
    """Mean test accuracy (0..1) of the run's `scored_epochs`; None until it has ended, and for a
    measurement job, whose runs may break off anywhere.

    NaN where one of them is.
    """
    if results.measures is not None:
        return None
    rows = results.last_epochs(run, scored_epochs(run))
    if not rows:
        return None
    return float(np.mean([float(row["test_accuracy"]) for row in rows]))


def scored_epochs(run: RunPlan) -> int:
    """How many epochs at a run's end are scored: 5, but no more than the latter half of those after
    its last window (of all, where a window lasts to the end). A short run would else be scored
    under its deficit, or while it still learns its first steps."""
    return max(1, min(LAST_EPOCHS, (_recovery(run) or run.epochs) // 2))


def score_words(runs: Iterable[RunPlan]) -> str:
    counts = sorted({scored_epochs(run) for run in runs}) or [LAST_EPOCHS]
    if counts == [1]:
        return "test accuracy of the last epoch"
    most = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"mean test accuracy of the last {most} epochs"


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
    """Each point of the sweep over its seeds: the final score, and the drop against no deficit."""
    scores = _scores(results)
    groups: dict[str, list[RunPlan]] = {}
    for run in results.plan.runs:
        groups.setdefault(repr((run.variant, run.point)), []).append(run)
    classes = results.numerics()
    return {
        "score": score_words(results.plan.runs),
        "interval": INTERVAL,
        "points": [_point(runs, scores, results) for runs in groups.values()],
        "numerics": classes,
        "mixed_numerics": len(classes) > 1,
    }


def _scores(results: Results) -> dict[int, float]:
    found = {run.index: final_score(results, run) for run in results.plan.runs}
    return {index: value for index, value in found.items() if value is not None}


def _point(runs: list[RunPlan], scores: dict[int, float], results: Results) -> dict[str, Any]:
    """`drop` = score without deficit - score with it, paired by seed: same seed, same config."""
    there = [run for run in runs if math.isfinite(scores.get(run.index, math.nan))]
    drops = [
        scores[clean.index] - scores[run.index]
        for run in there
        if span(run) and (clean := without_deficit(results, run)) is not None
        and math.isfinite(scores.get(clean.index, math.nan))
    ]  # fmt: skip
    return {
        "variant": runs[0].variant,
        "point": runs[0].point,
        "windows": runs[0].windows,
        "runs": len(runs),
        "scored_epochs": scored_epochs(runs[0]),
        "seeds": [{"seed": r.seed, "run": r.index, "score": scores[r.index]} for r in there],
        **spread(scores[run.index] for run in there),
        "drop": spread(drops) if drops else None,
    }


def span(run: RunPlan) -> tuple[int, int] | None:
    """First epoch with a deficit and first epoch after the last one; None: there is none."""
    windows = [w for w in run.windows if w["end"] > w["start"]]
    if not windows:
        return None
    return min(w["start"] for w in windows), max(w["end"] for w in windows)


def without_deficit(results: Results, run: RunPlan) -> RunPlan | None:
    """The run that differs from this one in having no deficit: same config, seed included, the
    same place on every axis of the sweep that is not the deficit's, and trained as long.

    As long is: as many epochs in all, or as many after the last window (an empty one counts where
    it stands), which is what `epochs_after_deficit` keeps equal. A run without such a partner has
    no drop.
    """
    alike = [
        other
        for other in results.plan.runs
        if other.config == run.config
        and span(other) is None
        and _elsewhere(other) == _elsewhere(run)
        and (other.epochs == run.epochs or _recovery(other) == _recovery(run))
    ]
    return min(alike, key=lambda other: other.variant != run.variant, default=None)


def _recovery(run: RunPlan) -> int:
    """Epochs after the last window."""
    return run.epochs - max((window["end"] for window in run.windows), default=0)


def _elsewhere(run: RunPlan) -> dict[str, Any]:
    heads = ("deficit", "deficits")
    return {path: value for path, value in run.point.items() if path.split(".")[0] not in heads}
