"""How the Fisher information moves between the layers once the deficit is gone: the change of each
layer's share by removal epoch, and above it the share that moved in all."""

from typing import TYPE_CHECKING, Any

from api.figures import curves, series, style
from shared import plasticity as analysis
from shared.errors import Conflict
from shared.partners import point_name
from shared.results import Results, Row
from shared.score import INTERVAL

if TYPE_CHECKING:
    import altair as alt

LEAST_SHARE = 2.0
"""Per cent of the total: a layer that has less wherever it is measured is not drawn."""
MOST_CURVES = 6
MOST_CELLS = 16
"""Removal epochs side by side in which a number can still be read."""
CELL = 46
PRINTED = "format(datum.change, '+.1f')"
BLUE, WHITE, ORANGE = "#2166ac", "#f7f7f7", "#d6604d"
LAYER_TOOLTIP = [
    "layer:N",
    "removal:O",
    "epoch:Q",
    "end:Q",
    "at_removal:Q",
    "at_end:Q",
    "change:Q",
    "n:Q",
]


def build(results: Results) -> dict[str, Any]:
    """Rows of kind "layer": the layer's share of the total trace after `epoch` epochs, the nearest
    to the removal, and after `end`, and the change between, in per cent and percentage points; of
    kind "moved": the total variation distance, half the sum of all layers' absolute changes.

    Means over seeds with the Student t interval. Conflict where no run was measured both at its
    removal and after it.
    """
    series.fisher_series(results)
    points = [point for point in analysis.plasticity(results) if point["moved"]["n"]]
    if not points:
        raise Conflict(
            "There is nothing to draw yet: no run was measured both when its deficit was removed"
            " and afterwards. Let 'fisher' measure at the removal epochs and at the end"
        )
    several = len({point["series"] for point in points}) > 1
    layout = curves.layout(results.plan)
    labels = {
        point_name(run.variant, run.point): layout.labels[run.index] for run in results.plan.runs
    }
    rows = [row for one in points for row in _rows(one, _label(labels, one, several))]
    name = results.name or "Plasticity of information after the deficit"
    return {"data": rows, "title": name, "vegalite": _spec(rows, results, name)}


def _label(labels: dict[str, str], point: Row, several: bool) -> str:
    """Of the curve that the point lies on, with the way of measuring where there are several."""
    label = labels[point_name(point["variant"], point["point"])]
    return f"{label}; {point['series']}" if several else label


def _rows(point: Row, curve: str) -> list[Row]:
    where = {"curve": curve, "variant": point["variant"], "control": point["control"]}
    where |= {field: point[field] for field in ("series", "removal", "epoch", "end")}
    moved = {"kind": "moved", **where, **_spread(point["moved"], "moved")}
    return [moved] + [
        {"kind": "layer", **where, "layer": layer["name"]}
        | {side: _percent(layer[side]["mean"]) for side in ("at_removal", "at_end")}
        | _spread(layer["change"], "change")
        for layer in point["layers"]
    ]


def _spread(spread: Row, name: str) -> Row:
    low, high = spread["interval"] or (None, None)
    ends = {"low": _percent(low), "high": _percent(high)}
    return {name: _percent(spread["mean"]), **ends, "n": spread["n"]}


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


# --- the picture ---


def _spec(rows: list[Row], results: Results, name: str) -> dict[str, Any]:
    import altair as alt

    there = list(dict.fromkeys(row["curve"] for row in rows))
    drawn = [row for row in rows if row["curve"] in there[:MOST_CURVES]]
    layers = list(dict.fromkeys(row["layer"] for row in drawn if row["kind"] == "layer"))
    kept = [layer for layer in layers if _is_seen(rows, layer)] or layers
    data = alt.Data(values=[])
    columns = 1 if len(there) == 1 or _widest(drawn) > 8 else 2
    width = style.WIDTH if columns == 1 else CELL * max(5, _widest(drawn))
    parts = [_of_curve(data, drawn, curve, kept, width) for curve in there[:MOST_CURVES]]
    chart = alt.concat(*parts, columns=columns, spacing=30)
    subtitle = _subtitle(rows, results, len(layers) - len(kept), len(there))
    words = style.title(name, subtitle, max(columns * width, 560))
    chart = chart.properties(title=alt.TitleParams(**words))
    return style.finished(chart, [r for r in drawn if r.get("layer") in (None, *kept)])


def _is_seen(rows: list[Row], layer: str) -> bool:
    sides = ("at_removal", "at_end")
    found = [row[side] for row in rows if row.get("layer") == layer for side in sides]
    return any(value is not None and value >= LEAST_SHARE for value in found)


