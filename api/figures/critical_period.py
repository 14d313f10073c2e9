"""Final test accuracy over the epoch at which the deficit was removed, or at which it began."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from api.figures import clean, curves, means, style
from api.figures import overlay as paper
from api.figures.curves import Layout
from api.figures.means import Look
from api.figures.overlay import Laid
from shared.errors import Conflict
from shared.partners import point_name, span
from shared.plan import Plan
from shared.results import Results, Row
from shared.score import INTERVAL, summary

if TYPE_CHECKING:
    import altair as alt

NAME = "critical_period"
ACCURACY = "test_accuracy_percent"
RATES = {"restart": "rate restarted", "constant": "rate constant"}


def build(results: Results, overlay: Sequence[str] = ()) -> dict[str, Any]:
    """Rows of kind "mean" (with the interval over seeds) and of kind "seed", accuracy in %. Beside
    them "clean": the clean run while it trains; "longest": the longest deficit without a penalty;
    "paper": the paper's curves of these ids.

    `epoch` is null for a run without a deficit where the axis is the window's onset.
    """
    layout = curves.layout(results.plan)
    laid = _laid(overlay, layout)
    found = summary(results)
    rows = _rows(found, results.plan, layout)
    if not rows:
        raise Conflict("There is nothing to draw yet: no run has finished")
    name = results.name or "Final accuracy after a temporary deficit"
    drawn, more = means.some(rows)
    look, beside = Look.of(drawn), _beside(found, results, layout, laid)
    words = _subtitle(drawn + beside, found, look, laid, results.plan, layout) + more
    spec = _spec(drawn + beside, layout, look, laid, name, words)
    return {"data": rows + beside, "title": name, "vegalite": spec}


def _laid(ids: Sequence[str], layout: Layout) -> list[Laid]:
    if ids and layout.by_onset:
        raise paper.refused(
            "the paper's curves of accuracy are over the epoch of removal, and this experiment's"
            " over that of the onset: its figure sensitivity has the paper's over the onset"
        )
    return paper.laid(NAME, ids, layout.epochs)


def _rows(found: Row, plan: Plan, layout: Layout) -> list[Row]:
    rows: list[Row] = []
    runs = {run.index: run for run in plan.runs}
    for point in found["points"]:
        if not point["n"]:
            continue
        where = curves.place(runs[point["seeds"][0]["run"]], layout)
        rows += means.rows_of(where, ACCURACY, point, "score")
    return rows


def _beside(found: Row, results: Results, layout: Layout, laid: list[Laid]) -> list[Row]:
    """The paper's curves and the learning curve stand in the panel without a control."""
    first = {"panel": curves.panel(None)}
    rows = [row for one in laid for row in one.rows(ACCURACY, **first)]
    if layout.by_onset:
        return rows
    rows += clean.rows(clean.accuracy(results), ACCURACY, layout.longest, **first)
    for one in found["critical_period"]:
        where = _place(one, results.plan, layout)
        if where and one["longest_without_penalty"] is not None:
            where["epoch"] = one["longest_without_penalty"]
            rows.append({"kind": "longest", **where})
    return rows


def _place(one: Row, plan: Plan, layout: Layout) -> Row | None:
    ends = [point["epoch"] for point in one["points"]]

    def fits(run: Any) -> bool:
        there = span(run)
        return there is not None and there[0] == one["onset"] and there[1] in ends

    run = curves.run_of(one, plan, layout, fits)
    return curves.place(run, layout) if run else None


# --- words ---


def _subtitle(
    rows: list[Row], found: Row, look: Look, laid: list[Laid], plan: Plan, layout: Layout
) -> list[str]:
    counts = {row["n"] for row in rows if row["kind"] == "mean"}
    what = f"{curves.setting(plan)}, {curves.seeds_words(counts)}. Score: {found['score']}."
    points = f"Large points: mean with {INTERVAL}. Small points: single seeds."
    kinds = {row["kind"] for row in rows}
    marks = [
        look.words,
        means.ONE_SEED if max(counts) == 1 else points,
        "Triangle: longest deficit without a penalty." if "longest" in kinds else "",
        clean.WORDS if "clean" in kinds else "",
        paper.words(laid) if look.panels else "",
    ]
    return [what, " ".join(filter(None, marks)), *_surviving(found["controls"], plan, layout)]


