"""What a short deficit costs by where it begins: the drop in final accuracy over the onset."""

from collections.abc import Sequence
from typing import Any

from api.figures import clean, curves, means, style
from api.figures import overlay as paper
from api.figures.curves import Layout
from api.figures.means import Look
from api.figures.overlay import Laid
from shared import critical
from shared import sensitivity as analysis
from shared.errors import Conflict
from shared.results import Results, Row
from shared.score import INTERVAL

NAME = "sensitivity"
DROP = "drop_points"
FRACTION = "fraction_disconnected"
X, Y = "Deficit begins at epoch", "Drop in final accuracy (points)"


def build(results: Results, overlay: Sequence[str] = ()) -> dict[str, Any]:
    """Rows of kind "mean" (with the interval over seeds) and of kind "seed": the drop in percentage
    points, paired by seed with the run without a deficit. Beside them "clean": test error of the
    clean run above its final one; "paper": the paper's curves of these ids. The kittens of fig1d
    are over `age_days` and have no `epoch`.
    """
    results = results.remembering()  # the peak is read off the same epochs
    layout = curves.layout(results.plan, by_onset=True)
    laid = paper.laid(NAME, overlay, layout.epochs)
    found = analysis.sensitivity(results)
    rows = _rows(found, results, layout)
    if not rows:
        raise Conflict(
            "There is nothing to draw yet: no run with one window has finished, together with its"
            " run without a deficit"
        )
    name = results.name or "Sensitivity to a short deficit"
    drawn, more = means.some(rows)
    look, beside = Look.of(drawn), _beside(results, layout, laid)
    words = _subtitle(drawn + beside, found, look, laid, results) + more
    spec = _spec(drawn + beside, look, laid, name, words)
    return {"data": rows + beside, "title": name, "vegalite": spec}


def _rows(found: list[Row], results: Results, layout: Layout) -> list[Row]:
    rows: list[Row] = []
    runs = {run.index: run for run in results.plan.runs}
    for one in found:
        if not one["n"]:
            continue
        run = runs[one["seeds"][0]["run"]]
        where = curves.place(run, layout) | {"length": one["length"]}
        rows += means.rows_of(where, DROP, one, "drop")
    return rows


def _beside(results: Results, layout: Layout, laid: list[Laid]) -> list[Row]:
    """The paper's curves and the learning curve stand in the panel without a control."""
    first = {"panel": curves.panel(None)}
    rows = clean.rows(clean.excess(results), DROP, layout.longest, **first)
    rows += [row for one in paper.over_epochs(laid) for row in one.rows(DROP, **first)]
    return rows + (paper.in_days(FRACTION) if _has_days(laid) else [])


def _has_days(laid: list[Laid]) -> bool:
    return len(paper.over_epochs(laid)) < len(laid)


# --- words ---


def _subtitle(
    rows: list[Row], found: list[Row], look: Look, laid: list[Laid], results: Results
) -> list[str]:
    counts = {row["n"] for row in rows if row["kind"] == "mean"}
    lengths = "/".join(dict.fromkeys(str(row["length"]) for row in found if row["n"]))
    medians = "/".join(dict.fromkeys(str(row["median_epochs"]) for row in found if row["n"]))
    what = f"{curves.setting(results.plan)}, {curves.seeds_words(counts)}, window of {lengths}"
    score = f"Drop: median test accuracy of the last {medians} epochs, against the clean run's."
    points = f"Large points: mean with {INTERVAL}. Small points: single seeds."
    marks = [
        look.words,
        means.ONE_SEED if max(counts) == 1 else points,
        f"{clean.WORDS[:-1]}: test error above its final." if _kind(rows, "clean") else "",
        paper.words(paper.over_epochs(laid)) if look.panels else "",
    ]
    return [
        f"{what} epochs. {score}",
        " ".join(filter(None, marks)),
        *_peaks(rows, results),
    ]


def _kind(rows: list[Row], kind: str) -> bool:
    return any(row["kind"] == kind for row in rows)


def _peaks(rows: list[Row], results: Results) -> list[str]:
    """Of each curve: where the drop is largest, seed by seed."""
    told = []
    names = _names(rows)
    for one in critical.peak_sensitivity(results):
        if one["height"]["n"]:
            name = names.get((one["variant"], one["length"]), "")
            height = f"{100 * one['height']['mean']:.1f} points at onset {_spread(one['onset'])}"
            told.append(f"{name}: {height}" if len(names) > 1 else height)
    return [f"Peak: {'; '.join(told)}."] if told else []


def _names(rows: list[Row]) -> dict[tuple[str | None, int], str]:
    return {(r["variant"], r["length"]): r["curve"] for r in rows if r["kind"] == "mean"}


def _spread(of: Row) -> str:
    if of["interval"] is None:
        return f"{of['mean']:g}"
    low, high = of["interval"]
    if low == high:
        return f"{of['mean']:.0f} in every seed"
    return f"{of['mean']:.0f} [{round(low)}, {round(high)}]"


# --- spec ---


def _spec(
    rows: list[Row], look: Look, laid: list[Laid], name: str, words: list[str]
) -> dict[str, Any]:
    level = [row for row in rows if row["kind"] in ("mean", "seed", "paper")]
    x = means.x(rows, X, means.width(look))
    y = means.y(DROP, Y, means.ends([{DROP: 0.0}, *level], DROP))
    layers: list[Any] = [means.zero(y), *means.layers(look, x, y)]
    if _kind(rows, "clean"):
        layers.insert(1, clean.layer(x, y))
    over = paper.over_epochs(laid)
    above = paper.layer(over, x, y, legend=not look.panels) if over else None
    if not _has_days(laid):
        return style.finished(means.chart(layers, above, look, name, words), rows)
    days = paper.days_panel(FRACTION, means.height(look))
    return style.finished(means.beside(layers, above, look, name, words, days), rows)
