"""Trace of the Fisher information over training, one line for each point of the sweep and each way
of measuring."""

from typing import TYPE_CHECKING, Any

from api.figures import bands, curves, scales, series, style
from api.figures.curves import Layout
from api.figures.series import Series
from shared import traces
from shared.errors import Conflict
from shared.plan import RunPlan
from shared.results import Results, Row

if TYPE_CHECKING:
    import altair as alt

EPOCHS = "Epochs trained"
TOOLTIP = ["curve:N", "window:N", "series:N", "epoch:Q", "trace:Q", "low:Q", "high:Q", "n:Q"]


def build(results: Results) -> dict[str, Any]:
    """One row for each curve, window, images, method and epoch: the mean trace over seeds with a
    band.

    The band is the Student t interval over seeds, which holds the estimator's own error too; with
    a single seed it is 1.96 standard errors of the estimate. `interval` says which. Where the axis
    is logarithmic, mean and interval are those of the logarithm: the geometric mean.
    """
    layout, told = curves.layout(results.plan), series.fisher_series(results)
    rows = _rows(results, layout, told, logarithmic=False)
    if not rows:
        raise Conflict("There is nothing to draw yet: no Fisher trace has been measured")
    if scales.is_log(scales.domain(rows)):
        rows = _rows(results, layout, told, logarithmic=True)
    name = results.name or "Fisher information during training"
    return {"data": rows, "title": name, "vegalite": _spec(rows, layout, results, name)}


def _rows(results: Results, layout: Layout, told: Series, logarithmic: bool) -> list[Row]:
    lines: dict[tuple[Any, ...], list[Row]] = {}
    facts: dict[tuple[Any, ...], Row] = {}
    for run in results.plan.runs:
        for probe, found in series.fisher_rows(results, run):
            if found["trace"] is None:
                continue
            images, method = told.images(probe), traces.method(probe)
            place = layout.labels[run.index], layout.positions[run.index]
            group = (*place, repr(run.point), run.variant, images, method, found["epoch"])
            lines.setdefault(group, []).append(found)
            shown: Row = {"images": images, "series": told.label(probe)}
            shown |= {field: probe.get(field) for field in ("split", "estimator")}
            facts.setdefault(group, _place(run, *place) | shown | {"epoch": found["epoch"]})
    return [facts[group] | _mean(found, logarithmic) for group, found in lines.items()]


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


def _spec(rows: list[Row], layout: Layout, results: Results, name: str) -> dict[str, Any]:
    import altair as alt  # 0.4 s: not when the API starts

    there = {row["curve"] for row in rows}
    panels = [label for label in layout.curves if label in there]
    windows = _windows(rows)
    look = _look(windows, panels, layout)
    faceted = len(panels) > 1 and len(windows) > 1
    width = _panel_width(len(panels)) if faceted else style.WIDTH
    chart = alt.layer(*_layers(rows, look, width), data=alt.Data(values=[]))
    chart = chart.properties(width=width, height=style.HEIGHT if not faceted else 300)
    if faceted:
        header = alt.Facet("curve:N", title=None, sort=panels)
        chart = chart.facet(facet=header, columns=_columns(len(panels)))
    shown = _columns(len(panels)) * width if faceted else width
    title = style.title(name, _subtitle(rows, layout, results), shown)
    chart = chart.properties(title=alt.TitleParams(**title))
    return style.finished(chart, rows)


def _panel_width(panels: int) -> int:
    return 330 if _columns(panels) < 3 else 270


def _columns(panels: int) -> int:
    return 2 if panels in (2, 4) else 3


def _windows(rows: list[Row]) -> list[str]:
    """Removal epochs (or onsets), in order; without a deficit first."""
    epochs = {row["window"]: row["window_epoch"] for row in rows}
    return sorted(epochs, key=lambda window: (epochs[window] is not None, epochs[window]))


def _subtitle(rows: list[Row], layout: Layout, results: Results) -> list[str]:
    seeds = curves.seeds_words({row["n"] for row in rows})
    what = f"{curves.setting(results.plan)}, {seeds}. {series.method_words(results)}"
    drawn = bands.words(rows)
    marks = "Triangle: the deficit " + ("begins." if layout.by_onset else "is removed.")
    return [what, (f"Band: {drawn}. " if drawn else "") + marks]


def _layers(rows: list[Row], look: "alt.Color | None", width: int) -> list["alt.Chart"]:
    """`look` are the colours of windows or curves; without them, a colour for each series."""
    import altair as alt

    ends = scales.domain(rows)
    y = scales.axis("trace", "Trace of the Fisher information", ends)
    last = max([1, *(row["epoch"] for row in rows)])
    x = alt.X("epoch:Q", title=EPOCHS, axis=style.epoch_axis(0, last, width))
    color = look or _by_series(rows)
    each = alt.Chart().encode(x=x, color=color, detail=["curve:N", "window:N", "series:N"])
    held = scales.held(("low", "high", "trace"), ends)
    band = each.transform_filter("isValid(datum.low)").transform_calculate(**held)
    lines = each.transform_calculate(trace=held["trace"])
    return [
        _window_marks(look or alt.value(style.GREY), y, ends[0]),
        band.mark_area(opacity=0.12, clip=True).encode(
            y=alt.Y("low:Q", scale=scales.scale(ends)), y2="high:Q"
        ),
        lines.mark_line(strokeWidth=2).encode(y=y, strokeDash=_dash(rows)),
        lines.mark_point(size=24, filled=True, opacity=1).encode(y=y, tooltip=TOOLTIP),
    ]


def _window_marks(color: "alt.Color | alt.Value[str]", y: "alt.Y", lowest: float) -> "alt.Chart":
    """A triangle on the axis where the deficit is removed (or begins)."""
    import altair as alt

    windows = alt.Chart().transform_filter("datum.window_epoch > 0")
    windows = windows.transform_aggregate(groupby=["curve", "window", "window_epoch"])
    windows = windows.transform_calculate(trace=repr(lowest))
    mark = windows.mark_point(shape="triangle-up", size=90, filled=True, opacity=1, clip=False)
    return mark.encode(x=alt.X("window_epoch:Q", title=EPOCHS), y=y, color=color)


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
