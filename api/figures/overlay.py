"""The paper's digitised curves, laid over a figure of ours: grey, dashed, with open markers."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.figures import style
from shared.errors import Fault, Invalid
from shared.faults import unknown
from shared.paper_curves import CURVES, Curve
from shared.results import Row

if TYPE_CHECKING:
    import altair as alt

TITLE = "paper v1 (arXiv 1711.08856)"
IN_DAYS = "fig1d"
"""The one curve that is of no network: it has a panel of its own."""
DASH = [5, 4]


@dataclass(frozen=True)
class Laid:
    """A curve and what its epochs are multiplied by, so that both sweeps end at one place."""

    curve: Curve
    factor: float

    @property
    def label(self) -> str:
        scaled = "" if self.factor == 1 else f", epochs \u00d7 {self.factor:.3g}"
        return f"{self.curve.panel}: {self.curve.label}{scaled}"

    def rows(self, field: str, **more: Any) -> list[Row]:
        """Of kind "paper"; `paper_epoch` is as printed, `epoch` where it is drawn."""
        error, curve = self.curve.reading_error, self.curve
        return [
            {
                "kind": "paper",
                "curve": self.label,
                "paper": curve.id,
                "epoch": x * self.factor,
                "paper_epoch": x,
                field: y,
                "low": None if error is None else y - error,
                "high": None if error is None else y + error,
                "reading_error": error,
                "source": curve.source,
                **more,
            }
            for x, y in zip(curve.x, curve.y, strict=True)
        ]


def choices(figure: str) -> list[str]:
    return [id for id, curve in CURVES.items() if curve.fits == figure]


def laid(figure: str, ids: Sequence[str], swept: Set[int]) -> list[Laid]:
    """Invalid for what is no curve, or has not the axes of this figure.

    `swept` are our epochs of removal or onset. Where all of them are the paper's own, the curve is
    laid as it is; else epochs were scaled, and the factor is our latest one over the paper's.
    """
    return [_laid(figure, id, swept) for id in dict.fromkeys(ids)]


def _laid(figure: str, id: str, swept: Set[int]) -> Laid:
    fitting = choices(figure)
    if id not in CURVES:
        raise refused(f"'{id[:80]}': {unknown('overlay', id, fitting)}")
    curve = CURVES[id]
    if curve.fits != figure:
        axes = f"'{id}' has other axes ({curve.x_unit}; {curve.y_unit}) than the figure {figure}"
        raise refused(f"{axes}: over that can be laid {', '.join(fitting)}")
    if curve.longest is None:
        return Laid(curve, 1)
    longest = max(swept, default=0)
    if longest <= 0:
        raise refused(
            f"'{id}' needs a sweep to lie over: here no window is removed, or begins, after epoch 0"
        )
    return Laid(curve, 1 if swept <= _epochs(curve) else longest / curve.longest)


def _epochs(curve: Curve) -> set[float]:
    """Of removal or onset that the curve's panel has; a learning curve has those of its sweep."""
    sweeps = [one for one in CURVES.values() if one.preset == curve.preset and 0 in one.x]
    return {epoch for one in sweeps for epoch in one.x}


def refused(message: str) -> Invalid:
    return Invalid(message, [Fault("/query/overlay", "overlay", message)])


def over_epochs(found: Sequence[Laid]) -> list[Laid]:
    return [one for one in found if one.curve.longest is not None]


def layer(
    found: Sequence[Laid],
    x: "alt.X",
    y: "alt.Y",
    colours: Sequence[str] = (),
    legend: bool = True,
) -> Any:
    """Lines, reading errors and open markers. `colours`: one for each curve; grey without."""
    import altair as alt

    shown = list(colours) or [style.GREY] * len(found)
    if legend:
        each = alt.Chart().transform_filter("datum.kind == 'paper' && isValid(datum.epoch)")
        return _marks(each, x, y, *_encodings(found, shown))
    parts = []
    for one, colour, shape in zip(found, shown, style.cycle(style.SHAPES, len(found)), strict=True):
        mine = alt.FieldEqualPredicate(field="paper", equal=one.curve.id)
        each = alt.Chart().transform_filter(mine)
        parts.append(_marks(each, x, y, alt.value(colour), alt.value(shape)))
    return alt.layer(*parts)


def _encodings(found: Sequence[Laid], colours: list[str]) -> tuple["alt.Color", "alt.Shape"]:
    import altair as alt

    labels = [one.label for one in found]
    legend = style.legend(f"{TITLE}, {_read_to(found)}", labels)
    legend.labelLimit = legend.titleLimit = style.WIDTH
    shapes = alt.Scale(domain=labels, range=style.cycle(style.SHAPES, len(labels)))
    return (
        alt.Color("curve:N", legend=legend, scale=alt.Scale(domain=labels, range=colours)),
        alt.Shape("curve:N", legend=legend, scale=shapes),
    )


def _read_to(found: Sequence[Laid]) -> str:
    errors = dict.fromkeys(f"{one.curve.reading_error:g}" for one in found)
    return f"read to \u00b1 {' or '.join(errors)} points"


def words(found: Sequence[Laid]) -> str:
    """For a subtitle, where there is no legend."""
    if not found:
        return ""
    labels = "; ".join(one.label for one in found)
    return f"Open markers: {TITLE}, {_read_to(found)}: {labels}."


def _marks(each: "alt.Chart", x: "alt.X", y: "alt.Y", colour: Any, shape: Any) -> Any:
    """Over our own: both are seen where they meet."""
    import altair as alt

    each = each.encode(x=x, color=colour)
    tooltip = ["curve:N", "paper_epoch:Q", y["shorthand"], "reading_error:Q", "source:N"]
    bars = each.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1)
    points = each.mark_point(size=42, filled=False, strokeWidth=1.3, opacity=1)
    return alt.layer(
        each.mark_line(strokeWidth=1.3, strokeDash=DASH).encode(y=y),
        bars.encode(y="low:Q", y2="high:Q"),
        points.encode(y=y, shape=shape, tooltip=tooltip),
    )


def in_days(field: str) -> list[Row]:
    """The kittens: rows of kind "paper" over `age_days`, without an epoch."""
    laid = Laid(CURVES[IN_DAYS], 1)
    return [
        row | {"epoch": None, "paper_epoch": None, "age_days": row["paper_epoch"]}
        for row in laid.rows(field)
    ]


def days_panel(field: str, height: int) -> Any:
    """Beside the epochs, never among them: days are no epochs and kittens no run of ours."""
    import altair as alt

    curve = CURVES[IN_DAYS]
    name = alt.TitleParams(
        [f"{curve.panel}: {curve.label}", "(two points, approximate)"],
        fontSize=12,
        fontWeight="normal",
        color=style.GREY,
        offset=6,
    )
    each = alt.Chart().transform_filter("isValid(datum.age_days)")
    each = each.encode(
        x=alt.X(
            "age_days:Q",
            title="Age at onset (days)",
            scale=alt.Scale(domain=[0, 120], nice=False),
            axis=alt.Axis(values=[0, 40, 80, 120]),
        ),
        y=alt.Y(
            f"{field}:Q",
            title="Fraction disconnected",
            scale=alt.Scale(domain=[0, 1], nice=False),
            axis=alt.Axis(tickCount=5),
        ),
    )
    points = each.mark_point(
        size=60, filled=False, color=style.GREY, strokeWidth=1.3, opacity=1
    ).encode(tooltip=["curve:N", "age_days:Q", f"{field}:Q", "source:N"])
    return alt.layer(points).properties(width=150, height=height, title=name)
