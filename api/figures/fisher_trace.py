"""Trace of the Fisher information over training, one line for each point of the sweep and each way
of measuring."""

from typing import TYPE_CHECKING, Any

from api.figures import accuracy_panel, bands, curves, phase_marks, scales, series, style
from api.figures.curves import Layout
from api.figures.series import Series
from shared import traces, ways
from shared.errors import Conflict
from shared.results import Results, Row
from shared.score import INTERVAL

if TYPE_CHECKING:
    import altair as alt

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
    results = results.remembering()  # the phases are read off the same epochs
    layout, told = curves.layout(results.plan), series.fisher_series(results)
    rows = _rows(results, layout, told, logarithmic=False)
    if not rows:
        raise Conflict("There is nothing to draw yet: no Fisher trace has been measured")
    if scales.is_log(scales.domain(rows)):
        rows = _rows(results, layout, told, logarithmic=True)
    accuracies = accuracy_panel.of_runs(results, layout)
    rows = [row | accuracy_panel.at_epoch(row, accuracies) for row in rows]
    name = results.name or "Fisher information during training"
    spec = _spec(rows, list(accuracies.values()), layout, results, name)
    return {"data": rows, "title": name, "vegalite": spec}


# --- rows ---


def _rows(results: Results, layout: Layout, told: Series, logarithmic: bool) -> list[Row]:
    lines: dict[tuple[Any, ...], list[Row]] = {}
    facts: dict[tuple[Any, ...], Row] = {}
    marks, of = phase_marks.found(results), ways.ways(results)
    for run in results.plan.runs:
        for probe, found in series.fisher_rows(results, run):
            if found["trace"] is None:
                continue
            images, method = told.images(probe), traces.method(probe)
            where = accuracy_panel.place(run, layout)
            group = (where["point"], images, method, found["epoch"])
            lines.setdefault(group, []).append(found)
            shown: Row = {"kind": "trace", "images": images, "series": told.label(probe)}
            shown |= {field: probe.get(field) for field in ("split", "estimator")}
            shown |= marks.get((where["point"], of.label(probe)), {})
            facts.setdefault(group, where | shown | {"epoch": found["epoch"]})
    return [facts[group] | _mean(found, logarithmic) for group, found in lines.items()]


def _mean(found: list[Row], logarithmic: bool) -> Row:
    values = [row["trace"] for row in found]
    band = bands.band(values, found[0]["standard_error"], logarithmic)
    return {"trace": band.pop("mean")} | band


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
        parts.append((accuracy_panel.layers(known, look, x), accuracy_panel.HEIGHT))
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
    lines = each.encode(x=x, color=color, detail=["point:N", "series:N"])
    held = scales.held(("low", "high", "trace"), ends)
    band = lines.transform_filter("isValid(datum.low)").transform_calculate(**held)
    lines = lines.transform_calculate(trace=held["trace"])
    alone = len({(row["curve"], row["window"], row["series"]) for row in rows}) == 1
    return [
        *(phase_marks.names(x) if alone else []),
        _window_marks(look or alt.value(style.GREY), x, y, ends[0]),
        band.mark_area(opacity=0.12, clip=True).encode(
            y=alt.Y("low:Q", scale=scales.scale(ends)), y2="high:Q"
        ),
        lines.mark_line(strokeWidth=2).encode(y=y, strokeDash=_dash(rows)),
        lines.mark_point(size=24, filled=True, opacity=1).encode(y=y, tooltip=TOOLTIP),
        *phase_marks.peaks(color, x, y, ends),
    ]


def _window_marks(
    color: "alt.Color | alt.Value[str]", x: "alt.X", y: "alt.Y", lowest: float
) -> "alt.Chart":
    """A triangle on the axis where the deficit is removed (or begins)."""
    import altair as alt

    windows = alt.Chart().transform_filter("datum.kind == 'trace' && datum.window_epoch > 0")
    windows = windows.transform_aggregate(groupby=["curve", "window", "window_epoch"])
    windows = windows.transform_calculate(trace=repr(lowest))
    mark = windows.mark_point(shape="triangle-up", size=90, filled=True, opacity=1, clip=False)
    return mark.encode(x=phase_marks.at(x, "window_epoch"), y=y, color=color)


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
