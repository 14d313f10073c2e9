"""Curves of means over seeds: line, interval, points, faint single seeds, and how each looks.

A row of kind "mean" holds a curve's mean at `epoch` with `low` and `high`; of kind "seed" the value
of one seed. `base` and `control` say of which curve it is the twin, and what the twin controls for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.figures import curves, style
from shared.results import Row
from shared.sweep import TWINS

if TYPE_CHECKING:
    import altair as alt

DODGE = 5.0
"""Pixels between the points of two curves at one epoch."""
ON_ONE_AXIS = 2
"""Bases whose twins are drawn on one axis, where each curve still has a shape of its own; more of
them have a panel for each control."""
MOST = 24
"""Curves in one picture; the data hold all."""
ONE_SEED = "One seed: no interval."
LOOKS = {None: "solid", "restart": "dashed", "constant": "dotted"}
"""Control -> how its curves are drawn."""


@dataclass(frozen=True)
class Look:
    """A colour, a shape and a dash for each curve: none has to be told apart alone."""

    key: str
    """The field that the legend tells apart: a curve, or in panels its base."""
    labels: list[str]
    colours: list[str]
    shapes: list[str]
    dashes: list[list[int]]
    panels: list[str]
    """A panel for each control; empty: one axis."""
    words: str = ""
    """What the dashes say, where it is a control."""

    @classmethod
    def of(cls, rows: list[Row]) -> "Look":
        """Twins share the colour of their base, and differ from it in shape and dash."""
        told = {row["curve"]: (row["base"], row["control"]) for row in rows}
        bases = list(dict.fromkeys(base for base, _ in told.values()))
        found = {control for _, control in told.values()}
        controls = [control for control in LOOKS if control in found]
        if found <= {None}:
            return cls("curve", list(told), *_cycled(len(told)), [])
        if len(bases) > ON_ONE_AXIS:
            return cls("base", bases, *_cycled(len(bases)), [*map(curves.panel, controls)])
        places = [
            (bases.index(base), list(LOOKS).index(control)) for base, control in told.values()
        ]
        words = [f"{LOOKS[control]}: {TWINS[control]}" for control in controls if control]
        shapes = [style.SHAPES[len(LOOKS) * base + control] for base, control in places]
        return cls(
            "curve",
            list(told),
            [style.COLOURS[base] for base, _ in places],
            shapes,
            [style.CONTROLS[control] for _, control in places],
            [],
            f"{', '.join(words).capitalize()}.",
        )


def some(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """The rows of as many curves as a picture holds, and the words that say so."""
    labels = list(dict.fromkeys(row["curve"] for row in rows))
    if len(labels) <= MOST:
        return rows, []
    drawn = set(labels[:MOST])
    words = f"The first {MOST} of {len(labels)} curves."
    return [row for row in rows if row["curve"] in drawn], [words]


def _cycled(n: int) -> tuple[list[str], list[str], list[list[int]]]:
    return (
        style.cycle(style.COLOURS, n),
        style.cycle(style.SHAPES, n),
        style.cycle(style.DASHES, n),
    )


def layers(look: Look, x: "alt.X", y: "alt.Y") -> list["alt.Chart"]:
    return [part for i in range(len(look.labels)) for part in _curve(i, look, x, y)]


def _curve(i: int, look: Look, x: "alt.X", y: "alt.Y") -> list["alt.Chart"]:
    """Line, bars, points and faint seeds of one curve, moved aside so that bars do not overlap."""
    aside = dodge(i, len(look.labels))
    placed = only(look.key, look.labels[i]).transform_filter("isValid(datum.epoch)")
    mean = placed.transform_filter("datum.kind == 'mean'")
    seeds = placed.transform_filter("datum.kind == 'seed'")
    color, shape = encodings(look)
    return [
        seeds.mark_point(xOffset=aside, size=26, filled=True, opacity=0.45, clip=True).encode(
            x=x, y=y, color=color, shape=shape
        ),
        mean.mark_line(xOffset=aside, strokeWidth=2.2, strokeDash=look.dashes[i]).encode(
            x=x, y=y, color=color
        ),
        mean.transform_filter("isValid(datum.low)")
        .mark_rule(xOffset=aside, strokeWidth=1.6, clip=True)
        .encode(x=x, y="low:Q", y2="high:Q", color=color),
        mean.mark_point(xOffset=aside, size=90, filled=True, opacity=1).encode(
            x=x, y=y, color=color, shape=shape, tooltip=_tooltip(y)
        ),
    ]


def rows_of(where: Row, field: str, over: Row, of_seed: str) -> list[Row]:
    """The mean over seeds with its interval, and each seed's `of_seed`, as `field` in percent."""
    low, high = over["interval"] or (None, None)
    mean = {field: _percent(over["mean"]), "low": _percent(low), "high": _percent(high)}
    seeds = [
        {"kind": "seed", **where, field: _percent(seed[of_seed])}
        | {"seed": seed["seed"], "run": seed["run"]}
        for seed in over["seeds"]
    ]
    return [{"kind": "mean", **where, **mean, "n": over["n"]}, *seeds]


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def dodge(i: int, n: int) -> float:
    return min(DODGE, 4 * DODGE / n) * (i - (n - 1) / 2)


