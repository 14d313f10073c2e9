"""Test accuracy of pruned networks over how much was taken away, before and after fine-tuning; and
how alike the criteria rank."""

from typing import TYPE_CHECKING, Any

from api.figures import curves, means, panels, style
from shared import rows as tables
from shared.errors import Conflict
from shared.pruned import ASKED, pruned
from shared.results import Results, Row
from shared.score import INTERVAL

if TYPE_CHECKING:
    import altair as alt

ACCURACY = "test_accuracy_percent"
WORDS = {
    "magnitude": "magnitude |w|",
    "fisher": "Fisher F w²/2",
    "fisher_alone": "Fisher F alone",
    "theis": "Theis, by channel",
    "snip": "SNIP |w dL/dw|",
    "random": "random",
}
SHORT = {"magnitude": "|w|", "fisher": "F w²/2", "fisher_alone": "F", "theis": "Theis",
         "snip": "SNIP", "random": "random"}  # fmt: skip
STAGES = {
    "before": "At once",
    "before_reestimated": "At once, BatchNorm re-estimated",
    "after": "After fine-tuning",
}
RANKED = {"global": "over the whole network", "layer": "layer by layer"}
WAYS = ("granularity", "ranking", "steps", "every", "at", "labels", "samples")
MOST = 12
"""Settings in one picture; the data hold all."""
HEIGHT = {1: 300, 2: 220}
MAP = 215
"""Pixels a side of one map of correlations."""


def build(results: Results) -> dict[str, Any]:
    """Rows of kind "mean" (with the interval over seeds) and "seed", accuracy in %, of each
    `stage`: before, before_reestimated (BatchNorm), after (fine-tuning). Of kind "layer": the share
    of each layer's weights and channels that is left, in %. Of kind "correlation": Spearman's rank
    correlation of two criteria at a state, over seeds.
    """
    try:
        found = pruned(results)
    except Conflict:
        raise Conflict(
            "There is nothing to draw yet: no run of this experiment is pruned; POST to"
            f" /v1/experiments/{results.measures or results.experiment}/pruning makes one whose"
            " runs are"
        ) from None
    labels = _labels(found["curves"])
    names = _panels(found["curves"])
    rows = [row for i, one in enumerate(found["curves"]) for row in _rows(one, names[i], labels[i])]
    told = [name for name in ASKED if len({str(one[name]) for one in found["correlations"]}) > 1]
    related = [row for one in found["correlations"] for row in _related(one, told)]
    if not related and not any(row["kind"] == "mean" for row in rows):
        raise Conflict("There is nothing to draw yet: no run has been pruned")
    name = results.name or "Accuracy against sparsity"
    return {
        "data": rows + related,
        "title": name,
        "vegalite": _spec(rows, related, name, _subtitle(rows, found, results)),
    }


def _labels(found: list[Row]) -> list[str]:
    """Of each curve: its criterion, and how else its way of pruning differs from the others'."""
    told = [way for way in WAYS if len({one[way] for one in found}) > 1 and way != "at"]
    return [
        ", ".join([WORDS[one["criterion"]], *(_way(way, one[way]) for way in told)])
        for one in found
    ]


