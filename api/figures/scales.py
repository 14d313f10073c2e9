"""Scales for magnitudes: how much of one is shown, and when it is logarithmic."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from api.figures import style
from shared.results import Row

if TYPE_CHECKING:
    import altair as alt

LOG_FROM = 100.0
"""The axis is logarithmic where the largest mean is more than this many times the smallest."""


def domain(rows: Sequence[Row], name: str = "trace", may_be_log: bool = True) -> list[float]:
    """Holds all means and as much of the bands as is legible. Begins at 0 where it is linear."""
    means = [row[name] for row in rows]
    positive = [value for value in means if value > 0]
    top = max(means, default=1.0) or 1.0
    highest = max([top, *(row["high"] for row in rows if row["high"] is not None)])
    if may_be_log and positive and max(positive) > LOG_FROM * min(positive):
        lowest = min(positive)
        least = min([lowest, *(row["low"] for row in rows if row["low"])])
        return [max(least, lowest / 3), min(highest, 3 * top)]
    return [0.0, 1.04 * min(highest, 1.6 * top)]


def is_log(ends: Sequence[float]) -> bool:
    return ends[0] > 0


def scale(ends: Sequence[float]) -> "alt.Scale":
    import altair as alt

    if is_log(ends):
        return alt.Scale(domain=list(ends), nice=False, type="log")
    return alt.Scale(domain=list(ends), nice=False, zero=False, type="linear")


def axis(name: str, title: str, ends: Sequence[float]) -> "alt.Y":
    import altair as alt

    log = is_log(ends)
    whole = title + (" (log scale)" if log else "")
    ticks = style.magnitude_axis(ends, log)
    return alt.Y(f"{name}:Q", title=whole, scale=scale(ends), axis=ticks)


def held(names: Sequence[str], ends: Sequence[float]) -> dict[str, str]:
    """A logarithmic axis has no 0: what is lower than the axis is drawn at its lower end."""
    return {name: f"max(datum.{name}, {ends[0]!r})" for name in names}


def inside(names: Sequence[str], ends: Sequence[float]) -> dict[str, str]:
    """Drawn at the axis' ends what lies beyond them. In place of `clip`, with which a figure of
    some hundred lines takes seconds to become PNG."""
    return {name: f"clamp(datum.{name}, {ends[0]!r}, {ends[1]!r})" for name in names}
