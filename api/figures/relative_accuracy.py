"""Final accuracy against the run without a deficit, over the epoch of removal: networks that are
not equally good on one axis."""

import math
from collections.abc import Sequence
from typing import Any

from api.figures import curves, means, style
from api.figures import overlay as paper
from api.figures.curves import Layout
from api.figures.means import Look
from api.figures.overlay import Laid
from shared.errors import Conflict
from shared.partners import points, span
from shared.plan import RunPlan
from shared.results import Results, Row
from shared.score import INTERVAL, drops, finals, score_words, spread

NAME = "relative_accuracy"
RELATIVE = "relative_points"


def build(results: Results, overlay: Sequence[str] = ()) -> dict[str, Any]:
    """Rows of kind "mean" and "seed": final accuracy minus that of the clean run of the same config
    and seed, in percentage points, with the interval of the paired differences over seeds; "paper":
    the paper's curves of these ids.

    A run without a deficit is its own reference: 0, without an interval.
    """
    layout = curves.layout(results.plan)
    laid = _laid(overlay, layout)
    rows = _rows(results, layout)
    if not any(row["kind"] == "seed" for row in rows):
        raise Conflict(
            "There is nothing to draw yet: no run with a deficit has finished, together with its"
            " run without one"
        )
    name = results.name or "Accuracy relative to no deficit"
    drawn, more = means.some(rows)
    look = Look.of(drawn)
    beside = [row for one in laid for row in one.rows(RELATIVE, panel=curves.panel(None))]
    words = _subtitle(drawn + beside, look, laid, results) + more
    spec = _spec(drawn + beside, layout, look, laid, results, name, words)
    return {"data": rows + beside, "title": name, "vegalite": spec}


def _laid(ids: Sequence[str], layout: Layout) -> list[Laid]:
    if ids and layout.by_onset:
        raise paper.refused(
            "the paper's curves of relative accuracy are over the epoch of removal, and this"
            " experiment's over that of the onset"
        )
    return paper.laid(NAME, ids, layout.epochs)


def _rows(results: Results, layout: Layout) -> list[Row]:
    """A curve of which no point is left with a reference is left out."""
    results = results.remembering()  # both are made of the same epochs
    lost, ended = drops(results), finals(results)
    drawn = {layout.labels[index] for index in lost}
    rows: list[Row] = []
    for runs in points(results.plan):
        where = curves.place(runs[0], layout)
        if where["curve"] not in drawn or where["epoch"] is None:
            continue
        there = [(run, -100 * lost[run.index]) for run in runs if run.index in lost]
        n = sum(math.isfinite(ended.get(run.index, math.nan)) for run in runs)
        if span(runs[0]) is None and n:
            reference = {RELATIVE: 0.0, "low": None, "high": None, "n": n}
            rows.append({"kind": "mean", **where, **reference})
        elif there:
            rows += _point(where, there)
    return rows


def _point(where: Row, found: list[tuple[RunPlan, float]]) -> list[Row]:
    over = spread(value for _, value in found)
    low, high = over["interval"] or (None, None)
    mean = {RELATIVE: over["mean"], "low": low, "high": high, "n": over["n"]}
    seeds = [
        {"kind": "seed", **where, RELATIVE: value, "seed": run.seed, "run": run.index}
        for run, value in found
    ]
    return [{"kind": "mean", **where, **mean}, *seeds]


def _subtitle(rows: list[Row], look: Look, laid: list[Laid], results: Results) -> list[str]:
    counts = {row["n"] for row in rows if row["kind"] == "mean"}
    score = score_words(results.plan.runs, results.plan)
    what = f"{curves.setting(results.plan)}, {curves.seeds_words(counts)}. Score: {score}."
    points = f"Large points: mean with {INTERVAL}, paired. Small points: single seeds."
    marks = [
        look.words,
        means.ONE_SEED if max(counts) == 1 else points,
        paper.words(laid) if look.panels else "",
    ]
    return [what, " ".join(filter(None, marks))]


def _spec(
    rows: list[Row],
    layout: Layout,
    look: Look,
    laid: list[Laid],
    results: Results,
    name: str,
    words: list[str],
) -> dict[str, Any]:
    x = means.x(rows, layout.axis, means.width(look))
    title = "Accuracy against no deficit (points)"
    y = means.y(RELATIVE, title, means.ends([{RELATIVE: 0.0}, *rows], RELATIVE))
    layers: list[Any] = [means.zero(y), *means.layers(look, x, y)]
    colours = [_colour(one, look, results, layout) for one in laid]
    over = paper.layer(laid, x, y, colours, legend=not look.panels) if laid else None
    return style.finished(means.chart(layers, over, look, name, words), rows)


def _colour(one: Laid, look: Look, results: Results, layout: Layout) -> str:
    """That of our curve of the same network, where there is one such curve."""
    if not one.curve.model:
        return style.GREY
    configs = results.plan.configs
    same = {
        layout.bases[run.index] if look.key == "base" else layout.labels[run.index]
        for run in results.plan.runs
        if run.control is None and one.curve.model.items() <= configs[run.config]["model"].items()
    }
    if len(same) != 1 or not same <= set(look.labels):
        return style.GREY
    return look.colours[look.labels.index(same.pop())]