def only(field: str, value: Any) -> "alt.Chart":
    import altair as alt

    return alt.Chart().transform_filter(alt.FieldEqualPredicate(field=field, equal=value))


def encodings(look: Look) -> tuple["alt.Color", "alt.Shape"]:
    import altair as alt

    legend = style.legend(None, look.labels) if len(look.labels) > 1 else None
    field = f"{look.key}:N"
    return (
        alt.Color(field, legend=legend, scale=_scale(look.labels, look.colours)),
        alt.Shape(field, legend=legend, scale=_scale(look.labels, look.shapes)),
    )


def _scale(labels: list[str], choices: list[Any]) -> "alt.Scale":
    import altair as alt

    return alt.Scale(domain=labels, range=choices)


def x(rows: list[Row], title: str, width: int = style.WIDTH) -> "alt.X":
    import altair as alt

    epochs = [row["epoch"] for row in rows if row.get("epoch") is not None] or [0]
    alone = min(epochs) == max(epochs)
    domain = [min(epochs) - alone, max(epochs) + alone]
    scale = alt.Scale(domain=domain, nice=False, padding=22 if width == style.WIDTH else 14)
    axis = style.epoch_axis(int(domain[0]), int(domain[1]), width)
    return alt.X("epoch:Q", title=title, scale=scale, axis=axis)


def ends(rows: list[Row], field: str, within: Sequence[float] | None = None) -> list[float]:
    """As much of the axis as means, seeds, intervals and the paper's points need."""
    found = [row.get(key) for row in rows for key in (field, "low", "high")]
    values = [value for value in found if value is not None]
    low, high = min(values), max(values)
    if within:
        low, high = max(within[0], low), min(within[1], high)
    room = max(0.06 * (high - low), 0.5 if within else 0.1)
    domain = [low - room, high + room]
    return [max(within[0], domain[0]), min(within[1], domain[1])] if within else domain


def y(field: str, title: str, domain: list[float]) -> "alt.Y":
    import altair as alt

    scale = alt.Scale(domain=domain, nice=False, zero=False)
    return alt.Y(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=7))


def zero(y: "alt.Y") -> "alt.Chart":
    """A line where nothing is lost, once in each panel."""
    import altair as alt

    line = alt.Chart().transform_filter("datum.kind == 'mean'")
    line = line.transform_aggregate(groupby=["panel"]).transform_calculate(zero="0")
    return line.mark_rule(color=style.FAINT, strokeWidth=0.8).encode(y="zero:Q")


def chart(layers: list[Any], over: Any, look: Look, title: str, words: list[str]) -> Any:
    """The layers on one axis, or in the panels of the look; `over` them what has a legend of its
    own."""
    return _titled(_axes(layers, over, look), title, words, _across(look))


def beside(
    layers: list[Any],
    over: Any,
    look: Look,
    title: str,
    words: list[str],
    other: Any,
) -> Any:
    """The same, with a small panel on other axes to the right of it."""
    import altair as alt

    main = _axes(layers, over, look)
    main.data = alt.Undefined
    both = alt.hconcat(main, other, data=alt.Data(values=[]), spacing=36)
    return _titled(both, title, words, _across(look) + 200)


def _axes(layers: list[Any], over: Any, look: Look) -> Any:
    """In panels there is one legend for all, which `over` is then not in."""
    import altair as alt

    parts = layers if over is None else [alt.layer(*layers), over]
    shown = alt.layer(*parts, data=alt.Data(values=[]))
    shown = shown.properties(width=width(look), height=height(look))
    if look.panels:
        facet = alt.Facet("panel:N", title=None, sort=look.panels)
        return shown.facet(facet=facet, columns=len(look.panels))
    if over is not None:
        shown = shown.resolve_scale(color="independent", shape="independent")
    return shown


def _titled(shown: Any, title: str, words: list[str], across: int) -> Any:
    import altair as alt

    return shown.properties(title=alt.TitleParams(**style.title(title, words, across)))


def _across(look: Look) -> int:
    return max(1, len(look.panels)) * width(look)


def height(look: Look) -> int:
    return 300 if look.panels else style.HEIGHT


def width(look: Look) -> int:
    return {0: style.WIDTH, 1: style.WIDTH, 2: 330}.get(len(look.panels), 270)


def _tooltip(y: "alt.Y") -> list["alt.Tooltip"]:
    import altair as alt

    return [
        alt.Tooltip("curve:N"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip(y["shorthand"], format=".2f", title="mean"),
        alt.Tooltip("low:Q", format=".2f"),
        alt.Tooltip("high:Q", format=".2f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