def _surviving(found: list[Row], plan: Plan, layout: Layout) -> list[str]:
    """Of each base at its latest removal: what is left of the loss under each control."""
    latest: dict[tuple[str, str], Row] = {}
    bases = {
        (run.control, point_name(run.base, run.point)): layout.bases[run.index] for run in plan.runs
    }
    for row in found:
        base = bases[row["control"], point_name(row["base"], row["point"])]
        if row["epoch"] >= latest.get((row["control"], base), row)["epoch"]:
            latest[row["control"], base] = row
    several = len({base for _, base in latest}) > 1
    lines = []
    for control, rate in RATES.items():
        told = {base: row for (of, base), row in latest.items() if of == control}
        epochs = "/".join(dict.fromkeys(str(row["epoch"]) for row in told.values()))
        said: dict[str, list[str]] = {}
        for base, row in told.items():
            said.setdefault(_share(row), []).append(base)
        parts = [
            f"{', '.join(bases)} {share}" if several else share for share, bases in said.items()
        ]
        if parts:
            loss = f"loss at removal {epochs} that survives with the {rate} (95 % interval)"
            lines.append(f"Share of the {loss}: {'; '.join(parts)}.")
    return lines


def _share(row: Row) -> str:
    if row["share"] is None:
        return f"undetermined ({row['reason']})"
    share = f"{_whole(row['share'])} %"
    if row["interval"] is None:
        return f"{share} ({row['reason']})"
    low, high = map(_whole, row["interval"])
    return f"{share} [{low}, {high}]"


def _whole(share: float) -> int:
    """In percent; an integer, which has no -0."""
    return round(100 * share)


# --- spec ---


def _spec(
    rows: list[Row], layout: Layout, look: Look, laid: list[Laid], name: str, words: list[str]
) -> dict[str, Any]:
    level = [row for row in rows if row["kind"] in ("mean", "seed", "paper")]
    domain = means.ends(level, ACCURACY, within=(0.0, 100.0))
    x = means.x(rows, layout.axis, means.width(look))
    y = means.y(ACCURACY, "Final test accuracy (%)", domain)
    layers: list[Any] = means.layers(look, x, y)
    for i, label in enumerate(look.labels):
        mine = [row for row in rows if row.get(look.key) == label]
        if any(row["kind"] == "longest" for row in mine):
            layers.append(_triangle(look, i, x, y, domain[0]))
        if any(row["epoch"] is None for row in mine):
            layers.append(_without_deficit(look, i, y))
    if any(row["kind"] == "clean" for row in rows):
        layers.insert(0, clean.layer(x, y))
    over = paper.layer(laid, x, y, legend=not look.panels) if laid else None
    return style.finished(means.chart(layers, over, look, name, words), rows)


def _triangle(look: Look, i: int, x: "alt.X", y: "alt.Y", lowest: float) -> "alt.Chart":
    """On the axis, open: of the curve's colour."""
    mark = means.only(look.key, look.labels[i]).transform_filter("datum.kind == 'longest'")
    mark = mark.transform_calculate(**{ACCURACY: repr(lowest)})
    aside = means.dodge(i, len(look.labels))
    return mark.mark_point(
        xOffset=aside, yOffset=-6, shape="triangle-up", size=70, filled=False, strokeWidth=1.6
    ).encode(x=x, y=y, color=means.encodings(look)[0])


def _without_deficit(look: Look, i: int, y: "alt.Y") -> "alt.Chart":
    """A level line: on an axis of onsets, a run without a deficit has no place of its own."""
    mark = means.only(look.key, look.labels[i])
    mark = mark.transform_filter("!isValid(datum.epoch) && datum.kind == 'mean'")
    return mark.mark_rule(strokeDash=[3, 3]).encode(y=y, color=means.encodings(look)[0])
