"""Trace of the Fisher information over training, one line for each point of the sweep and each way
of measuring."""

import math
from typing import TYPE_CHECKING, Any

from api.figures import bands, curves, scales, series, style
from api.figures.curves import Layout
from api.figures.series import Series
from shared import phases, traces, ways
from shared.errors import Conflict
from shared.plan import RunPlan
from shared.results import Results, Row
from shared.score import INTERVAL

if TYPE_CHECKING:
    import altair as alt

ACCURACY = "test_accuracy_percent"
TOOLTIP = ["curve:N", "window:N", "series:N", "epoch:Q", "trace:Q", "low:Q", "high:Q", "n:Q"]


def build(results: Results) -> dict[str, Any]:
    """One row for each curve, window, images, method and epoch: the mean trace over seeds with a
    band, and the test accuracy (%) at that epoch.

    The band is the Student t interval over seeds, which holds the estimator's own error too; with
    a single seed it is 1.96 standard errors of the estimate. `interval` says which. Where the axis
    is logarithmic, mean and interval are those of the logarithm: the geometric mean.

    `peak_epoch` with its interval over seeds (`peak_low`, `peak_high`), `peak_trace` and
    `plateau_epoch` are those of `shared.phases`, the same in all rows of a line. The peak is null
    where the trace of some seed had not begun to fall.
    """
    layout, told = curves.layout(results.plan), series.fisher_series(results)
    rows = _rows(results, layout, told, logarithmic=False)
    if not rows:
        raise Conflict("There is nothing to draw yet: no Fisher trace has been measured")
    if scales.is_log(scales.domain(rows)):
        rows = _rows(results, layout, told, logarithmic=True)
    accuracies = _accuracies(results, layout)
    rows = [row | _accuracy_at(row, accuracies) for row in rows]
    name = results.name or "Fisher information during training"
    spec = _spec(rows, list(accuracies.values()), layout, results, name)
    return {"data": rows, "title": name, "vegalite": spec}


# --- rows ---


def _rows(results: Results, layout: Layout, told: Series, logarithmic: bool) -> list[Row]:
    lines: dict[tuple[Any, ...], list[Row]] = {}
    facts: dict[tuple[Any, ...], Row] = {}
    marks, of = _phases(results), ways.ways(results)
    for run in results.plan.runs:
        for probe, found in series.fisher_rows(results, run):
            if found["trace"] is None:
                continue
            images, method = told.images(probe), traces.method(probe)
            place = layout.labels[run.index], layout.positions[run.index]
            group = (*place, repr(run.point), run.variant, images, method, found["epoch"])
            lines.setdefault(group, []).append(found)
            shown: Row = {"kind": "trace", "images": images, "series": told.label(probe)}
            shown |= {field: probe.get(field) for field in ("split", "estimator")}
            shown |= marks.get((_point(run), of.label(probe)), {})
            facts.setdefault(group, _place(run, *place) | shown | {"epoch": found["epoch"]})
    return [facts[group] | _mean(found, logarithmic) for group, found in lines.items()]


def _point(run: RunPlan) -> str:
    return repr((run.variant, run.point))


def _place(run: RunPlan, curve: str, position: int | None) -> Row:
    return {
        "curve": curve,
        "variant": run.variant,
        "window": "none" if position is None else str(position),
        "window_epoch": position,
    }


def _mean(found: list[Row], logarithmic: bool) -> Row:
    values = [row["trace"] for row in found]
    band = bands.band(values, found[0]["standard_error"], logarithmic)
    return {"trace": band.pop("mean")} | band


def _phases(results: Results) -> dict[tuple[str, str], Row]:
    """(point, way of measuring) -> where its phases lie."""
    found = {}
    for one in phases.phases(results):
        seen = one["peaked"] == one["n"]
        peak: Row = (seen and one["peak_epoch"]) or {"mean": None, "interval": None}
        low, high = peak["interval"] or (None, None)
        found[repr((one["variant"], one["point"])), one["series"]] = {
            "peak_epoch": peak["mean"],
            "peak_low": None if low is None else max(0.0, low),
            "peak_high": high,
            "peak_trace": one["peak_trace"]["mean"] if peak["mean"] is not None else None,
            "plateau_epoch": (one["plateau_epoch"] or {"mean": None})["mean"],
        }
    return found


