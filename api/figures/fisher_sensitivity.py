"""The clean run's Fisher trace beside what a short deficit costs: sensitivity mapped onto the trace
by the fit F(t) = a exp(c S(t)) + b, and the fit itself."""

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from api.figures import bands, curves, scales, series, style
from shared import fits, ways
from shared.errors import Conflict
from shared.partners import elsewhere, grouped, partners, point_name
from shared.plan import RunPlan
from shared.results import Results, Row, flat
from shared.score import INTERVAL

if TYPE_CHECKING:
    import altair as alt

MOST = 4
"""Rows of panels in one picture; the data hold all."""
STEPS = 60
"""Points of a drawn curve."""
WIDTH, HEIGHT = 400, 280
TRACE, COST = "Trace of the Fisher information", "Sensitivity (points of accuracy lost)"
TOOLTIP = ["length:N", "onset:Q", "sensitivity:Q", "low:Q", "high:Q", "trace:Q", "fitted:Q", "n:Q"]


def build(results: Results) -> dict[str, Any]:
    """Rows of kind "trace": the mean trace of the runs without a deficit, with a band as in
    `fisher_trace`; of kind "point": a window [onset, onset + length), its sensitivity S in
    percentage points and the trace at its onset, means over seeds with Student t intervals, and
    `fitted` = a exp(c S) + b with that of S's interval; of kind "fit": the fitted curve.

    Conflict where no windows of one length begin at different epochs, or nothing was measured.
    """
    series.fisher_series(results)
    found = fits.fisher_fit(results)
    if not found:
        raise Conflict(
            "There is nothing to draw yet: this takes finished runs whose deficit of one length"
            " begins at different epochs, and a run without a deficit with its Fisher trace"
        )
    groups = grouped(found, lambda fit: json.dumps(_group(fit), sort_keys=True))
    clean, of = _clean(results), ways.ways(results)
    rows: list[Row] = []
    for group in groups:
        runs = clean[point_name(group[0]["variant"], group[0]["point"])]
        lines = [ways.lines(results, run, of).get(group[0]["series"], []) for run in runs]
        rows += _rows(lines, group, _label(group[0], groups))
    name = results.name or "Sensitivity and Fisher information"
    return {"data": rows, "title": name, "vegalite": _spec(rows, groups, results, name)}


def _group(fit: Row) -> list[Any]:
    """What the fits of one row of panels have in common: they differ in the window's length."""
    return [fit["variant"], fit.get("point"), fit.get("series")]


def _label(fit: Row, groups: list[list[Row]]) -> str:
    """What tells a row of panels from the others."""
    every = [_group(group[0]) for group in groups]
    told = [len({repr(one[i]) for one in every}) > 1 for i in range(3)]
    variant, point, way = _group(fit)
    words = [variant or "", flat(point or {}), way or ""]
    return "; ".join(word for word, tells in zip(words, told, strict=True) if tells and word)


# --- rows ---


def _rows(lines: list[list[Row]], group: list[Row], label: str) -> list[Row]:
    """`lines`: the measurements of each run without a deficit."""
    where = {"panel": label, "variant": group[0]["variant"], "series": group[0].get("series")}
    rows = [{"kind": "trace", **where, **row} for row in _trace(lines)]
    for fit in group:
        of = {**where, "length": str(fit["length"])}
        rows += [{"kind": "point", **of, **point, **_mapped(fit, point)} for point in fit["points"]]
        rows += [{"kind": "fit", **of, **at} for at in _curve(fit)]
    return rows


def _trace(lines: list[list[Row]]) -> list[Row]:
    """Over the runs, epoch by epoch."""
    by_epoch: dict[int, list[Row]] = {}
    for line in lines:
        for row in line:
            by_epoch.setdefault(row["epoch"], []).append(row)
    out = []
    for epoch, found in sorted(by_epoch.items()):
        values = [row["trace"] for row in found]
        band = bands.band(values, found[0]["standard_error"], logarithmic=False)
        names = {"trace": "mean", "trace_low": "low", "trace_high": "high"}
        out.append({"epoch": epoch, **{to: band[name] for to, name in names.items()}}
                   | {"n": band["n"], "interval": band["interval"]})  # fmt: skip
    return out


def _clean(results: Results) -> dict[str, list[RunPlan]]:
    """Variant and place on the axes that are not the deficit's -> the runs without a deficit that
    its windows are compared with, each once."""
    clean = partners(results)
    found: dict[str, dict[int, RunPlan]] = {}
    for run in results.plan.runs:
        if run.index in clean:
            other = clean[run.index]
            found.setdefault(point_name(run.variant, elsewhere(run)), {})[other.index] = other
    return {place: list(runs.values()) for place, runs in found.items()}


