"""Late removals and the valley a run ends in: trace at the end and barrier over the epoch of
removal; below, the layers' shares at the end, and the loss along the line between two runs."""

from collections.abc import Iterator
from typing import Any

from api.figures import bottleneck_panels as panels
from api.figures import curves, series, style
from shared import bottleneck as analysis
from shared.errors import Conflict
from shared.probe import LINEAR_PATH
from shared.results import Results, Row
from shared.score import INTERVAL
from shared.stages import STAGES

MOST_CURVES = 6
AT_ONCE = "no deficit"


def build(results: Results) -> dict[str, Any]:
    """Rows over the epoch of removal (0: no deficit): of kind "trace", the Fisher trace at the end
    and the stage at which most runs stood when the deficit was removed; "barrier", in nats, on test
    and on training images; "share", a layer's share of that trace in %. And of kind "line": the
    loss at each point of the straight line between the final weights of the run without a deficit
    and of the one with it.

    Means over seeds with Student t intervals. Conflict where neither was measured.
    """
    found = analysis.bottleneck(results)
    layout, several = curves.layout(results.plan), len({one["series"] for one in found}) > 1
    rows = [row for one in found for row in _rows(one, layout, several)]
    if not rows:
        raise _nothing(results, found)
    name = results.name or "Bottleneck: late removals, and the valley a run ends in"
    return {"data": rows, "title": name, "vegalite": _spec(rows, results, name)}


def _nothing(results: Results, found: list[Row]) -> Conflict:
    if results.plan.runs and not found:
        return Conflict(
            "There is nothing to draw yet: it takes runs with a deficit, and 'linear_path' or"
            " 'fisher' measured at their ends. POST these to"
            f" /v1/experiments/{results.measures or results.experiment}/measurements"
        )
    return series.nothing(results, LINEAR_PATH, "linear_path")


def _rows(one: Row, layout: curves.Layout, several: bool) -> Iterator[Row]:
    label = _label(one, layout, several)
    for point in one["points"]:
        where = {"curve": label, "variant": one["variant"], "control": one["control"]}
        where |= {"series": one["series"], "removal": point["removal"] or 0}
        where["removed"] = AT_ONCE if point["removal"] is None else str(point["removal"])
        yield from _of_point(point, where)


def _label(one: Row, layout: curves.Layout, several: bool) -> str:
    """The clean runs may be those of another curve. With the way of measuring where there are
    several."""
    indices = [run for point in one["points"] if point["removal"] for run in point["runs"]]
    label = layout.labels[indices[0]]
    return f"{label}; {one['series']}" if several else label


def _of_point(point: Row, where: Row) -> Iterator[Row]:
    if point["trace_at_end"]["n"]:
        stages = point["stage_at_removal"]
        most = max(STAGES, key=lambda stage: stages[stage])
        stage = most if stages[most] else None
        over = point["trace_over_clean"]["mean"]
        held = _spread(point["trace_at_end"], "trace", least=0.0)
        yield {"kind": "trace", **where, **held, "stage": stage, "over_clean": over, **stages}
    for layer in point["shares"]:
        share = _spread(layer["share"], "share", 100, least=0.0)
        yield {"kind": "share", **where, "layer": layer["name"], **share}
    for split in analysis.SPLITS:
        if point["barrier"][split]["n"]:
            height = _spread(point["barrier"][split], "barrier", least=0.0)
            distance = point["relative_distance"]["mean"]
            yield {"kind": "barrier", **where, "split": split, **height, "distance": distance}
        for at in point["line"]:
            if at[split]["n"]:
                yield {"kind": "line", **where, "split": split, "a": at["a"],
                       **_spread(at[split], "loss", least=0.0)}  # fmt: skip


def _spread(spread: Row, name: str, times: float = 1, least: float | None = None) -> Row:
    low, high = (None if end is None else times * end for end in spread["interval"] or (None, None))
    low = low if low is None or least is None else max(least, low)
    mean = None if spread["mean"] is None else times * spread["mean"]
    return {name: mean, "low": low, "high": high, "n": spread["n"]}


# --- the picture ---


def _spec(rows: list[Row], results: Results, name: str) -> dict[str, Any]:
    import altair as alt

    there = list(dict.fromkeys(row["curve"] for row in rows))
    shown = there[:MOST_CURVES]
    drawn = [row for row in rows if row["curve"] in shown]
    first = [row for row in drawn if row["curve"] == shown[0]]
    above = [panels.traces(drawn, shown), panels.barriers(drawn, shown)]
    below = [panels.shares(first), panels.lines(first)]
    lines = [[chart for chart in row if chart is not None] for row in (above, below)]
    parts = [alt.hconcat(*row, spacing=40).resolve_scale(color="independent", shape="independent",
                                                         strokeDash="independent")
             for row in lines if row]  # fmt: skip
    chart = alt.vconcat(*parts, spacing=28, data=alt.Data(values=[]))
    chart = chart.resolve_scale(color="independent", shape="independent", strokeDash="independent")
    subtitle = _subtitle(drawn, results, shown, len(there))
    words = style.title(name, subtitle, 2 * panels.WIDTH + 110)
    kept = [row for row in drawn if row["kind"] in ("trace", "barrier") or row in first]
    return style.finished(chart.properties(title=alt.TitleParams(**words)), kept)


def _subtitle(rows: list[Row], results: Results, shown: list[str], there: int) -> list[str]:
    counts = {row["n"] for row in rows}
    what = f"{curves.setting(results.plan)}, {curves.seeds_words(counts)}; intervals: {INTERVAL}."
    kinds = {row["kind"] for row in rows}
    said = []
    if "trace" in kinds:
        said.append(
            f"{series.method_words(results)} Its shape: where the run stood at the removal."
        )
    if "barrier" in kinds:
        said.append("Barrier: how far the loss rises above the chord on the straight line between"
                    " the final weights of a run without the deficit and of one with it, same seed;"
                    " BatchNorm re-estimated at each point.")  # fmt: skip
    if "share" in kinds:
        said.append(f"Layers that never have {panels.LEAST_SHARE:g} % are left out.")
    if len(shown) > 1:
        said.append(f"Below: {shown[0]}.")
    if there > len(shown):
        said.append(f"The first {len(shown)} of {there} curves.")
    return [what, " ".join(said)]
