"""The four panels of the bottleneck's figure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from api.figures import means, scales, style
from shared.results import Row
from shared.stages import STAGES

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 330, 240
MOST_LINES = 10
"""Removal epochs whose line is drawn; layers whose share is."""
LEAST_SHARE = 2.0
"""Per cent: a layer that has less after every removal is not drawn."""
SHAPES = dict(zip(STAGES, ("circle", "square", "triangle-up"), strict=True))
ALONG = "From the clean run (0) to the run with the deficit (1)"


def _x(rows: list[Row]) -> "alt.X":
    import altair as alt

    epochs = sorted({row["removal"] for row in rows})
    scale = alt.Scale(domain=[0, max(1, epochs[-1])], nice=False, padding=10)
    axis = alt.Axis(values=epochs, format="d")
    return alt.X("removal:Q", title="Deficit removed at epoch", scale=scale, axis=axis)


def _colour(labels: list[str], field: str, title: str | None, ramp: bool) -> "alt.Color":
    import altair as alt

    shades = style.ramp(len(labels)) if ramp else style.cycle(style.COLOURS, len(labels))
    scale = alt.Scale(domain=labels, range=shades)
    columns = max(1, int(WIDTH / (30 + 7.5 * max(map(len, labels)))))
    legend = alt.Legend(title=title, orient="bottom", columns=columns, symbolOpacity=1)
    return alt.Color(f"{field}:N", scale=scale, legend=legend)


def traces(rows: list[Row], shown: list[str]) -> Any:
    import altair as alt

    mine = [row for row in rows if row["kind"] == "trace"]
    if not mine:
        return None
    ends = scales.domain(mine)
    y = scales.axis("trace", "Fisher trace at the end", ends)
    each = alt.Chart().transform_filter("datum.kind == 'trace'")
    each = each.encode(x=_x(mine), color=_colour(shown, "curve", None, ramp=False))
    each = each.transform_calculate(**scales.inside(("trace",), ends))
    legend = alt.Legend(title="at the removal", orient="bottom", columns=4)
    named = [stage for stage in STAGES if any(row["stage"] == stage for row in mine)]
    scale = alt.Scale(domain=named, range=[SHAPES[stage] for stage in named])
    shape = alt.Shape("stage:N", scale=scale, legend=legend)
    told = ["curve:N", "removal:Q", "trace:Q", "over_clean:Q", "low:Q", "high:Q", "n:Q", *STAGES]
    tooltip = [name if ":" in name else f"{name}:Q" for name in told]
    layers = []
    for curve, aside in _aside(each, shown):
        points = curve.mark_point(size=70, filled=True, opacity=1, xOffset=aside)
        points = points.encode(y=y, tooltip=tooltip)
        layers += [
            _bars(curve, ends, strokeWidth=1.4, xOffset=aside),
            curve.mark_line(strokeWidth=1.6, xOffset=aside).encode(y=y),
            points.transform_filter("isValid(datum.stage)").encode(shape=shape),
            points.transform_filter("!isValid(datum.stage)"),
        ]
    return _panel(layers, "Trace left at the end")


def barriers(rows: list[Row], shown: list[str]) -> Any:
    import altair as alt

    mine = [row for row in rows if row["kind"] == "barrier"]
    if not mine:
        return None
    ends = scales.domain(mine, "barrier", may_be_log=False)
    y = scales.axis("barrier", "Barrier (nats)", ends)
    each = alt.Chart().transform_filter("datum.kind == 'barrier'")
    dash = alt.StrokeDash(
        "split:N",
        scale=alt.Scale(domain=["test", "train"], range=[[1, 0], [4, 3]]),
        legend=alt.Legend(title="images", orient="bottom", symbolType="stroke", symbolSize=400),
    )
    colour = _colour(shown, "curve", None, ramp=False)
    if any(row["kind"] == "trace" for row in rows):  # the legend stands beside
        colour = colour.legend(None)
    each = each.encode(x=_x(rows), color=colour)
    each = each.transform_calculate(**scales.inside(("barrier",), ends))
    tooltip = ["curve:N", "removal:Q", "split:N", "barrier:Q", "low:Q", "high:Q", "distance:Q"]
    layers = []
    for curve, aside in _aside(each, shown):
        lines = curve.mark_line(strokeWidth=1.6, xOffset=aside).encode(y=y, strokeDash=dash)
        test = curve.transform_filter("datum.split == 'test'")
        points = test.mark_point(size=45, filled=True, opacity=1, xOffset=aside)
        train = curve.transform_filter("datum.split == 'train'")
        small = train.mark_point(size=22, filled=False, opacity=1, xOffset=aside)
        bars = _bars(test, ends, strokeWidth=1.4, xOffset=aside)
        layers += [bars, lines, *(one.encode(y=y, tooltip=tooltip) for one in (small, points))]
    return _panel(layers, "Height of the barrier to the clean run")


def shares(rows: list[Row]) -> Any:
    import altair as alt

    mine = [row for row in rows if row["kind"] == "share"]
    layers = list(dict.fromkeys(row["layer"] for row in mine))
    largest = {layer: max(r["share"] for r in mine if r["layer"] == layer) for layer in layers}
    seen = sorted(layers, key=lambda layer: -largest[layer])[:MOST_LINES]
    kept = [layer for layer in layers if layer in seen and largest[layer] >= LEAST_SHARE]
    if not kept:
        return None
    there = [row for row in mine if row["layer"] in kept]
    ends = scales.domain(there, "share", may_be_log=False)
    ends[1] = min(ends[1], 100.0)
    y = scales.axis("share", "Share of the trace (%)", ends)
    named = " || ".join(f"datum.layer == '{layer}'" for layer in kept)
    each = alt.Chart().transform_filter(f"datum.kind == 'share' && ({named})")
    colour = _colour(kept, "layer", "layer", ramp=True)
    each = each.encode(x=_x(mine), color=colour)
    tooltip = ["layer:N", "removal:Q", "share:Q", "low:Q", "high:Q", "n:Q"]
    drawn = [
        _bars(each, ends, strokeWidth=1, opacity=0.5),
        each.mark_line(strokeWidth=1.6).encode(y=y),
        each.mark_point(size=35, filled=True, opacity=1).encode(y=y, tooltip=tooltip),
    ]
    return _panel(drawn, "Where it lies: layers' shares at the end")


def lines(rows: list[Row]) -> Any:
    import altair as alt

    mine = [row for row in rows if row["kind"] == "line" and row["split"] == "test"]
    if not mine:
        return None
    removed = [str(epoch) for epoch in sorted({row["removal"] for row in mine})][:MOST_LINES]
    there = [row for row in mine if row["removed"] in removed]
    ends = scales.domain(there, "loss", may_be_log=False)
    y = scales.axis("loss", "Test loss (nats)", ends)
    named = " || ".join(f"datum.removed == '{epoch}'" for epoch in removed)
    each = alt.Chart().transform_filter(
        f"datum.kind == 'line' && datum.split == 'test' && ({named})"
    )
    x = alt.X("a:Q", title=ALONG, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5))
    each = each.encode(x=x, color=_colour(removed, "removed", "removed at epoch", ramp=True))
    each = each.transform_calculate(**scales.inside(("loss",), ends))
    bars = each.transform_filter("isValid(datum.low)")
    bars = bars.transform_calculate(**scales.inside(("low", "high"), ends))
    tooltip = ["removed:N", "a:Q", "loss:Q", "low:Q", "high:Q", "n:Q"]
    drawn = [
        bars.mark_area(opacity=0.08).encode(
            y=alt.Y("low:Q", scale=scales.scale(ends)), y2="high:Q"
        ),
        each.mark_line(strokeWidth=1.8).encode(y=y, tooltip=tooltip),
    ]
    return _panel(drawn, "Loss along the line")


def _aside(each: "alt.Chart", shown: list[str]) -> Iterator[tuple["alt.Chart", float]]:
    """The marks of each curve, and how far they are moved so that intervals stand side by side."""
    import altair as alt

    for i, label in enumerate(shown):
        mine = alt.FieldEqualPredicate(field="curve", equal=label)
        yield each.transform_filter(mine), means.dodge(i, len(shown))


def _bars(each: "alt.Chart", ends: list[float], **look: Any) -> "alt.Chart":
    """Intervals, as far as the axis goes."""
    import altair as alt

    bars = each.transform_filter("isValid(datum.low)")
    bars = bars.transform_calculate(**scales.inside(("low", "high"), ends))
    low = alt.Y("low:Q", scale=scales.scale(ends))
    return bars.mark_rule(**look).encode(y=low, y2="high:Q")


def _panel(layers: list[Any], title: str) -> Any:
    import altair as alt

    shown = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    named = alt.TitleParams(text=title, fontSize=13, offset=6)
    return shown.properties(title=named)
