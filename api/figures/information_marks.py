"""What the figure of the information plane draws: the plane, and both axes over time."""

from typing import TYPE_CHECKING

from api.figures import panels, series, style
from shared.results import Row

if TYPE_CHECKING:
    import altair as alt

ABOUT_X, ABOUT_Y = "I(X;T) (bits)", "I(T;Y) (bits)"
BOUNDS = {"i_xt_upper": "upper bound of I(X;T)", "i_xt_lower": "lower bound"}
LINES = "split(replace(datum.label, '; ', ', '), ', ')"
PLANE, TIME = 230, 130
"""Heights."""
APART = 0.035
"""Between the bars at the right, as a share of the axis."""


def bounds_at_the_end(states: list[Row], layers: list[int]) -> list[Row]:
    """The two bounds of I(T;Y) under the noise, of each panel's last epoch, side by side."""
    last: dict[str, int] = {}
    for row in states:
        last[row["panel"]] = max(last.get(row["panel"], 0), row["epoch"])
    end = max(last.values(), default=1)
    return [
        {"kind": "bounds", "panel": row["panel"], "layer": row["layer"],
         "place": end * (1 + APART * (1 + layers.index(row["layer"]))),
         "i_ty_lower": row["i_ty_lower"], "i_ty_upper": row["i_ty_upper"]}
        for row in states
        if row["epoch"] == last[row["panel"]]
    ]  # fmt: skip


def charts(
    rows: list[Row], names: list[str], layers: list[int], columns: int, width: int
) -> list["alt.FacetChart"]:
    """The plane; I(X;T) over epochs; I(T;Y) over epochs. A panel for each of `names`."""
    import altair as alt

    states = [row for row in rows if row["kind"] == "state"]
    ceilings = [row for row in rows if row["kind"] == "ceiling"]
    most = max(row["log2_samples"] for row in ceilings)
    most_y = max(max(row["label_entropy"] for row in ceilings), 1e-3)
    end = max([1, *(row["epoch"] for row in states)])
    wide = alt.Scale(domain=[0, 1.03 * most], nice=False)
    high = alt.Scale(domain=[0, 1.06 * most_y], nice=False)
    room = 1 + APART * (len(layers) + 1)
    axis = style.epoch_axis(0, end, width)
    epochs = alt.Scale(domain=[0, end * room], nice=False)
    x = alt.X("epoch:Q", title=series.EPOCHS, scale=epochs, axis=axis)
    color = _color(layers)
    several = len(names) > 1
    parts = [
        (_plane(wide, high, color), PLANE),
        (_about_x(x, wide, color), TIME),
        (_about_y(x, high, color), TIME),
    ]
    data, out = alt.Data(values=[]), []
    for number, (layered, height) in enumerate(parts):
        header = alt.Header(labelExpr=LINES, labelLineHeight=15, labelLimit=width + 20)
        if not several or (number > 0 and len(names) <= columns):
            header = alt.Header(labelExpr="''", labelFontSize=1)
        facet = alt.Facet("panel:N", title=None, sort=names, header=header)
        chart = alt.layer(*layered, data=data).properties(width=width, height=height)
        out.append(chart.facet(facet=facet, columns=columns))
    return out


def _plane(wide: "alt.Scale", high: "alt.Scale", color: "alt.Color") -> list["alt.Chart"]:
    import altair as alt

    y = alt.Y("i_ty:Q", title=ABOUT_Y, scale=high, axis=alt.Axis(tickCount=4))
    states = _states().transform_joinaggregate(last="max(epoch)", groupby=["panel"])
    out = _ceilings("x", "log2_samples", wide) + _ceilings("y", "label_entropy", high)
    for field in BOUNDS:
        x = alt.X(f"{field}:Q", title=ABOUT_X, scale=wide, axis=alt.Axis(tickCount=5))
        each = states.transform_calculate(bound=repr(BOUNDS[field]))
        each = each.encode(x=x, y=y, color=color, order="epoch:Q", detail="layer:N")
        tooltip = ["layer:N", "epoch:Q", "i_xt_lower:Q", "i_xt_upper:Q", "i_ty:Q", "n:Q"]
        ends = each.transform_filter("datum.epoch == datum.last")
        out += [
            each.mark_line(strokeWidth=1.6).encode(strokeDash=_dash()),
            each.mark_point(size=10, filled=True, opacity=1).encode(tooltip=tooltip),
            ends.mark_point(size=70, filled=True, opacity=1, stroke="white", strokeWidth=0.8),
        ]
    return out