def _widest(rows: list[Row]) -> int:
    """Removal epochs of the curve that has most."""
    epochs = {(row["curve"], row["removal"]) for row in rows}
    there = [curve for curve, _ in epochs]
    return max(there.count(curve) for curve in there)


def _subtitle(rows: list[Row], results: Results, left_out: int, curves_there: int) -> list[str]:
    moved = [row for row in rows if row["kind"] == "moved"]
    seeds = curves.seeds_words({row["n"] for row in moved})
    what = f"{curves.setting(results.plan)}, {seeds}. {series.method_words(results)}"
    said = "Above: share of the trace that moved between layers from the removal to the end"
    said += f", {INTERVAL}." if any(row["low"] is not None for row in moved) else "."
    said += " Below: change of each layer's share of the total, in percentage points."
    if left_out:
        said += f" {left_out} layers that never have {LEAST_SHARE:g} % are left out."
    if curves_there > MOST_CURVES:
        said += f" The first {MOST_CURVES} of {curves_there} curves."
    return [what, said]


def _of_curve(
    data: "alt.Data", rows: list[Row], curve: str, layers: list[str], width: int
) -> "alt.VConcatChart":
    import altair as alt

    own = [row for row in rows if row["curve"] == curve]
    epochs = sorted({row["removal"] for row in own})
    each = alt.Chart(data).transform_filter(alt.FieldEqualPredicate(field="curve", equal=curve))
    x = alt.X("removal:O", sort=epochs, scale=alt.Scale(paddingInner=0.04, paddingOuter=0.02))
    title = alt.TitleParams(curve, fontSize=14, fontWeight="normal", offset=8)
    upper = _moved(each, x, rows).properties(width=width, height=110, title=title)
    printed = len(epochs) <= MOST_CELLS
    lower = _changes(each, x, rows, layers, printed)
    return alt.vconcat(upper, lower.properties(width=width, height=24 * len(layers)), spacing=8)


def _moved(each: "alt.Chart", x: "alt.X", rows: list[Row]) -> "alt.LayerChart | alt.FacetChart":
    import altair as alt

    found = [row for row in rows if row["kind"] == "moved"]
    top = 1.05 * max(row["high"] or row["moved"] for row in found)
    scale = alt.Scale(domain=[0, min(100.0, top) or 1.0], nice=False)
    y = alt.Y("moved:Q", title="Moved (%)", scale=scale, axis=alt.Axis(tickCount=4))
    moved = each.transform_filter("datum.kind == 'moved'").encode(x=x.axis(None))
    bars = moved.transform_filter("isValid(datum.low)")
    bars = bars.transform_calculate(low="max(datum.low, 0)", high="min(datum.high, 100)")
    tooltip = ["removal:O", "epoch:Q", "end:Q", "moved:Q", "low:Q", "high:Q", "n:Q"]
    ink: dict[str, Any] = {"color": style.INK}
    return alt.layer(
        moved.mark_line(strokeWidth=1.4, **ink).encode(y=y),
        bars.mark_rule(strokeWidth=1.6, **ink).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        moved.mark_point(size=60, filled=True, opacity=1, **ink).encode(y=y, tooltip=tooltip),
    )


def _changes(
    each: "alt.Chart", x: "alt.X", rows: list[Row], layers: list[str], printed: bool
) -> "alt.LayerChart | alt.FacetChart":
    import altair as alt

    found = [row["change"] for row in rows if row["kind"] == "layer"]
    most = max([0.1, *(abs(value) for value in found if value is not None)])
    scale = alt.Scale(domain=[-most, 0, most], range=[ORANGE, WHITE, BLUE])
    legend = alt.Legend(title="change (points)", orient="bottom", gradientLength=200)
    y = alt.Y("layer:N", title="Layer", sort=layers, scale=alt.Scale(paddingInner=0.06))
    cells = each.transform_filter("datum.kind == 'layer' && isValid(datum.change)")
    cells = cells.encode(x=x.title("Deficit removed at epoch").axis(labelAngle=0), y=y)
    color = alt.Color("change:Q", scale=scale, legend=legend)
    marks = [cells.mark_rect().encode(color=color, tooltip=LAYER_TOOLTIP)]
    if printed:
        dark = f"datum.change > {0.55 * most!r} || datum.change < {-0.8 * most!r}"
        ink = alt.condition(dark, alt.value("white"), alt.value(style.INK))
        text = cells.transform_calculate(printed=PRINTED).mark_text(fontSize=11)
        marks.append(text.encode(text="printed:N", color=ink))
    return alt.layer(*marks)