Accuracies = dict[tuple[str, str, int], Row]
"""By curve, window and epoch."""


def _accuracies(results: Results, layout: Layout) -> Accuracies:
    values: dict[tuple[str, str, int], list[float]] = {}
    facts: Accuracies = {}
    for run in results.plan.runs:
        place = _place(run, layout.labels[run.index], layout.positions[run.index])
        for row in results.epochs(run):
            accuracy = 100 * float(row["test_accuracy"])
            if math.isfinite(accuracy):
                group = (place["curve"], place["window"], row["epoch"])
                values.setdefault(group, []).append(accuracy)
                facts.setdefault(group, {"kind": "accuracy", **place, "epoch": row["epoch"]})
    return {group: facts[group] | _accuracy(found) for group, found in values.items()}


def _accuracy(values: list[float]) -> Row:
    band = bands.band(values, None, logarithmic=False)
    return {ACCURACY: band["mean"], "low": band["low"], "high": band["high"], "n": band["n"]}


def _accuracy_at(row: Row, accuracies: Accuracies) -> Row:
    def at(epoch: float | None) -> float | None:
        place = row["curve"], row["window"], -1 if epoch is None else round(epoch)
        return accuracies.get(place, {}).get(ACCURACY)

    return {ACCURACY: at(row["epoch"]), "plateau_accuracy": at(row.get("plateau_epoch"))}


# --- the picture ---


def _spec(
    rows: list[Row], accuracies: list[Row], layout: Layout, results: Results, name: str
) -> dict[str, Any]:
    import altair as alt  # 0.4 s: not when the API starts

    there = {row["curve"] for row in rows}
    panels = [label for label in layout.curves if label in there]
    windows = _windows(rows)
    known = [row for row in accuracies if row["curve"] in there and row["window"] in windows]
    look = _look(windows, panels, layout)
    faceted = len(panels) > 1 and len(windows) > 1
    width = _panel_width(len(panels)) if faceted else style.WIDTH
    last = max([1, *(row["epoch"] for row in rows + known)])
    x = _x(last, width)
    upper = x.title(None) if known else x
    parts = [(_layers(rows, look, upper), style.HEIGHT if not faceted else 300)]
    if known:
        parts.append((_accuracy_layers(known, look, x), 130))
    data = alt.Data(values=[])
    charts = [
        alt.layer(*marks, data=data).properties(width=width, height=height)
        for marks, height in parts
    ]
    if faceted:
        columns, one_row = _columns(len(panels)), len(panels) <= _columns(len(panels))
        for i, one in enumerate(charts):  # in a single row the names above it are enough
            hidden: dict[str, Any] = (
                {"labelExpr": "''", "labelFontSize": 1} if i and one_row else {}
            )
            facet = alt.Facet("curve:N", title=None, sort=panels, header=alt.Header(**hidden))
            charts[i] = one.facet(facet=facet, columns=columns)
    shown = _columns(len(panels)) * width if faceted else width
    title = style.title(name, _subtitle(rows, known, layout, results), shown)
    chart = alt.vconcat(*charts, spacing=14).properties(title=alt.TitleParams(**title))
    return style.finished(chart, rows + known)


def _panel_width(panels: int) -> int:
    return 330 if _columns(panels) < 3 else 270


def _columns(panels: int) -> int:
    return 2 if panels in (2, 4) else 3


def _windows(rows: list[Row]) -> list[str]:
    """Removal epochs (or onsets), in order; without a deficit first."""
    epochs = {row["window"]: row["window_epoch"] for row in rows}
    return sorted(epochs, key=lambda window: (epochs[window] is not None, epochs[window]))


