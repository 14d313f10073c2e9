"""Gradients of each layer over training: the norm of their mean and their standard deviation, a
panel for each point of the sweep."""

from typing import TYPE_CHECKING, Any

from api.figures import bands, curves, panels, scales, series, style
from api.figures.panels import Grid, Panels
from shared import numbers
from shared.plan import RunPlan
from shared.probe import LAYER_GRADIENTS
from shared.results import Results, Row

if TYPE_CHECKING:
    import altair as alt

QUANTITIES = {"mean_norm": "norm of the mean", "standard_deviation": "standard deviation"}
MOST_LAYERS = 10
"""Two lines for each layer: with more, a panel cannot be read."""
FAR_SMALLER = 20
"""A layer with this many times fewer parameters than one beside it is left out: a normalisation."""
TOOLTIP = ["layer:N", "quantity:N", "epoch:Q", "value:Q", "low:Q", "high:Q", "n:Q"]


def build(results: Results) -> dict[str, Any]:
    """Rows of kind "layer": of one layer, epoch and quantity the geometric mean over seeds with its
    Student t interval; and of kind "window": the epochs under a deficit.

    `drawn` is false for layers left out of the picture, and for 0, which a logarithmic axis cannot
    show. A layer of a diverged run, which has no number, is not in the mean.
    """
    rows, windows = _rows(results)
    if not any(row["value"] > 0 for row in rows):
        raise series.nothing(results, LAYER_GRADIENTS, "gradients")
    layers = _chosen({row["layer"]: row["parameters"] for row in rows})
    for row in rows:
        row["drawn"] = row["layer"] in layers and row["value"] > 0
    name = results.name or "Gradients of the layers"
    spec = _spec(rows, windows, layers, results, name)
    return {"data": rows + windows, "title": name, "vegalite": spec}


def _rows(results: Results) -> tuple[list[Row], list[Row]]:
    """Of layers and of windows."""
    layout = curves.layout(results.plan)
    places, told = Panels.of(layout, results.plan.runs), _told(results)
    values: dict[tuple[Any, ...], list[float]] = {}
    facts: dict[tuple[Any, ...], Row] = {}
    windows: dict[str, list[Row]] = {}
    for run in results.plan.runs:
        for found in results.measurements(run, {LAYER_GRADIENTS}):
            panel = places.name(run, told.label(found["probe"]))
            windows.setdefault(panel, panels.window_rows(run, panel))
            where: Row = {"kind": "layer", "panel": panel, "curve": layout.labels[run.index]}
            where |= {"variant": run.variant, "window_epoch": layout.positions[run.index]}
            for one in _quantities(found):
                group = (*where.values(), _method(run, found), *one[0].values())
                values.setdefault(group, []).append(one[1])
                facts.setdefault(group, where | one[0])
    rows = [facts[group] | _mean(each) for group, each in values.items()]
    return rows, [row for each in windows.values() for row in each]


def _told(results: Results) -> series.Series:
    probes = [p for p in results.plan.probes.values() if p["kind"] == LAYER_GRADIENTS]
    return series.of_probes(probes, results)


def _method(run: RunPlan, found: Row) -> str:
    return repr((run.point, found["probe"]["samples"]))


def _quantities(found: Row) -> list[tuple[Row, float]]:
    """(layer, epoch and quantity; its value), where there is one."""
    out = []
    for layer in numbers.shown(found["values"]["layers"]):
        for field, words in QUANTITIES.items():
            if layer[field] is not None:
                about = {"layer": layer["name"], "parameters": layer["parameters"]}
                about |= {"epoch": found["epoch"], "quantity": words}
                out.append((about, layer[field]))
    return out


def _mean(values: list[float]) -> Row:
    band = bands.band(values, None, logarithmic=True)
    return {"value": band.pop("mean")} | band


def _chosen(parameters: dict[str, int]) -> list[str]:
    """The first layer, the last, and evenly between them those that are no normalisation."""
    names, sizes = list(parameters), list(parameters.values())
    beside = [max(sizes[max(i - 1, 0) : i + 2]) for i in range(len(sizes))]
    ends = (0, len(names) - 1)
    kept = [i for i, n in enumerate(sizes) if i in ends or n * FAR_SMALLER > beside[i]]
    return [names[i] for i in panels.evenly(kept, MOST_LAYERS)]


def _spec(
    rows: list[Row], windows: list[Row], layers: list[str], results: Results, name: str
) -> dict[str, Any]:
    shown = [row for row in rows if row["drawn"]]
    names, more = panels.some(list(dict.fromkeys(row["panel"] for row in rows)))
    drawn = [row for row in shown + windows if row["panel"] in names]
    subtitle = _subtitle(rows, windows, layers, results)
    subtitle[-1] += more
    return panels.chart(_marks(drawn, layers), drawn, names, name, subtitle)


def _subtitle(
    rows: list[Row], windows: list[Row], layers: list[str], results: Results
) -> list[str]:
    seeds = curves.seeds_words({row["n"] for row in rows})
    probes = [p for p in results.plan.probes.values() if p["kind"] == LAYER_GRADIENTS]
    images = "/".join(dict.fromkeys(str(probe["samples"]) for probe in probes))
    band = bands.words(rows)
    left_out = len({row["layer"] for row in rows}) - len(layers)
    said = f"Band: {band}. " if band else ""
    said += "Grey: under the deficit. " if windows else ""
    said += f"{len(layers)} layers, from first (dark) to last (light)"
    said += f"; {left_out} smaller ones are left out." if left_out else "."
    what = f"Loss gradients of {images} images: their mean, and their deviation over images."
    return [f"{curves.setting(results.plan)}, {seeds}. {what}", said]


def _marks(rows: list[Row], layers: list[str]) -> list["alt.Chart"]:
    import altair as alt

    measured = [row for row in rows if row["kind"] == "layer"]
    values = [row["value"] for row in measured] or [1.0]
    ends = [min(values) / 1.3, max(values) * 1.3]
    axis = style.magnitude_axis(ends, log=True)
    y = alt.Y("value:Q", title="Norm (log scale)", scale=scales.scale(ends), axis=axis)
    x = series.epochs(measured, Grid.of(rows).width)
    held = scales.inside(("low", "high"), ends)
    each = alt.Chart().transform_filter("datum.kind == 'layer'")
    each = each.encode(x=x, color=_color(layers), detail="quantity:N")
    band = each.transform_filter("isValid(datum.low)").transform_calculate(**held)
    return [
        panels.window_marks(),
        band.mark_area(opacity=0.1).encode(y=alt.Y("low:Q", scale=scales.scale(ends)), y2="high:Q"),
        each.mark_line(strokeWidth=1.7).encode(y=y, strokeDash=_dash(), tooltip=TOOLTIP),
    ]


def _color(layers: list[str]) -> "alt.Color":
    import altair as alt

    scale = alt.Scale(domain=layers, range=style.ramp(len(layers)))
    return alt.Color("layer:N", scale=scale, legend=style.legend("layer", layers), sort=None)


def _dash() -> "alt.StrokeDash":
    import altair as alt

    names = list(QUANTITIES.values())
    scale = alt.Scale(domain=names, range=style.DASHES[:2])
    return alt.StrokeDash("quantity:N", scale=scale, legend=style.legend(None, names, dashes=True))
