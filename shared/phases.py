"""The two phases of learning, read off a Fisher trace: it rises to a peak while the network
memorises, and falls while it forgets."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from shared.partners import curve, points
from shared.plan import RunPlan
from shared.results import Results, Row
from shared.score import spread
from shared.ways import lines, ways

TOLERANCE = 1 / 20
"""Of the rise in accuracy: how far below its final level it may lie on the plateau."""
MEDIAN_OF = 9
"""Epochs of the running median, at most."""
NUMBERS = ("peak_epoch", "peak_trace", "half_decay_epoch", "peak_over_final", "plateau_epoch")


def of_trace(
    epochs: Sequence[float], traces: Sequence[float], accuracy: Mapping[int, float]
) -> dict[str, Any]:
    """The phases of one run, from a trace measured after `epochs` (n,) epochs, in order, and its
    test accuracy (0..1) by epoch.

    `peak_epoch`, `peak_trace`: where the measured trace is largest, the first of equals.
    `half_decay_epoch`: where it has first fallen to half of the peak, linear between measured
    epochs; None if it never does. `peak_over_final`: peak over the last value. `plateau_epoch`:
    see `plateau`. `peaked` is False where the largest value is the last one: then no forgetting
    was seen. Nothing is smoothed: the peak of a noisy trace lies a little above the true one.
    Values that are not finite are left out.
    """
    t, trace = np.asarray(epochs, np.float64), np.asarray(traces, np.float64)
    t, trace = t[np.isfinite(trace)], trace[np.isfinite(trace)]
    found: dict[str, Any] = dict.fromkeys(NUMBERS) | {"peaked": False}
    found["plateau_epoch"] = plateau(accuracy)
    if not len(trace):
        return found
    top = int(np.argmax(trace))
    peak, last = float(trace[top]), float(trace[-1])
    return found | {
        "peak_epoch": int(t[top]),
        "peak_trace": peak,
        "half_decay_epoch": _falls_to(t[top:], trace[top:], peak / 2) if peak > 0 else None,
        "peak_over_final": peak / last if last > 0 else None,
        "peaked": peak > last,
    }


def plateau(accuracy: Mapping[int, float]) -> int | None:
    """The first epoch from which on test accuracy stays on its final level L: where a running
    median of it is nowhere below

        L - (L - accuracy(first epoch)) / 20

    L is the median of the last tenth of the epochs. The running median is of the 9 epochs around
    each, at both ends of the first and the last 9 (fewer in a run of fewer than 36 epochs: a
    quarter of them, made odd); L is of no fewer than that. So up to four bad epochs do not count,
    and noise of up to 1/50 of the rise moves the plateau by few epochs. None where accuracy does
    not rise, or has left L again at the end. Epochs whose accuracy is not finite are left out.
    """
    epochs = sorted(epoch for epoch, value in accuracy.items() if np.isfinite(value))
    values = np.array([accuracy[epoch] for epoch in epochs], np.float64)
    if not epochs:
        return None
    width = max(1, min(MEDIAN_OF, (len(values) // 4 + 1) // 2 * 2 - 1))
    level = float(np.median(values[-max(width, len(values) // 10) :]))
    rise = level - values[0]
    below = np.flatnonzero(_running_median(values, width) < level - TOLERANCE * rise)
    first = int(below[-1]) + 1 if len(below) else 0
    return epochs[first] if rise > 0 and first < len(epochs) else None


def phases(results: Results) -> list[dict[str, Any]]:
    """`of_trace` of each point of the sweep and each way of measuring (`series`), over its runs.

    A number that some runs do not have is a mean over the others, whose count is its `n`.
    """
    of = ways(results)
    found = []
    for runs in points(results.plan):
        by_way: dict[str, list[Row]] = {}
        for run in runs:
            rows = lines(results, run, of)
            accuracy = accuracies(results, run) if rows else {}
            for way, line in rows.items():
                by_way.setdefault(way, []).append(_of_run(run, line, accuracy))
        found += [_point(runs[0], way, each) for way, each in by_way.items()]
    return found


def accuracies(results: Results, run: RunPlan) -> dict[int, float]:
    """Test accuracy (0..1) by epoch."""
    return {row["epoch"]: float(row["test_accuracy"]) for row in results.epochs(run)}


def _of_run(run: RunPlan, line: list[Row], accuracy: dict[int, float]) -> Row:
    epochs, trace = [row["epoch"] for row in line], [row["trace"] for row in line]
    return {"run": run.index, "seed": run.seed, **of_trace(epochs, trace, accuracy)}


def _point(run: RunPlan, way: str, each: list[Row]) -> dict[str, Any]:
    spreads = {name: _spread([one[name] for one in each]) for name in NUMBERS}
    return {
        **curve(run),
        "point": run.point,
        "windows": run.windows,
        "series": way,
        "n": len(each),
        **spreads,
        "peaked": sum(one["peaked"] for one in each),
        "runs": each,
    }


def _spread(values: list[float | None]) -> dict[str, Any] | None:
    there = [value for value in values if value is not None]
    return spread(there) if there else None


def _falls_to(t: np.ndarray, trace: np.ndarray, level: float) -> float | None:
    """Where a line, straight between its points, first comes from above to `level`."""
    points = zip(t.tolist(), trace.tolist(), strict=True)
    for (t0, above), (t1, below) in pairwise(points):
        if above > level >= below:
            return float(t0 + (t1 - t0) * (above - level) / (above - below))
    return None


def _running_median(values: np.ndarray, width: int) -> np.ndarray:
    """(n,) -> (n,): the window is moved inwards at the ends, so that it is whole everywhere."""
    last = len(values) - width
    starts = np.clip(np.arange(len(values)) - width // 2, 0, last)
    return np.array([np.median(values[i : i + width]) for i in starts])