def _way(name: str, value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{name} {value}"


def _panels(found: list[Row]) -> list[str]:
    """Of each curve; with the epoch where one setting is pruned at several."""
    at: dict[str, set[int]] = {}
    for one in found:
        at.setdefault(panel(one), set()).add(one["at"])
    return [
        f"{name}{panels.LINE}pruned after {one['at']} epochs" if len(at[name]) > 1 else name
        for one in found
        for name in (panel(one),)
    ]


def panel(one: Row) -> str:
    """What was pruned, and by which of its states."""
    place = [f"{path.rsplit('.', 1)[-1]} {value}" for path, value in one["point"].items()]
    named = ", ".join(filter(None, [one["variant"], *place])) or f"pruned after {one['at']} epochs"
    scored = one["scored_at"]
    return named if scored is None else f"{named}{panels.LINE}scored at epoch {scored}"


def _rows(one: Row, panel: str, label: str) -> list[Row]:
    where = {"panel": panel, "curve": label, "criterion": one["criterion"]}
    rows: list[Row] = []
    for point in one["points"]:
        at = where | {"sparsity_percent": _percent(point["sparsity"])}
        for stage, words in STAGES.items():
            over = point[stage] | {"seeds": [s for s in point["seeds"] if s[stage] is not None]}
            if over["n"]:
                placed = at | {"stage": stage, "row": words}
                rows += means.rows_of(placed, ACCURACY, over, stage)
        for layer in point["layers"]:
            shares = {f"{of}_left_percent": _share(layer[f"{of}_left"])
                      for of in ("weights", "channels")}  # fmt: skip
            rows.append({"kind": "layer", **at, "layer": layer["name"], **shares})
    return rows


def _percent(share: float) -> float:
    return round(100 * share, 6)


def _share(share: float | None) -> float | None:
    return None if share is None else _percent(share)


def _related(one: Row, told: list[str]) -> list[Row]:
    """`told`: in what the comparisons of this experiment differ."""
    named = ", ".join(filter(None, [one["variant"], *map(str, one["point"].values())]))
    how = ", ".join(tables.words(one[n]) if n == "stimulus" else _way(n, one[n]) for n in told)
    state = panels.LINE.join(filter(None, [named, f"epoch {one['epoch']}", how]))
    return [
        {"kind": "correlation", "state": state, "epoch": one["epoch"]}
        | {"one": SHORT[pair["one"]], "other": SHORT[pair["other"]]}
        | {"correlation": pair["correlation"]["mean"], "n": pair["correlation"]["n"]}
        | dict(zip(("low", "high"), pair["correlation"]["interval"] or (None, None), strict=True))
        for pair in one["pairs"]
        if pair["correlation"]["n"]
    ]


# --- words ---


def _subtitle(rows: list[Row], found: Row, results: Results) -> list[str]:
    if not any(row["kind"] == "mean" for row in rows):
        return [f"{curves.setting(results.plan)}. Nothing is pruned: how alike criteria rank."]
    counts = {row["n"] for row in rows if row["kind"] == "mean"}
    ways = found["curves"]
    what = "/".join(dict.fromkeys(one["granularity"] for one in ways))
    ranked = " or ".join(dict.fromkeys(RANKED[one["ranking"]] for one in ways))
    tuned = dict.fromkeys(
        one["epochs"] - one["at"] - (one["steps"] - 1) * one["every"] for one in ways
    )
    epochs = "/".join(map(str, tuned))
    points = f"Large points: mean with {INTERVAL}. Small points: single seeds."
    count = len({row["panel"] for row in rows})
    return [
        f"{curves.setting(results.plan)}, {curves.seeds_words(counts)}. Pruned: {what}, ranked"
        f" {ranked}; then {epochs} epochs of fine-tuning. Score: {found['score']}.",
        means.ONE_SEED if max(counts) == 1 else points,
        *([f"The first {MOST} of {count} settings."] if count > MOST else []),
    ]


# --- spec ---


def _spec(rows: list[Row], related: list[Row], name: str, words: list[str]) -> dict[str, Any]:
    import altair as alt

    settings = list(dict.fromkeys(row["panel"] for row in rows))[:MOST]
    drawn = [row for row in rows if row["panel"] in settings and row["kind"] != "layer"]
    columns = min(len(settings), 4) or 3
    width = {1: 460, 2: 330, 3: 250}.get(columns, 200)
    parts = [_accuracies(drawn, settings, width)] if drawn else []
    states = list(dict.fromkeys(row["state"] for row in related))[:MOST]
    shown = [row for row in related if row["state"] in states]
    if shown:
        parts.append(_map(shown, states, max(1, min(4, columns * width // MAP))))
    both = alt.vconcat(*parts, data=alt.Data(values=[]), spacing=30).resolve_scale(
        color="independent", shape="independent"
    )
    title = alt.TitleParams(**style.title(name, words, max(style.WIDTH, columns * width)))
    return style.finished(both.properties(title=title), drawn + shown)


def _accuracies(rows: list[Row], settings: list[str], width: int) -> Any:
    """A column for each setting, a row for each stage."""
    import altair as alt

    labels = list(dict.fromkeys(row["curve"] for row in rows))
    stages = [words for words in STAGES.values() if any(row["row"] == words for row in rows)]
    at = sorted({row["sparsity_percent"] for row in rows})
    x = alt.X("sparsity_percent:O", title="Taken away (%)", sort=at,
              axis=alt.Axis(labelAngle=0, labelOverlap=False))  # fmt: skip
    y = alt.Y(f"{ACCURACY}:Q", title="Test accuracy (%)", scale=alt.Scale(domain=[0, 100]),
              axis=alt.Axis(tickCount=5))  # fmt: skip
    layers = [part for i in range(len(labels)) for part in _curve(i, labels, x, y)]
    shown = alt.layer(*layers, data=alt.Data(values=[]))
    shown = shown.properties(width=width, height=HEIGHT.get(len(stages), 170))
    header = alt.Header(labelExpr=f"split(datum.label, '{panels.LINE}')", labelLineHeight=16)
    facet = shown.facet(
        column=alt.Column("panel:N", title=None, sort=settings, header=header),
        row=alt.Row("row:N", title=None, sort=stages),
    )
    facet.data = alt.Undefined
    facet.transform = [alt.FilterTransform("datum.kind == 'mean' || datum.kind == 'seed'")]
    return facet


def _curve(i: int, labels: list[str], x: "alt.X", y: "alt.Y") -> list["alt.Chart"]:
    import altair as alt

    aside = means.dodge(i, len(labels))
    mine = means.only("curve", labels[i])
    mean = mine.transform_filter("datum.kind == 'mean'")
    seeds = mine.transform_filter("datum.kind == 'seed'")
    n = len(labels)
    legend = style.legend("Scored by", labels)
    look = {
        "color": alt.Color("curve:N", legend=legend, scale=_scale(labels, style.COLOURS, n)),
        "shape": alt.Shape("curve:N", legend=legend, scale=_scale(labels, style.SHAPES, n)),
    }
    dash = style.cycle(style.DASHES, n)[i]
    interval = mean.transform_filter("isValid(datum.low)").mark_rule(
        xOffset=aside, strokeWidth=1.4, clip=True
    )
    return [
        seeds.mark_point(xOffset=aside, size=14, filled=True, opacity=0.4).encode(x=x, y=y, **look),
        mean.mark_line(xOffset=aside, strokeWidth=2, strokeDash=dash).encode(
            x=x, y=y, color=look["color"]
        ),
        interval.encode(x=x, y="low:Q", y2="high:Q", color=look["color"]),
        mean.mark_point(xOffset=aside, size=55, filled=True, opacity=1).encode(x=x, y=y, **look),
    ]


def _scale(labels: list[str], choices: list[Any], n: int) -> "alt.Scale":
    import altair as alt

    return alt.Scale(domain=labels, range=style.cycle(choices, n))


def _map(rows: list[Row], states: list[str], columns: int) -> Any:
    """Rank correlations of every two criteria, a map for each state."""
    import altair as alt

    order = [
        words for words in SHORT.values() if any(words in (r["one"], r["other"]) for r in rows)
    ]
    axis = alt.Axis(labelAngle=0, labelFontSize=11, title=None)
    x = alt.X("one:N", sort=order[:-1], axis=axis)
    y = alt.Y("other:N", sort=order[1:], axis=axis)
    scale = alt.Scale(domain=[-1, 0, 1], range=[style.COLOURS[1], "#f7f7f7", style.COLOURS[0]])
    legend = alt.Legend(title="Spearman's rank correlation", orient="bottom", gradientLength=200)
    cells = alt.Chart().mark_rect().encode(
        x=x, y=y, color=alt.Color("correlation:Q", scale=scale, legend=legend)
    )  # fmt: skip
    dark = alt.condition("abs(datum.correlation) > 0.6", alt.value("white"), alt.value(style.INK))
    text = alt.Chart().mark_text(fontSize=12).encode(
        x=x, y=y, text=alt.Text("correlation:Q", format=".2f"), color=dark
    )  # fmt: skip
    shown = alt.layer(cells, text, data=alt.Data(values=[])).properties(width=MAP - 40, height=130)
    header = alt.Header(labelExpr=f"split(datum.label, '{panels.LINE}')", labelLineHeight=16)
    facet = shown.facet(
        facet=alt.Facet("state:N", title=None, sort=states, header=header), columns=columns
    ).resolve_axis(x="independent", y="independent")  # below each, also in a row that is not full
    facet.data = alt.Undefined
    facet.transform = [alt.FilterTransform("datum.kind == 'correlation'")]
    return facet