def _mapped(fit: Row, point: Row) -> Row:
    """The ends of S's interval on the scale of the trace."""
    ends = [value for side in ("low", "high") if (value := _at(fit, point[side])) is not None]
    if len(ends) < 2:
        return {"fitted_low": None, "fitted_high": None}
    return {"fitted_low": min(ends), "fitted_high": max(ends)}


def _curve(fit: Row) -> list[Row]:
    found = [point["sensitivity"] for point in fit["points"]]
    places: list[float] = np.linspace(min(found), max(found), STEPS).tolist() if found else []
    values = [(s, _at(fit, s)) for s in places]
    return [{"sensitivity": s, "fitted": value} for s, value in values if value is not None]


def _at(fit: Row, sensitivity: float | None) -> float | None:
    if fit["a"] is None or sensitivity is None:
        return None
    try:
        value = float(fit["a"] * math.exp(fit["c"] * sensitivity) + fit["b"])
    except OverflowError:  # an interval may reach far beyond the fitted points
        return None
    return value if math.isfinite(value) else None


# --- the picture ---


def _spec(rows: list[Row], groups: list[list[Row]], results: Results, name: str) -> dict[str, Any]:
    import altair as alt

    labels = list(dict.fromkeys(row["panel"] for row in rows))[:MOST]
    drawn = [row for row in rows if row["panel"] in labels]
    lengths = sorted({row["length"] for row in drawn if "length" in row}, key=int)
    data = alt.Data(values=[])
    parts = [_row(data, drawn, label, lengths) for label in labels]
    subtitle = _subtitle(drawn, groups, results)
    words = style.title(name, subtitle, 2 * WIDTH)
    chart = alt.vconcat(*parts, spacing=24).properties(title=alt.TitleParams(**words))
    return style.finished(chart, drawn)


def _subtitle(rows: list[Row], groups: list[list[Row]], results: Results) -> list[str]:
    seeds = curves.seeds_words({row["n"] for row in rows if row["kind"] == "point"})
    what = f"{curves.setting(results.plan)}, {seeds}. {series.method_words(results)}"
    told = [row for row in rows if row["kind"] == "point" and row["low"] is not None]
    said = "Line: run without a deficit. Points: F = a exp(c S) + b, S the accuracy lost"
    said += f"; bars: {INTERVAL}." if told else "."
    more = f" The first {MOST} of {len(groups)} curves." if len(groups) > MOST else ""
    fitted = [
        ": ".join(filter(None, [_label(fit, groups), _fit_words(fit)]))
        for group in groups[:MOST]
        for fit in group
    ]
    return [what, said + more, *fitted]


def _fit_words(fit: Row) -> str:
    words = f"Windows of {fit['length']} epochs: "
    if fit["a"] is None:
        words += f"no fit, {fit['reason']}"
    else:
        a, b, c = (_number(fit[name]) for name in "abc")
        words += f"a = {a}, b = {b}, c = {c} per point, R\u00b2 = {fit['r2']:.2f}"
    if fit["spearman"] is not None:
        words += f"; Spearman {fit['spearman']:.2f}, p = {fit['spearman_p']:.2g}"
    return f"{words} (n = {fit['n']})"


def _number(value: float) -> str:
    """Three digits, as people write them."""
    text = f"{value:.3g}"
    return f"{float(text):g}" if 1e-3 <= abs(value) < 1e6 else text


def _row(data: "alt.Data", rows: list[Row], label: str, lengths: list[str]) -> "alt.HConcatChart":
    import altair as alt

    own = [row for row in rows if row["panel"] == label]
    ends = _domain(own)
    each = alt.Chart(data).transform_filter(alt.FieldEqualPredicate(field="panel", equal=label))
    color, shape = _look(lengths)
    points = each.transform_filter("datum.kind == 'point'").encode(color=color)
    title = alt.TitleParams(label, fontSize=14, fontWeight="normal", offset=8)
    size: dict[str, Any] = {"width": WIDTH, "height": HEIGHT}
    left = alt.layer(*_over_epochs(each, points, shape, own, ends)).properties(**size)
    right = alt.layer(*_over_sensitivity(each, points, color, shape, own, ends))
    left = left.properties(title=title) if label else left
    return alt.hconcat(left, right.properties(**size), spacing=30)


