"""Where the phases of a trace lie, and their marks in a figure: peak, memorisation, forgetting."""

from typing import TYPE_CHECKING, Any

from api.figures import scales, style
from shared import phases
from shared.partners import point_name
from shared.results import Results, Row

if TYPE_CHECKING:
    import altair as alt


def found(results: Results) -> dict[tuple[str, str], Row]:
    """(point, way of measuring) -> where its phases lie."""
    marks = {}
    for one in phases.phases(results):
        seen = one["peaked"] == one["n"]
        peak: Row = (seen and one["peak_epoch"]) or {"mean": None, "interval": None}
        low, high = peak["interval"] or (None, None)
        marks[point_name(one["variant"], one["point"]), one["series"]] = {
            "peak_epoch": peak["mean"],
            "peak_low": None if low is None else max(0.0, low),
            "peak_high": high,
            "peak_trace": one["peak_trace"]["mean"] if peak["mean"] is not None else None,
            "plateau_epoch": (one["plateau_epoch"] or {"mean": None})["mean"],
        }
    return marks


def at(channel: Any, field: str) -> Any:
    """The same scale and axis for another field."""
    moved = channel.copy()
    moved.shorthand = f"{field}:Q"
    return moved


def once(*fields: str) -> "alt.Chart":
    """What is the same in all rows of a line, once."""
    import altair as alt

    lines = alt.Chart().transform_filter("datum.kind == 'trace'")
    lines = lines.transform_filter(f"isValid(datum.{fields[0]})")
    return lines.transform_aggregate(groupby=["point", "curve", "window", "series", *fields])


def names(x: "alt.X") -> list["alt.Chart"]:
    """Grey up to the peak, and above it the names of the two phases."""
    import altair as alt

    peak = once("peak_epoch").transform_calculate(zero="0")
    names = peak.encode(x=at(x, "peak_epoch"), y=alt.value(-7))
    text: dict[str, Any] = {"color": style.GREY, "fontSize": 12}
    return [
        peak.mark_rect(color=style.GREY, opacity=0.1).encode(x=at(x, "zero"), x2="peak_epoch:Q"),
        names.mark_text(text="\u2190 memorisation", align="right", dx=-6, **text),
        names.mark_text(text="forgetting \u2192", align="left", dx=6, **text),
    ]


def peaks(color: "alt.Color", x: "alt.X", y: "alt.Y", ends: list[float]) -> list["alt.Chart"]:
    """A diamond at the peak, and how far its epoch varies over seeds."""
    fields = ("peak_epoch", "peak_low", "peak_high", "peak_trace")
    tops = once(*fields).transform_calculate(**scales.inside(("peak_trace",), ends))
    tops = tops.encode(y=at(y, "peak_trace"), color=color)
    bars = tops.transform_filter("isValid(datum.peak_low)")
    return [
        bars.mark_rule(strokeWidth=1.6, clip=True).encode(x=at(x, "peak_low"), x2="peak_high:Q"),
        tops.mark_point(shape="diamond", size=80, fill="white", opacity=1, strokeWidth=1.8).encode(
            x=at(x, "peak_epoch")
        ),
    ]