def _subtitle(
    rows: list[Row], accuracies: list[Row], layout: Layout, results: Results
) -> list[str]:
    seeds = curves.seeds_words({row["n"] for row in rows})
    what = f"{curves.setting(results.plan)}, {seeds}. {series.method_words(results)}"
    drawn = bands.words(rows)
    said = [f"Band: {drawn}."] if drawn else []
    if any(row["window_epoch"] for row in rows):
        said.append(f"Triangle: the deficit {'begins' if layout.by_onset else 'is removed'}.")
    peaks = [row for row in rows if row.get("peak_epoch") is not None]
    if peaks:
        bar = any(row["peak_low"] is not None for row in peaks)
        said.append("Diamond: peak of the trace" + (f", {INTERVAL}." if bar else "."))
    if accuracies and any(row["plateau_accuracy"] is not None for row in rows):
        said.append("Tick: accuracy reaches its plateau.")
    return [what, " ".join(said)]


def _x(last: int, width: int) -> "alt.X":
    import altair as alt

    scale = alt.Scale(domain=[0, last], nice=False)
    return alt.X("epoch:Q", title=series.EPOCHS, axis=style.epoch_axis(0, last, width), scale=scale)


def _layers(rows: list[Row], look: "alt.Color | None", x: "alt.X") -> list["alt.Chart"]:
    """`look` are the colours of windows or curves; without them, a colour for each series."""
    import altair as alt

    ends = scales.domain(rows)
    y = scales.axis("trace", "Trace of the Fisher information", ends)
    color = look or _by_series(rows)
    each = alt.Chart().transform_filter("datum.kind == 'trace'")
    lines = each.encode(x=x, color=color, detail=["curve:N", "window:N", "series:N"])
    held = scales.held(("low", "high", "trace"), ends)
    band = lines.transform_filter("isValid(datum.low)").transform_calculate(**held)
    lines = lines.transform_calculate(trace=held["trace"])
    alone = len({(row["curve"], row["window"], row["series"]) for row in rows}) == 1
    return [
        *(_phase_marks(x) if alone else []),
        _window_marks(look or alt.value(style.GREY), x, y, ends[0]),
        band.mark_area(opacity=0.12, clip=True).encode(
            y=alt.Y("low:Q", scale=scales.scale(ends)), y2="high:Q"
        ),
        lines.mark_line(strokeWidth=2).encode(y=y, strokeDash=_dash(rows)),
        lines.mark_point(size=24, filled=True, opacity=1).encode(y=y, tooltip=TOOLTIP),
        *_peak_marks(color, x, y, ends),
    ]


def _accuracy_layers(rows: list[Row], look: "alt.Color | None", x: "alt.X") -> list["alt.Chart"]:
    import altair as alt

    means = [row[ACCURACY] for row in rows]
    ends = [max(0.0, min(means) - 2), min(100.0, max(means) + 2)]
    scale = alt.Scale(domain=ends, nice=False, zero=False)
    y = alt.Y(f"{ACCURACY}:Q", title="Accuracy (%)", scale=scale, axis=alt.Axis(tickCount=4))
    color = look or alt.value(style.INK)
    each = alt.Chart().transform_filter("datum.kind == 'accuracy'")
    each = each.encode(x=x, color=color, detail=["curve:N", "window:N"])
    band = each.transform_filter("isValid(datum.low)")
    band = band.transform_calculate(**scales.inside(("low", "high"), ends))
    ticks = _once("plateau_epoch", "plateau_accuracy").encode(
        x=_at(x, "plateau_epoch"), y=_at(y, "plateau_accuracy"), color=color
    )
    return [
        band.mark_area(opacity=0.12).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        each.mark_line(strokeWidth=1.5).encode(y=y),
        ticks.mark_tick(orient="vertical", size=18, thickness=2),
    ]


def _once(*fields: str) -> "alt.Chart":
    """What is the same in all rows of a line, once."""
    import altair as alt

    lines = alt.Chart().transform_filter("datum.kind == 'trace'")
    lines = lines.transform_filter(f"isValid(datum.{fields[0]})")
    return lines.transform_aggregate(groupby=["curve", "window", "series", *fields])


