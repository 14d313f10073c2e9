"""The look that all figures share: colours that the colour-blind can tell apart, print sizes."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

FONT = "Arial, Helvetica, Liberation Sans, sans-serif"
INK, GREY = "#222222", "#6b6b6b"
FAINT = "#8f8f8f"
"""What is drawn for orientation alone."""
WIDTH, HEIGHT = 640, 400

# Okabe & Ito 2008, without yellow (too pale for a line on white); black last.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
# Eight shapes and five dashes to seven colours: no two of 56 curves look alike.
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross"]
SHAPES += ["triangle-down", "triangle-right", "triangle-left"]
DASHES = [[1, 0], [7, 3], [2, 2], [8, 3, 2, 3], [12, 4]]
# A curve and its twins: as asked, restarted, constant.
CONTROLS = [[1, 0], [8, 4], [2, 3]]


def cycle(choices: Sequence[Any], n: int) -> list[Any]:
    return [choices[i % len(choices)] for i in range(n)]


# Dark violet to amber: inferno without its pale end, which is lost on white paper.
_RAMP = ["#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#f2a20c"]


def ramp(n: int) -> list[str]:
    """n colours from dark to light, for what has an order: they also differ in a grey print."""
    if n == 1:
        return [_RAMP[0]]
    return [_between(i * (len(_RAMP) - 1) / (n - 1)) for i in range(n)]


def _between(place: float) -> str:
    below = min(int(place), len(_RAMP) - 2)
    ends = [[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in _RAMP[below : below + 2]]
    mix = (round(a + (b - a) * (place - below)) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mix)


def title(text: str, subtitle: Sequence[str], width: int = WIDTH) -> dict[str, Any]:
    """Both in as many lines as they need."""
    return {
        "text": textwrap.wrap(text, max(20, width // 9), max_lines=3, placeholder=" …"),
        "subtitle": [line for part in subtitle for line in _wrapped(part, width // 6)],
    }


def _wrapped(text: str, width: int) -> list[str]:
    """A number stays with its %."""
    lines = textwrap.wrap(text.replace(" %", "\u00a0%"), width)
    return [line.replace("\u00a0%", " %") for line in lines]


def legend(title: str | None, labels: Sequence[str], dashes: bool = False) -> "alt.Legend":
    """Below the plot, in as many columns as the labels let stand side by side. `dashes` are told
    apart only where they are long enough."""
    import altair as alt

    widths = [(55 if dashes else 40) + 6.5 * min(45, len(label)) for label in labels]
    columns = len(labels) if sum(widths) <= WIDTH else max(1, int(WIDTH / max(widths)))
    look: dict[str, Any] = {"symbolType": "stroke", "symbolSize": 500} if dashes else {}
    return alt.Legend(title=title, orient="bottom", columns=columns, symbolOpacity=1, **look)


def epoch_axis(first: int, last: int, width: int = WIDTH) -> "alt.Axis":
    import altair as alt

    if last - first < 8:  # no ticks between epochs
        return alt.Axis(values=list(range(first, last + 1)), format="d")
    return alt.Axis(tickCount=width // 75, format="d")


def magnitude_axis(domain: Sequence[float], log: bool) -> "alt.Axis":
    """1, 2, 5, 10, ... on a logarithmic axis; powers of ten alone over more than three decades."""
    import altair as alt

    if not log:
        return alt.Axis(tickCount=6, format=_number_format(domain[1] / 10))
    low, high = math.floor(math.log10(domain[0])), math.ceil(math.log10(domain[1]))
    steps = (1, 2, 5) if high - low <= 4 else (1,)
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    within = [tick for tick in ticks if domain[0] <= tick <= domain[1]]
    return alt.Axis(values=within, format=_number_format(within[0] if within else domain[0]))


def _number_format(value: float) -> str:
    """Of the smallest number on an axis. 12k, but 0.05: the counterparts of k few people read."""
    if value >= 1:
        return "~s"
    return "~g" if value >= 0.001 else "~e"


def finished(chart: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """As Vega-Lite, in the common look. The rows come last: altair would look at each several
    times."""
    spec: dict[str, Any] = chart.configure(**CONFIG).to_dict()
    spec["config"]["legend"]["layout"] = STACKED
    return spec | {"data": {"values": rows}}


STACKED = {"bottom": {"direction": "vertical", "anchor": "start"}}
"""One legend below another. Vega knows it and altair does not."""
CONFIG: dict[str, Any] = {
    "background": "white",
    "padding": 10,
    "font": FONT,
    "view": {"stroke": None},
    "title": {
        "anchor": "start",
        "frame": "group",
        "fontSize": 17,
        "fontWeight": "bold",
        "color": INK,
        "subtitleFontSize": 12,
        "subtitleColor": GREY,
        "subtitlePadding": 5,
        "offset": 14,
    },
    "axis": {
        "labelFontSize": 13,
        "titleFontSize": 14,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": GREY,
        "tickColor": GREY,
        "gridColor": "#e8e8e8",
        "labelOverlap": True,
    },
    "axisX": {"grid": False},
    "header": {"labelFontSize": 13, "labelColor": INK, "titleFontSize": 13, "labelLimit": 290},
    "legend": {
        "labelFontSize": 13,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
        "labelColor": INK,
        "titleColor": INK,
        "labelLimit": 300,
        "symbolSize": 90,
        "symbolStrokeWidth": 2.2,
    },
}
