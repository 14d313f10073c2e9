"""Trace of the Fisher information over training, one line for each point of the sweep."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from api.figures import curves, style
from api.figures.curves import Layout
from shared.errors import Conflict
from shared.plan import RunPlan
from shared.results import Results, Row
from shared.rows import words
from shared.score import spread

if TYPE_CHECKING:
    import altair as alt

LOG_FROM = 100.0
"""The y axis is logarithmic where the largest mean is more than this many times the smallest."""
OVER_SEEDS = "95 % Student t over seeds"
OF_LOGARITHM = "geometric mean, 95 % Student t over seeds of the logarithm"
OVER_IMAGES = "95 % normal, from the standard error over images"

EPOCHS = "Epochs trained"
TOOLTIP = ["curve:N", "window:N", "images:N", "epoch:Q", "trace:Q", "low:Q", "high:Q", "n:Q"]


def build(results: Results) -> dict[str, Any]:
    """One row for each curve, window, images and epoch: the mean trace over seeds with a band.

    The band is the Student t interval over seeds, which holds the estimator's own error too; with
    a single seed it is 1.96 standard errors of the estimate. `interval` says which. Where the axis
    is logarithmic, mean and interval are those of the logarithm: the geometric mean.
    """
    layout = curves.layout(results.plan)
    rows = _rows(results, layout, logarithmic=False)
    if not rows:
        raise Conflict(_why_empty(results))
    if _domain(rows)[1]:
        rows = _rows(results, layout, logarithmic=True)
    name = results.name or "Fisher information during training"
    return {"data": rows, "title": name, "vegalite": _spec(rows, layout, results, name)}


def _why_empty(results: Results) -> str:
    runs = results.plan.runs
    if runs and not any(run.probes for run in runs):
        return "This experiment measures no Fisher trace: its spec has no 'fisher'"
    return "There is nothing to draw yet: no Fisher trace has been measured"


def _rows(results: Results, layout: Layout, logarithmic: bool) -> list[Row]:
    lines: dict[tuple[Any, ...], list[Row]] = {}
    facts: dict[tuple[Any, ...], Row] = {}
    for run in results.plan.runs:
        for images, found in _series(results, run):
            if found["trace"] is None:
                continue
            place = layout.labels[run.index], layout.positions[run.index], images
            group = (*place, repr(run.point), run.variant, found["epoch"])
            lines.setdefault(group, []).append(found)
            facts.setdefault(group, _place(run, *place) | {"epoch": found["epoch"]})
    return [facts[group] | _mean(found, logarithmic) for group, found in lines.items()]


def _series(results: Results, run: RunPlan) -> Iterator[tuple[str, Row]]:
    """Each measurement with the name of its images, where one epoch has several."""
    epochs = [epoch for epoch, _, _ in run.probes]
    several = len(set(epochs)) < len(epochs)
    for found in results.fisher(run):
        yield (words(found["stimulus"]) if several else "current"), found


def _place(run: RunPlan, curve: str, position: int | None, images: str) -> Row:
    return {
        "curve": curve,
        "variant": run.variant,
        "window": "none" if position is None else str(position),
        "window_epoch": position,
        "images": images,
    }


def _mean(found: list[Row], logarithmic: bool) -> Row:
    traces = [row["trace"] for row in found]
    if logarithmic and len(traces) > 1 and min(traces) > 0:
        return _geometric_mean(traces)
    over = spread(traces)
    low, high = over["interval"] or (None, None)
    interval = OVER_SEEDS if over["n"] > 1 else None
    error = found[0]["standard_error"]
    if over["n"] == 1 and error is not None:
        low, high = over["mean"] - 1.96 * error, over["mean"] + 1.96 * error
        interval = OVER_IMAGES
    # A trace is a mean of squares: no band goes below 0.
    low = None if low is None else max(0.0, low)
    return {"trace": over["mean"], "low": low, "high": high, "n": over["n"], "interval": interval}


def _geometric_mean(traces: list[float]) -> Row:
    over = spread(math.log(trace) for trace in traces)
    mean, low, high = (math.exp(value) for value in (over["mean"], *over["interval"]))
    return {"trace": mean, "low": low, "high": high, "n": over["n"], "interval": OF_LOGARITHM}


def _spec(rows: list[Row], layout: Layout, results: Results, name: str) -> dict[str, Any]:
    import altair as alt  # 0.4 s: not when the API starts

    there = {row["curve"] for row in rows}
    panels = [label for label in layout.curves if label in there]
    windows = _windows(rows)
    look = _by_window(windows, layout) if len(windows) > 1 else _by_curve(panels)
    faceted = len(panels) > 1 and len(windows) > 1
    width = _panel_width(len(panels)) if faceted else style.WIDTH
    chart = alt.layer(*_layers(rows, look, width), data=alt.Data(values=rows))
    chart = chart.properties(width=width, height=style.HEIGHT if not faceted else 300)
    if faceted:
        header = alt.Facet("curve:N", title=None, sort=panels)
        chart = chart.facet(facet=header, columns=_columns(len(panels)))
    shown = _columns(len(panels)) * width if faceted else width
    title = style.title(name, _subtitle(rows, layout, results), shown)
    chart = chart.properties(title=alt.TitleParams(**title))
    return dict(chart.configure(**style.CONFIG).to_dict())


def _panel_width(panels: int) -> int:
    return 330 if _columns(panels) < 3 else 270


def _columns(panels: int) -> int:
    return 2 if panels in (2, 4) else 3


def _windows(rows: list[Row]) -> list[str]:
    """Removal epochs (or onsets), in order; without a deficit first."""
    epochs = {row["window"]: row["window_epoch"] for row in rows}
    return sorted(epochs, key=lambda window: (epochs[window] is not None, epochs[window]))


def _subtitle(rows: list[Row], layout: Layout, results: Results) -> list[str]:
    probes = list(results.plan.probes.values())
    estimators = "/".join(dict.fromkeys(probe["estimator"] for probe in probes))
    samples = "/".join(dict.fromkeys(str(probe["samples"]) for probe in probes))
    seeds = curves.seeds_words({row["n"] for row in rows})
    what = f"{curves.setting(results.plan)}, {seeds}. Estimator: {estimators}, {samples} images."
    bands = " or ".join(dict.fromkeys(row["interval"] for row in rows if row["interval"]))
    marks = "Triangle: the deficit " + ("begins." if layout.by_onset else "is removed.")
    return [what, (f"Band: {bands}. " if bands else "") + marks]


def _layers(rows: list[Row], color: "alt.Color", width: int) -> list["alt.Chart"]:
    import altair as alt

    domain, log = _domain(rows)
    scale = alt.Scale(domain=domain, nice=False, zero=False, type="log" if log else "linear")
    title = "Trace of the Fisher information" + (" (log scale)" if log else "")
    y = alt.Y("trace:Q", title=title, scale=scale, axis=style.magnitude_axis(domain, log))
    last = max([1, *(row["epoch"] for row in rows)])
    x = alt.X("epoch:Q", title=EPOCHS, axis=style.epoch_axis(0, last, width))
    each = alt.Chart().encode(x=x, color=color, detail=["curve:N", "window:N", "images:N"])
    # A logarithmic axis has no 0: what is lower than the axis is drawn at its lower end.
    held = {key: f"max(datum.{key}, {domain[0]!r})" for key in ("low", "high", "trace")}
    band = each.transform_filter("isValid(datum.low)").transform_calculate(**held)
    lines = each.transform_calculate(trace=held["trace"])
    return [
        _window_marks(color, y, domain[0]),
        band.mark_area(opacity=0.12, clip=True).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        lines.mark_line(strokeWidth=2).encode(y=y, strokeDash=_dash(rows)),
        lines.mark_point(size=24, filled=True, opacity=1).encode(y=y, tooltip=TOOLTIP),
    ]


def _window_marks(color: "alt.Color", y: "alt.Y", lowest: float) -> "alt.Chart":
    """A triangle on the axis where the deficit is removed (or begins)."""
    import altair as alt

    windows = alt.Chart().transform_filter("datum.window_epoch > 0")
    windows = windows.transform_aggregate(groupby=["curve", "window", "window_epoch"])
    windows = windows.transform_calculate(trace=repr(lowest))
    mark = windows.mark_point(shape="triangle-up", size=90, filled=True, opacity=1, clip=False)
    return mark.encode(x=alt.X("window_epoch:Q", title=EPOCHS), y=y, color=color)


def _domain(rows: list[Row]) -> tuple[list[float], bool]:
    """Of the y axis, which holds all means and as much of the bands as is legible."""
    means = [row["trace"] for row in rows]
    positive = [value for value in means if value > 0]
    top = max(means, default=1.0) or 1.0
    highest = max([top, *(row["high"] for row in rows if row["high"] is not None)])
    if positive and max(positive) > LOG_FROM * min(positive):
        lowest = min(positive)
        least = min([lowest, *(row["low"] for row in rows if row["low"])])
        return [max(least, lowest / 3), min(highest, 3 * top)], True
    return [0.0, 1.04 * min(highest, 1.6 * top)], False


def _by_window(windows: list[str], layout: Layout) -> "alt.Color":
    import altair as alt

    title = "deficit begins at epoch" if layout.by_onset else "deficit removed at epoch"
    scale = alt.Scale(domain=windows, range=style.ramp(len(windows)))
    legend = style.legend(title, windows)
    return alt.Color("window:N", scale=scale, legend=legend, sort=None)


def _by_curve(panels: list[str]) -> "alt.Color":
    import altair as alt

    n = len(panels)
    scale = alt.Scale(domain=panels, range=style.cycle(style.COLOURS, n))
    legend = style.legend(None, panels) if n > 1 else None
    return alt.Color("curve:N", scale=scale, legend=legend)


def _dash(rows: list[Row]) -> "alt.StrokeDash":
    import altair as alt

    images = list(dict.fromkeys(row["images"] for row in rows))
    legend = style.legend("measured on", images) if images[1:] else None
    scale = alt.Scale(domain=images, range=style.cycle(style.DASHES, len(images)))
    return alt.StrokeDash("images:N", legend=legend, scale=scale)