def _phase_marks(x: "alt.X") -> list["alt.Chart"]:
    """Grey up to the peak, and above it the names of the two phases."""
    import altair as alt

    peak = _once("peak_epoch").transform_calculate(zero="0")
    names = peak.encode(x=_at(x, "peak_epoch"), y=alt.value(-7))
    text: dict[str, Any] = {"color": style.GREY, "fontSize": 12}
    return [
        peak.mark_rect(color=style.GREY, opacity=0.1).encode(x=_at(x, "zero"), x2="peak_epoch:Q"),
        names.mark_text(text="\u2190 memorisation", align="right", dx=-6, **text),
        names.mark_text(text="forgetting \u2192", align="left", dx=6, **text),
    ]


def _peak_marks(color: "alt.Color", x: "alt.X", y: "alt.Y", ends: list[float]) -> list["alt.Chart"]:
    """A diamond at the peak, and how far its epoch varies over seeds."""
    fields = ("peak_epoch", "peak_low", "peak_high", "peak_trace")
    peaks = _once(*fields).transform_calculate(**scales.inside(("peak_trace",), ends))
    peaks = peaks.encode(y=_at(y, "peak_trace"), color=color)
    bars = peaks.transform_filter("isValid(datum.peak_low)")
    return [
        bars.mark_rule(strokeWidth=1.6, clip=True).encode(x=_at(x, "peak_low"), x2="peak_high:Q"),
        peaks.mark_point(shape="diamond", size=80, fill="white", opacity=1, strokeWidth=1.8).encode(
            x=_at(x, "peak_epoch")
        ),
    ]


def _at(channel: Any, field: str) -> Any:
    """The same scale and axis for another field."""
    moved = channel.copy()
    moved.shorthand = f"{field}:Q"
    return moved


def _window_marks(
    color: "alt.Color | alt.Value[str]", x: "alt.X", y: "alt.Y", lowest: float
) -> "alt.Chart":
    """A triangle on the axis where the deficit is removed (or begins)."""
    import altair as alt

    windows = alt.Chart().transform_filter("datum.kind == 'trace' && datum.window_epoch > 0")
    windows = windows.transform_aggregate(groupby=["curve", "window", "window_epoch"])
    windows = windows.transform_calculate(trace=repr(lowest))
    mark = windows.mark_point(shape="triangle-up", size=90, filled=True, opacity=1, clip=False)
    return mark.encode(x=_at(x, "window_epoch"), y=y, color=color)


def _look(windows: list[str], panels: list[str], layout: Layout) -> "alt.Color | None":
    if len(windows) > 1:
        return _by_window(windows, layout)
    return _by_curve(panels) if len(panels) > 1 else None


def _by_window(windows: list[str], layout: Layout) -> "alt.Color":
    import altair as alt

    title = "deficit begins at epoch" if layout.by_onset else "deficit removed at epoch"
    scale = alt.Scale(domain=windows, range=style.ramp(len(windows)))
    legend = style.legend(title, windows)
    return alt.Color("window:N", scale=scale, legend=legend, sort=None)


def _by_curve(panels: list[str]) -> "alt.Color":
    import altair as alt

    scale = alt.Scale(domain=panels, range=style.cycle(style.COLOURS, len(panels)))
    return alt.Color("curve:N", scale=scale, legend=style.legend(None, panels))


def _by_series(rows: list[Row]) -> "alt.Color":
    import altair as alt

    labels = _labels(rows)
    scale = alt.Scale(domain=labels, range=style.cycle(style.COLOURS, len(labels)))
    return alt.Color("series:N", scale=scale, legend=_series_legend(labels))


def _dash(rows: list[Row]) -> "alt.StrokeDash":
    import altair as alt

    labels = _labels(rows)
    scale = alt.Scale(domain=labels, range=style.cycle(style.DASHES, len(labels)))
    return alt.StrokeDash("series:N", legend=_series_legend(labels), scale=scale)


def _labels(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["series"] for row in rows))


def _series_legend(labels: list[str]) -> "alt.Legend | None":
    return style.legend("measured on or by", labels, dashes=True) if labels[1:] else None
