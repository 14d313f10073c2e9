"""Final test accuracy over the epoch at which the deficit was removed, or at which it began."""

from typing import TYPE_CHECKING, Any

from api.figures import curves, style
from api.figures.curves import Layout
from shared.errors import Conflict
from shared.results import Results, Row
from shared.score import INTERVAL, score_words, summary

if TYPE_CHECKING:
    import altair as alt

ACCURACY = "test_accuracy_percent"
DODGE = 5.0
"""Pixels between the points of two curves at one epoch."""


def build(results: Results) -> dict[str, Any]:
    """Rows of kind "mean" (with the interval over seeds) and of kind "seed", accuracy in %.

    `epoch` is null for a run without a deficit where the axis is the window's onset.
    """
    layout = curves.layout(results.plan)
    rows = _rows(results, layout)
    if not rows:
        raise Conflict("There is nothing to draw yet: no run has finished")
    name = results.name or "Final accuracy after a temporary deficit"
    return {"data": rows, "title": name, "vegalite": _spec(rows, layout, results, name)}


def _rows(results: Results, layout: Layout) -> list[Row]:
    rows: list[Row] = []
    for point in summary(results)["points"]:
        if not point["n"]:
            continue
        index = point["seeds"][0]["run"]
        where = {
            "curve": layout.labels[index],
            "variant": point["variant"],
            "epoch": layout.positions[index],
        }
        low, high = point["interval"] or (None, None)
        mean = {ACCURACY: _percent(point["mean"]), "low": _percent(low), "high": _percent(high)}
        rows.append({"kind": "mean", **where, **mean, "n": point["n"]})
        for seed in point["seeds"]:
            value = {ACCURACY: _percent(seed["score"]), "seed": seed["seed"], "run": seed["run"]}
            rows.append({"kind": "seed", **where, **value})
    return rows


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _spec(rows: list[Row], layout: Layout, results: Results, name: str) -> dict[str, Any]:
    import altair as alt  # 0.4 s: not when the API starts

    there = {row["curve"] for row in rows}
    labels = [label for label in layout.curves if label in there]
    x, y = _x(rows, layout.axis), _y(rows)
    layers = [part for label in labels for part in _curve(label, labels, x, y)]
    layers += [_without_deficit(label, labels, y) for label in labels if _is_apart(rows, label)]
    chart = alt.layer(*layers, data=alt.Data(values=[])).properties(
        width=style.WIDTH,
        height=style.HEIGHT,
        title=alt.TitleParams(**style.title(name, _subtitle(rows, results))),
    )
    return style.finished(chart, rows)


def _subtitle(rows: list[Row], results: Results) -> list[str]:
    counts = {row["n"] for row in rows if row["kind"] == "mean"}
    scored = score_words(results.plan.runs)
    what = f"{curves.setting(results.plan)}, {curves.seeds_words(counts)}. Score: {scored}."
    if max(counts) == 1:
        return [what]
    return [what, f"Large points: mean with {INTERVAL}. Small points: single seeds."]


def _curve(label: str, labels: list[str], x: "alt.X", y: "alt.Y") -> list["alt.Chart"]:
    """Line, bars, points and faint seeds of one curve, moved aside so that bars do not overlap."""
    i, n = labels.index(label), len(labels)
    aside = min(DODGE, 4 * DODGE / n) * (i - (n - 1) / 2)
    dash = style.cycle(style.DASHES, n)[i]
    placed = _only(label).transform_filter("isValid(datum.epoch)")
    mean = placed.transform_filter("datum.kind == 'mean'")
    seeds = placed.transform_filter("datum.kind == 'seed'")
    color, shape = _look(labels)
    return [
        seeds.mark_point(xOffset=aside, size=26, filled=True, opacity=0.45, clip=True).encode(
            x=x, y=y, color=color, shape=shape
        ),
        mean.mark_line(xOffset=aside, strokeWidth=2.2, strokeDash=dash).encode(
            x=x, y=y, color=color
        ),
        mean.mark_rule(xOffset=aside, strokeWidth=1.6, clip=True).encode(
            x=x, y="low:Q", y2="high:Q", color=color
        ),
        mean.mark_point(xOffset=aside, size=90, filled=True, opacity=1).encode(
            x=x, y=y, color=color, shape=shape, tooltip=_tooltip()
        ),
    ]


def _without_deficit(label: str, labels: list[str], y: "alt.Y") -> "alt.Chart":
    """A level line: on an axis of onsets, a run without a deficit has no place of its own."""
    clean = _only(label).transform_filter("!isValid(datum.epoch) && datum.kind == 'mean'")
    return clean.mark_rule(strokeDash=[3, 3]).encode(y=y, color=_look(labels)[0])


def _is_apart(rows: list[Row], label: str) -> bool:
    return any(row["curve"] == label and row["epoch"] is None for row in rows)


def _only(label: str) -> "alt.Chart":
    import altair as alt

    return alt.Chart().transform_filter(alt.FieldEqualPredicate(field="curve", equal=label))


def _x(rows: list[Row], title: str) -> "alt.X":
    import altair as alt

    epochs = [row["epoch"] for row in rows if row["epoch"] is not None] or [0]
    alone = min(epochs) == max(epochs)
    domain = [min(epochs) - alone, max(epochs) + alone]
    scale = alt.Scale(domain=domain, nice=False, padding=22)
    return alt.X("epoch:Q", title=title, scale=scale, axis=style.epoch_axis(*domain))


def _y(rows: list[Row]) -> "alt.Y":
    """As much of 0 to 100 % as the intervals need."""
    import altair as alt

    found = [row.get(key) for row in rows for key in (ACCURACY, "low", "high")]
    values = [value for value in found if value is not None]
    low, high = max(0.0, min(values)), min(100.0, max(values))
    room = max(0.06 * (high - low), 0.5)
    domain = [max(0.0, low - room), min(100.0, high + room)]
    return alt.Y(
        f"{ACCURACY}:Q",
        title="Final test accuracy (%)",
        scale=alt.Scale(domain=domain, nice=False, zero=False),
        axis=alt.Axis(tickCount=7),
    )


def _look(labels: list[str]) -> tuple["alt.Color", "alt.Shape"]:
    """A colour and a shape for each curve: neither has to be told apart alone."""
    import altair as alt

    n = len(labels)
    legend = style.legend(None, labels) if n > 1 else None
    return (
        alt.Color("curve:N", legend=legend, scale=_scale(labels, style.cycle(style.COLOURS, n))),
        alt.Shape("curve:N", legend=legend, scale=_scale(labels, style.cycle(style.SHAPES, n))),
    )


def _scale(labels: list[str], choices: list[Any]) -> "alt.Scale":
    import altair as alt

    return alt.Scale(domain=labels, range=choices)


def _tooltip() -> list["alt.Tooltip"]:
    import altair as alt

    return [
        alt.Tooltip("curve:N"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip(f"{ACCURACY}:Q", format=".2f", title="mean (%)"),
        alt.Tooltip("low:Q", format=".2f"),
        alt.Tooltip("high:Q", format=".2f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
