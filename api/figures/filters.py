"""Filters of the first layer as images, a panel for each point of the sweep; beneath, how much of
their power lies at high spatial frequencies."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from api.figures import bands, curves, panels, series, style
from api.figures.curves import Layout
from api.figures.panels import Panels
from shared import numbers
from shared.plan import RunPlan
from shared.probe import FILTERS
from shared.results import Results, Row

if TYPE_CHECKING:
    import altair as alt

MOST_PANELS = 8
MOST_FILTERS = 16
"""In a panel, and of these as many as make a square."""
MOST_PIXELS = 16_000
"""In the picture: each is a mark of its own."""
SIDE = 150
"""Of a panel, in pixels of the picture."""
GAP = 0.17
"""Between two filters, in widths of one."""
SHARE = "Share of the filters' power above \u00bc cycle per pixel (%)"
# Side by side there is no room for the whole name of a panel in one line.
LINES = "split(replace(datum.label, '; ', ', '), ', ')"


def build(results: Results) -> dict[str, Any]:
    """Rows of kind "share": the mean over seeds, in %, of the share of the filters' power at high
    spatial frequencies with its Student t interval; of kind "seed": that of each of several; of
    kind "pixel": one point of one filter of the first seed, largest norms first.

    All are of the last epoch at which every seed of the point was measured. With w a filter and m
    the largest |w| in it, a pixel is 1/2 + w / 2m: grey is 0. Three channels are red, green and
    blue; of any other number the mean is drawn in grey.
    """
    points = _points(results)
    if not points:
        raise series.nothing(results, FILTERS, "filters")
    layout = curves.layout(results.plan)
    shares = [row for panel, found in points.items() for row in _shares(layout, panel, found)]
    seen = {panel: one for panel in points if (one := _first(points[panel]))}
    chosen = panels.evenly(list(seen), MOST_PANELS)
    pixels = [row for panel in chosen for row in _pixels(panel, *seen[panel], len(chosen))]
    name = results.name or "Filters of the first layer"
    rows = shares + pixels
    return {"data": rows, "title": name, "vegalite": _spec(rows, chosen, len(points), results)}


Found = list[tuple[RunPlan, Row]]


def _points(results: Results) -> dict[str, Found]:
    """Panel -> a measurement of each seed, all of the same epoch where there is such a one."""
    places = Panels.of(curves.layout(results.plan), results.plan.runs)
    found: dict[str, list[tuple[RunPlan, dict[int, Row]]]] = {}
    for run in results.plan.runs:
        measured = {one["epoch"]: one for one in results.measurements(run, {FILTERS})}
        if measured:
            found.setdefault(places.name(run, ""), []).append((run, measured))
    return {panel: _together(each) for panel, each in found.items()}


def _together(each: list[tuple[RunPlan, dict[int, Row]]]) -> Found:
    common = set.intersection(*(set(measured) for _, measured in each))
    return [(run, measured[max(common or measured)]) for run, measured in each]


def _shares(layout: Layout, panel: str, found: Found) -> list[Row]:
    run = found[0][0]
    where: Row = {"panel": panel, "curve": layout.labels[run.index], "variant": run.variant}
    where |= {"window_epoch": layout.positions[run.index], "epoch": found[0][1]["epoch"]}
    shares = [
        (run.seed, 100 * share)
        for run, one in found
        if (share := numbers.shown(one["values"]["high_frequency_share"])) is not None
    ]
    if not shares:
        return []
    band = bands.band([share for _, share in shares], None, logarithmic=False)
    mean: Row = {"kind": "share", **where, "share": band.pop("mean"), **band}
    if len(shares) == 1:
        return [mean]
    return [mean] + [{"kind": "seed", **where, "share": v, "seed": s} for s, v in shares]


def _first(found: Found) -> tuple[RunPlan, Row] | None:
    """The first seed whose weights are all numbers."""
    return next((one for one in found if np.isfinite(_weights(one[1])).all()), None)


def _weights(found: Row) -> NDArray[np.float64]:
    """(filters, channels, height, width)."""
    values = found["values"]
    return np.array(values["weights"], dtype=np.float64).reshape(values["shape"])


def _pixels(panel: str, run: RunPlan, found: Row, panels_drawn: int) -> list[Row]:
    weights = _weights(found)
    indices = found["values"].get("indices", range(len(weights)))
    count = _count(weights.shape, panels_drawn)
    columns = math.ceil(math.sqrt(count))
    largest = np.argsort(-np.linalg.norm(weights.reshape(len(weights), -1), axis=1), kind="stable")
    where = {"kind": "pixel", "panel": panel, "seed": run.seed, "epoch": found["epoch"]}
    where |= {"layer": found["values"]["layer"]}
    out = []
    for place, i in enumerate(largest[:count]):
        picture, (height, width) = _picture(weights[i]), weights.shape[2:]
        left, top = place % columns * width * (1 + GAP), place // columns * height * (1 + GAP)
        for (row, column), color in np.ndenumerate(picture):
            at = {"filter": int(indices[i]), "row": row, "column": column, "color": color}
            out.append(where | at | {"x": left + column, "y": top + row})
    return out


def _count(shape: tuple[int, ...], panels_drawn: int) -> int:
    """How many filters of one panel are drawn."""
    n, _, height, width = shape
    room = MOST_PIXELS // (height * width * panels_drawn)
    return max(1, min(n, MOST_FILTERS, room))


def _picture(weights: NDArray[np.float64]) -> NDArray[np.str_]:
    """(C, H, W) -> (H, W) of "#rrggbb"."""
    shown = weights if len(weights) == 3 else np.repeat(weights.mean(0, keepdims=True), 3, 0)
    largest = np.abs(shown).max() or 1.0
    levels = np.rint(255 * (0.5 + shown / (2 * largest))).astype(int)
    hexed = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in levels.reshape(3, -1).T]
    return np.array(hexed).reshape(shown.shape[1:])


# --- the picture ---


def _spec(rows: list[Row], chosen: list[str], there: int, results: Results) -> dict[str, Any]:
    import altair as alt

    name = results.name or "Filters of the first layer"
    columns = min(4, max(1, len(chosen)))
    width = max(columns * SIDE, 420)
    data = alt.Data(values=[])
    parts: list[Any] = [_images(data, chosen, columns)] if chosen else []
    names, more = panels.some(_names(rows))
    if names:
        parts.append(_shares_chart(data, rows, names, width))
    chart = alt.vconcat(*parts, spacing=26)
    subtitle = _subtitle(rows, chosen, there, results)
    subtitle[-1] += more
    title = style.title(name, subtitle, max(width, 560))
    drawn = [row for row in rows if row["kind"] == "pixel" or row["panel"] in names]
    return style.finished(chart.properties(title=alt.TitleParams(**title)), drawn)


def _names(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["panel"] for row in rows if row["kind"] == "share"))


def _subtitle(rows: list[Row], chosen: list[str], there: int, results: Results) -> list[str]:
    means = [row for row in rows if row["kind"] == "share"]
    pixels = [row for row in rows if row["kind"] == "pixel"]
    first = curves.setting(results.plan)
    if pixels:
        number = len({row["filter"] for row in pixels if row["panel"] == chosen[0]})
        seeds = sorted({row["seed"] for row in pixels})
        which = "seed " + "/".join(map(str, seeds))
        first += f", layer {pixels[0]['layer']}. Images: {which}, the {number} of largest norm,"
        first += " each scaled by its largest weight; grey is 0."
        first += f" {len(chosen)} of {there} points." if len(chosen) < there else ""
    if not means:
        return [first]
    interval = bands.words(means)
    second = f"Points: {curves.seeds_words({row['n'] for row in means})}, all filters"
    return [first, second + (f", {interval}; small: single seeds." if interval else ".")]


def _images(data: "alt.Data", chosen: list[str], columns: int) -> "alt.FacetChart":
    import altair as alt

    pixels = alt.Chart(data).transform_filter("datum.kind == 'pixel'")
    pixels = pixels.transform_calculate(x2="datum.x + 1", y2="datum.y + 1")
    within = alt.Scale(zero=True, nice=False)
    marks = pixels.mark_rect(strokeWidth=0.4).encode(
        x=alt.X("x:Q", axis=None, scale=within),
        x2="x2:Q",
        y=alt.Y("y:Q", axis=None, scale=alt.Scale(zero=True, nice=False, reverse=True)),
        y2="y2:Q",
        color=alt.Color("color:N", scale=None),
        stroke=alt.Stroke("color:N", scale=None),
    )
    header = alt.Header(labelExpr=LINES, labelLineHeight=15, labelLimit=SIDE + 30)
    facet = alt.Facet("panel:N", title=None, sort=chosen, header=header)
    shown = marks.properties(width=SIDE, height=SIDE).facet(facet=facet, columns=columns)
    return shown.resolve_scale(x="independent", y="independent")


def _shares_chart(
    data: "alt.Data", rows: list[Row], names: list[str], width: int
) -> "alt.LayerChart | alt.FacetChart":
    import altair as alt

    shares = [row for row in rows if row["kind"] == "share"]
    values = [row[side] for row in shares for side in ("share", "low", "high")]
    top = min(100.0, 1.05 * max([1.0, *(value for value in values if value is not None)]))
    scale = alt.Scale(domain=[0, top], nice=False)
    x = alt.X("share:Q", title=SHARE, scale=scale, axis=alt.Axis(tickCount=6, grid=True))
    label = alt.Axis(labelLimit=260, grid=False)
    y = alt.Y("panel:N", title=None, sort=names, axis=label)
    each = alt.Chart().encode(x=x, y=y, color=alt.value(style.INK))
    mean = each.transform_filter("datum.kind == 'share'")
    held = {"low": "max(datum.low, 0)", "high": f"min(datum.high, {top})"}
    bars = mean.transform_filter("isValid(datum.low)").transform_calculate(**held)
    tooltip = ["panel:N", "epoch:Q", "share:Q", "low:Q", "high:Q", "n:Q"]
    seeds = each.transform_filter("datum.kind == 'seed'")
    layers = alt.layer(
        seeds.mark_point(size=22, filled=True, opacity=0.4, yOffset=6),
        bars.mark_rule(strokeWidth=1.6).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        mean.mark_point(size=70, filled=True, opacity=1).encode(tooltip=tooltip),
        data=data,
    )
    return layers.properties(width=width, height=alt.Step(26))
