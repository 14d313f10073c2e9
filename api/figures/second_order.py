"""Where the quadratic picture holds: the divergence of a perturbed network's predictions beside
1/2 d^T F d, over the length of the perturbation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from api.figures import bands, curves, panels, scales, series, style
from api.figures.panels import Grid, Panels
from shared import second_order
from shared.errors import Conflict
from shared.probe import SECOND_ORDER
from shared.results import Results, Row

if TYPE_CHECKING:
    import altair as alt

AGREEMENT = "10 %"
SIZE = "Length of d over that of the weights"
SIDES = ("kl", "quadratic")
APART = 1.8
"""Pixels between two rules at one size."""
TOOLTIP = ["epoch:O", "size:Q", "kl:Q", "quadratic:Q", "ratio:Q", "low:Q", "high:Q", "n:Q"]


def build(results: Results) -> dict[str, Any]:
    """One row for each curve, window, images, epoch and size: `kl` with its interval and
    `quadratic`, in nats, means over seeds; `holds_up_to` is the smallest of the seeds'.

    The interval is Student's t over seeds of the logarithm, or 1.96 standard errors of a single
    measurement. `drawn` is false where a side is 0 or less, which a logarithmic axis cannot show.
    """
    rows = list(_rows(results))
    if not rows:
        raise Conflict(_why_empty(results))
    name = results.name or "Divergence and its quadratic approximation"
    return {"data": rows, "title": name, "vegalite": _spec(rows, results, name)}


def _why_empty(results: Results) -> str:
    probes = results.plan.probes.values()
    if results.plan.runs and not any(probe["kind"] == SECOND_ORDER for probe in probes):
        return (
            "This experiment measures no 'second_order': POST one to"
            f" /v1/experiments/{results.measures or results.experiment}/measurements"
        )
    return "There is nothing to draw yet: no 'second_order' has been measured"


def _rows(results: Results) -> Iterator[Row]:
    layout = curves.layout(results.plan)
    places = Panels.of(layout, results.plan.runs)
    label = _labels(results)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    facts: dict[tuple[Any, ...], Row] = {}
    for run in results.plan.runs:
        for found in second_order.of_run(results, run):
            panel = places.name(run, label(found))
            place: Row = {"panel": panel, "curve": layout.labels[run.index], "variant": run.variant}
            place |= {"window_epoch": layout.positions[run.index]}
            place |= {name: found[name] for name in ("stimulus", "split", "epoch", "size")}
            method = tuple(found[name] for name in ("probe_set", "samples", "directions"))
            group = (*place.values(), repr(run.point), method)
            groups.setdefault(group, []).append(found)
            facts.setdefault(group, place)
    for group, measured in groups.items():
        if all(one[side] is not None for one in measured for side in SIDES):
            yield facts[group] | _mean(measured)


def _labels(results: Results) -> Any:
    """Row -> what tells its measurement from the others."""
    probes = [p for p in results.plan.probes.values() if p["kind"] == SECOND_ORDER]
    told = series.of_probes(probes, results)
    directions = len({probe["directions"] for probe in probes}) > 1

    def label(row: Row) -> str:
        named = [row["stimulus"]] if told.by_images else []
        named += [series.field_words(field, row.get(field)) for field in told.told]
        named += [f"{row['directions']} directions"] if directions else []
        return ", ".join(filter(None, named))

    return label


def _mean(found: list[Row]) -> Row:
    means = {side: [one[side] for one in found] for side in SIDES}
    band = bands.band(means["kl"], found[0]["kl_standard_error"], logarithmic=True)
    quadratic = bands.band(means["quadratic"], None, logarithmic=True)["mean"]
    kl = band.pop("mean")
    held = [one["holds_up_to"] for one in found]
    return {
        "kl": kl,
        "quadratic": quadratic,
        "ratio": kl / quadratic if quadratic else None,
        "holds_up_to": None if None in held else min(held),
        "drawn": kl > 0 and quadratic > 0,
    } | band


def _spec(rows: list[Row], results: Results, name: str) -> dict[str, Any]:
    drawn = [row for row in rows if row["drawn"]]
    if not drawn:
        raise Conflict("There is nothing to draw: no perturbation changes what is predicted")
    names, more = panels.some(list(dict.fromkeys(row["panel"] for row in drawn)))
    drawn = [row for row in drawn if row["panel"] in names]
    subtitle = _subtitle(rows, results)
    subtitle[-1] += more
    return panels.chart(_layers(drawn), drawn, names, name, subtitle)


def _subtitle(rows: list[Row], results: Results) -> list[str]:
    probes = [p for p in results.plan.probes.values() if p["kind"] == SECOND_ORDER]
    images = "/".join(dict.fromkeys(str(probe["samples"]) for probe in probes))
    directions = "/".join(dict.fromkeys(str(probe["directions"]) for probe in probes))
    seeds = curves.seeds_words({row["n"] for row in rows})
    what = f"{curves.setting(results.plan)}, {seeds}, {images} images, {directions} directions."
    bars = bands.words(rows)
    return [
        f"{what} Points: KL of the predictions after a step d"
        + (f", bars: {bars}." if bars else "."),
        f"Dashed: \u00bd d\u1d40F d. Dotted rules: up to where the two agree to {AGREEMENT}.",
    ]


def _layers(rows: list[Row]) -> list["alt.Chart"]:
    import altair as alt

    across = _ends([row["size"] for row in rows])
    up = _ends([row[side] for row in rows for side in SIDES])
    x = alt.X("size:Q", title=SIZE, scale=scales.scale(across), axis=_axis(across))
    y = alt.Y("kl:Q", title="Nats", scale=scales.scale(up), axis=_axis(up))
    epochs = sorted({row["epoch"] for row in rows})
    scale = alt.Scale(domain=epochs, range=style.ramp(len(epochs)))
    legend = style.legend("epochs trained", [str(epoch) for epoch in epochs])
    color = alt.Color("epoch:O", scale=scale, legend=legend)
    each = alt.Chart().encode(x=x, color=color)
    held = scales.inside(("low", "high"), up)
    bars = each.transform_filter("isValid(datum.low)").transform_calculate(**held)
    kl = each.encode(y=y)
    return [
        _rules(rows, epochs, across).encode(color=color),
        each.mark_line(strokeWidth=1.6, strokeDash=[6, 3]).encode(
            y=alt.Y("quadratic:Q", scale=scales.scale(up))
        ),
        bars.mark_rule(strokeWidth=1.4).encode(
            y=alt.Y("low:Q", scale=scales.scale(up)), y2="high:Q"
        ),
        kl.mark_line(strokeWidth=0.8),
        kl.mark_point(size=34, filled=True, opacity=1).encode(tooltip=TOOLTIP),
    ]


def _rules(rows: list[Row], epochs: list[int], across: list[float]) -> "alt.Chart":
    """Where the approximation ends; some pixels apart, since many epochs end at the same size."""
    import altair as alt

    pixel = (across[1] / across[0]) ** (1 / Grid.of(rows).width)
    place = f"indexof({epochs}, datum.epoch) - {(len(epochs) - 1) / 2}"
    each = alt.Chart().transform_filter("isValid(datum.holds_up_to)")
    each = each.transform_aggregate(groupby=["panel", "epoch", "holds_up_to"])
    each = each.transform_calculate(
        beside=f"datum.holds_up_to * pow({pixel!r}, {APART} * ({place}))"
    )
    x = alt.X("beside:Q", scale=scales.scale(across), title=SIZE)
    return each.mark_rule(strokeDash=[2, 2]).encode(x=x)


def _ends(values: list[float]) -> list[float]:
    return [min(values) / 1.5, max(values) * 1.5]


def _axis(ends: list[float]) -> "alt.Axis":
    return style.magnitude_axis(ends, log=True)