def _domain(rows: list[Row]) -> list[float]:
    """Never logarithmic: means, intervals and the fit are those of the trace itself."""
    traces = [{"trace": row["trace"], "high": row["trace_high"], "low": row["trace_low"]}
              for row in rows if row.get("trace") is not None]  # fmt: skip
    return scales.domain(traces, may_be_log=False)


def _look(lengths: list[str]) -> tuple["alt.Color", "alt.Shape"]:
    import altair as alt

    n = len(lengths)
    legend = style.legend("epochs under the deficit", lengths)
    colors = alt.Scale(domain=lengths, range=style.cycle(style.COLOURS, n))
    shapes = alt.Scale(domain=lengths, range=style.cycle(style.SHAPES, n))
    return (
        alt.Color("length:N", scale=colors, legend=legend, sort=None),
        alt.Shape("length:N", scale=shapes, legend=legend, sort=None),
    )


def _over_epochs(
    each: "alt.Chart", points: "alt.Chart", shape: "alt.Shape", rows: list[Row], ends: list[float]
) -> list["alt.Chart"]:
    import altair as alt

    last = max([1, *(row[key] for row in rows for key in ("epoch", "onset") if key in row)])
    scale, axis = alt.Scale(domain=[0, last], nice=False), style.epoch_axis(0, last, WIDTH)
    x = alt.X("epoch:Q", title="Epochs trained, or onset of the deficit", scale=scale, axis=axis)
    at = alt.X("onset:Q", scale=scale)
    y, drawn = scales.axis("trace", TRACE, ends), scales.scale(ends)
    trace = each.transform_filter("datum.kind == 'trace'").encode(x=x)
    band = trace.transform_filter("isValid(datum.trace_low)")
    band = band.transform_calculate(**scales.inside(("trace_low", "trace_high"), ends))
    mapped = points.transform_filter("isValid(datum.fitted)")
    bars = mapped.transform_filter("isValid(datum.fitted_low)")
    bars = bars.transform_calculate(**scales.inside(("fitted_low", "fitted_high"), ends))
    mapped = mapped.transform_calculate(**scales.inside(("fitted",), ends))
    return [
        band.mark_area(opacity=0.14, color=style.INK).encode(
            y=alt.Y("trace_low:Q", scale=drawn), y2="trace_high:Q"
        ),
        trace.mark_line(strokeWidth=2, color=style.INK).encode(y=y),
        bars.mark_rule(strokeWidth=1.5).encode(
            x=at, y=alt.Y("fitted_low:Q", scale=drawn), y2="fitted_high:Q"
        ),
        mapped.mark_point(size=80, filled=True, opacity=1).encode(
            x=at, y=alt.Y("fitted:Q", scale=drawn), shape=shape, tooltip=TOOLTIP
        ),
    ]


def _over_sensitivity(
    each: "alt.Chart",
    points: "alt.Chart",
    color: "alt.Color",
    shape: "alt.Shape",
    rows: list[Row],
    ends: list[float],
) -> list["alt.Chart"]:
    import altair as alt

    sides = ("sensitivity", "low", "high")
    found = [row[side] for row in rows if row["kind"] == "point" for side in sides]
    values = [value for value in found if value is not None]
    room = 0.06 * ((max(values) - min(values)) or 1.0)
    across = alt.Scale(domain=[min(values) - room, max(values) + room], nice=False, zero=False)
    x = alt.X("sensitivity:Q", title=COST, scale=across, axis=alt.Axis(tickCount=6))
    y, drawn = scales.axis("trace", "", ends).title(None), scales.scale(ends)
    known = points.transform_filter("isValid(datum.trace)")
    wide = known.transform_filter("isValid(datum.low)")
    high = known.transform_filter("isValid(datum.trace_low)")
    high = high.transform_calculate(**scales.inside(("trace_low", "trace_high"), ends))
    fitted = each.transform_filter("datum.kind == 'fit'").encode(x=x, color=color)
    return [
        fitted.mark_line(strokeWidth=1.8, clip=True).encode(y=alt.Y("fitted:Q", scale=drawn)),
        wide.mark_rule(strokeWidth=1, opacity=0.7).encode(
            x=alt.X("low:Q", scale=across), x2="high:Q", y=y
        ),
        high.mark_rule(strokeWidth=1, opacity=0.7).encode(
            x=x, y=alt.Y("trace_low:Q", scale=drawn), y2="trace_high:Q"
        ),
        known.mark_point(size=80, filled=True, opacity=1).encode(
            x=x, y=y, shape=shape, tooltip=TOOLTIP
        ),
    ]