def _about_x(x: "alt.X", wide: "alt.Scale", color: "alt.Color") -> list["alt.Chart"]:
    import altair as alt

    out = [panels.window_marks(), *_ceilings("y", "log2_samples", wide)]
    for field in BOUNDS:
        y = alt.Y(f"{field}:Q", title=ABOUT_X, scale=wide, axis=alt.Axis(tickCount=4))
        each = _states().transform_calculate(bound=repr(BOUNDS[field]))
        each = each.encode(x=x, color=color, detail="layer:N")
        out += [_band(each, field, wide)]
        out += [each.mark_line(strokeWidth=1.6).encode(y=y, strokeDash=_dash())]
        out += [each.mark_point(size=6, filled=True, opacity=1).encode(y=y)]
    return out


def _about_y(x: "alt.X", high: "alt.Scale", color: "alt.Color") -> list["alt.Chart"]:
    import altair as alt

    y = alt.Y("i_ty:Q", title=ABOUT_Y, scale=high, axis=alt.Axis(tickCount=4))
    each = _states().encode(x=x, color=color, detail="layer:N")
    bars = alt.Chart().transform_filter("datum.kind == 'bounds'")
    bars = bars.encode(x=alt.X("place:Q", title=series.EPOCHS), color=color)
    return [
        panels.window_marks(),
        *_ceilings("y", "label_entropy", high),
        _band(each, "i_ty", high),
        each.mark_line(strokeWidth=1.6).encode(y=y),
        each.mark_point(size=6, filled=True, opacity=1).encode(y=y),
        bars.mark_rule(strokeWidth=3).encode(
            y=alt.Y("i_ty_lower:Q", scale=high), y2="i_ty_upper:Q"
        ),
    ]


def _states() -> "alt.Chart":
    import altair as alt

    return alt.Chart().transform_filter("datum.kind == 'state'")


def _band(each: "alt.Chart", field: str, scale: "alt.Scale") -> "alt.Chart":
    import altair as alt

    top = scale.to_dict()["domain"][1]
    held = {
        f"{field}_low": f"max(datum.{field}_low, 0)",
        f"{field}_high": f"min(datum.{field}_high, {top!r})",
    }
    band = each.transform_filter(f"isValid(datum.{field}_low)").transform_calculate(**held)
    low = alt.Y(f"{field}_low:Q", scale=scale)
    return band.mark_area(opacity=0.14).encode(y=low, y2=f"{field}_high:Q")


def _ceilings(channel: str, field: str, scale: "alt.Scale") -> list["alt.Chart"]:
    """A dashed line that nothing can be beyond."""
    import altair as alt

    each = alt.Chart().transform_filter("datum.kind == 'ceiling'")
    at = (alt.X if channel == "x" else alt.Y)(f"{field}:Q", scale=scale)
    line = each.mark_rule(color=style.FAINT, strokeDash=[4, 3], strokeWidth=1)
    return [line.encode(**{channel: at})]


def _color(layers: list[int]) -> "alt.Color":
    import altair as alt

    scale = alt.Scale(domain=layers, range=style.ramp(len(layers)))
    legend = style.legend("layer", [str(layer) for layer in layers])
    return alt.Color("layer:N", scale=scale, legend=legend, sort=None)


def _dash() -> "alt.StrokeDash":
    import altair as alt

    names = list(BOUNDS.values())
    scale = alt.Scale(domain=names, range=[style.DASHES[0], style.DASHES[2]])
    return alt.StrokeDash("bound:N", scale=scale, legend=style.legend(None, names, dashes=True))
