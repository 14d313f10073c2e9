"""Test accuracy at every epoch, beneath a trace: rows by curve and window, and their marks."""

import math
from typing import TYPE_CHECKING

from api.figures import bands, phase_marks, scales, style
from api.figures.curves import Layout
from shared.partners import point_name
from shared.plan import RunPlan
from shared.results import Results, Row

if TYPE_CHECKING:
    import altair as alt

ACCURACY = "test_accuracy_percent"
HEIGHT = 130
"""Of the panel, in pixels."""

Accuracies = dict[tuple[str, int], Row]
"""By point of the sweep and epoch."""


def of_runs(results: Results, layout: Layout) -> Accuracies:
    """Means over seeds, in percent, with intervals; diverged epochs are left out."""
    values: dict[tuple[str, int], list[float]] = {}
    facts: Accuracies = {}
    for run in results.plan.runs:
        where = place(run, layout)
        for row in results.epochs(run):
            accuracy = 100 * float(row["test_accuracy"])
            if math.isfinite(accuracy):
                group = (where["point"], row["epoch"])
                values.setdefault(group, []).append(accuracy)
                facts.setdefault(group, {"kind": "accuracy", **where, "epoch": row["epoch"]})
    return {group: facts[group] | _mean(found) for group, found in values.items()}


def _mean(values: list[float]) -> Row:
    band = bands.band(values, None, logarithmic=False)
    return {ACCURACY: band["mean"], "low": band["low"], "high": band["high"], "n": band["n"]}


def at_epoch(row: Row, accuracies: Accuracies) -> Row:
    """The accuracy of a row of the trace, and that at its plateau."""

    def at(epoch: float | None) -> float | None:
        place = row["point"], -1 if epoch is None else round(epoch)
        return accuracies.get(place, {}).get(ACCURACY)

    return {ACCURACY: at(row["epoch"]), "plateau_accuracy": at(row.get("plateau_epoch"))}


def place(run: RunPlan, layout: Layout) -> Row:
    """Which line a run belongs to."""
    position = layout.positions[run.index]
    return {
        "point": point_name(run.variant, run.point),
        "curve": layout.labels[run.index],
        "variant": run.variant,
        "window": "none" if position is None else str(position),
        "window_epoch": position,
    }


def layers(rows: list[Row], look: "alt.Color | None", x: "alt.X") -> list["alt.Chart"]:
    """Line and band, and a tick where the plateau is reached. `look` as for the trace."""
    import altair as alt

    means = [row[ACCURACY] for row in rows]
    ends = [max(0.0, min(means) - 2), min(100.0, max(means) + 2)]
    scale = alt.Scale(domain=ends, nice=False, zero=False)
    y = alt.Y(f"{ACCURACY}:Q", title="Accuracy (%)", scale=scale, axis=alt.Axis(tickCount=4))
    color = look or alt.value(style.INK)
    each = alt.Chart().transform_filter("datum.kind == 'accuracy'")
    each = each.encode(x=x, color=color, detail=["point:N"])
    band = each.transform_filter("isValid(datum.low)")
    band = band.transform_calculate(**scales.inside(("low", "high"), ends))
    ticks = phase_marks.once("plateau_epoch", "plateau_accuracy").encode(
        x=phase_marks.at(x, "plateau_epoch"), y=phase_marks.at(y, "plateau_accuracy"), color=color
    )
    return [
        band.mark_area(opacity=0.12).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        each.mark_line(strokeWidth=1.5).encode(y=y),
        ticks.mark_tick(orient="vertical", size=18, thickness=2),
    ]
