"""The clean run while it trains: a learning curve to see the other curves against."""

from typing import TYPE_CHECKING, Any

import numpy as np

from api.figures import style
from shared.partners import span
from shared.plan import Plan, RunPlan
from shared.results import Results, Row
from shared.sensitivity import LAST_EPOCHS

if TYPE_CHECKING:
    import altair as alt

    Array = np.ndarray[Any, np.dtype[np.float64]]

WINDOW, ORDER = 11, 1
"""Of the Savitzky-Golay filter: the smoothing of the code that descends from the authors'."""
CURVE = "clean run while it trains"
WORDS = f"Grey dashes: {CURVE}, smoothed over {WINDOW} epochs."


def accuracy(results: Results) -> list[float]:
    """Test accuracy in % after 1, 2, ... epochs: mean over seeds, smoothed; empty where there is
    no single clean configuration, or not enough epochs to smooth."""
    found = _runs(results)
    return [] if found is None else _smooth(100 * found.mean(0))


def excess(results: Results) -> list[float]:
    """Test error in points above the run's final one, after 1, 2, ... epochs; as `accuracy`.

    final: median of the last 10 epochs, as for the sensitivity, seed by seed.
    """
    found = _runs(results)
    if found is None:
        return []
    final = np.median(found[:, -LAST_EPOCHS:], axis=1, keepdims=True)
    return _smooth(100 * (final - found).mean(0))


def rows(values: list[float], field: str, last: float, **more: Any) -> list[Row]:
    """Of kind "clean", up to the end of the x axis."""
    return [
        {"kind": "clean", "curve": CURVE, "epoch": epoch, field: value, **more}
        for epoch, value in enumerate(values, start=1)
        if epoch <= last
    ]


def layer(x: "alt.X", y: "alt.Y") -> "alt.Chart":
    import altair as alt

    line = alt.Chart().transform_filter("datum.kind == 'clean'")
    return line.mark_line(strokeDash=[4, 3], strokeWidth=1.3, color=style.FAINT, clip=True).encode(
        x=x, y=y, tooltip=["curve:N", "epoch:Q", y["shorthand"]]
    )


def _runs(results: Results) -> "Array | None":
    """Test accuracy (0..1) of [seeds, epochs]; None unless there is one clean configuration and
    all its runs have ended."""
    clean = [run for run in results.plan.runs if run.control is None and span(run) is None]
    by_seed = {run.seed: run for run in reversed(clean)}
    trained = [_training(run, results.plan) for run in clean]
    if not clean or any(one != trained[0] for one in trained):
        return None
    if any(results.last_epochs(run, 1) is None for run in by_seed.values()):
        return None
    found = [
        [float(row["test_accuracy"]) for row in results.epochs(run)] for run in by_seed.values()
    ]
    shortest = min(len(one) for one in found)
    values = np.array([one[:shortest] for one in found], dtype=np.float64)
    return values if shortest >= WINDOW and np.isfinite(values).all() else None


def _training(run: RunPlan, plan: Plan) -> tuple[Any, ...]:
    """How it is trained, whatever its seed: what is compared need not have a seed in common."""
    setting = [window for window in run.windows if window["end"] > window["start"]]
    return plan.configs[run.config] | {"seed": None}, run.changes, setting


def _smooth(values: "Array") -> list[float]:
    from scipy.signal import savgol_filter  # slow to import: not when the API starts

    return [float(value) for value in savgol_filter(values, WINDOW, ORDER)]
