"""Trace of the Fisher information of each layer over training: a panel for each point of the sweep,
a line for each layer."""

from typing import TYPE_CHECKING, Any

from api.figures import bands, curves, panels, scales, series, style
from api.figures.panels import Grid, Panels
from shared import traces
from shared.errors import Conflict
from shared.results import Results, Row
from shared.traces import Normalisation

if TYPE_CHECKING:
    import altair as alt

LEAST_SHARE = 0.02
"""A layer that never has this share of the total is not drawn."""
TITLES: dict[Normalisation, str] = {
    "raw": "Trace of the layer",
    "share": "Share of the total trace",
    "per_parameter": "Trace for each parameter",
    "panel_max": "Trace over the run's largest",
}
TOOLTIP = ["layer:N", "epoch:Q", "trace:Q", "low:Q", "high:Q", "share:Q", "parameters:Q", "n:Q"]


def build(results: Results, normalisation: Normalisation = "raw") -> dict[str, Any]:
    """Rows of kind "layer": the mean trace of one layer over seeds with a band, as in
    `fisher_trace`; and of kind "window": the epochs under a deficit.

    `normalisation` is done run by run, before the mean. Layers that nowhere have 2 % of the total
    are left out; so is epoch 0, before training, from a picture with a logarithmic axis where it
    is far below all others. The rows keep it.
    """
    rows, windows = _rows(results, normalisation, logarithmic=False)
    if not rows:
        raise Conflict("There is nothing to draw yet: no Fisher trace has been measured")
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    shown = {row["layer"] for row in rows if row["share"] and row["share"] >= LEAST_SHARE}
    drawn = [layer for layer in layers if layer in shown] or layers
    kept = [row for row in rows if row["layer"] in drawn]
    if scales.is_log(_domain(kept, normalisation)):
        rows, _ = _rows(results, normalisation, logarithmic=True)
        kept = [row for row in rows if row["layer"] in drawn]
    name = results.name or "Fisher information of the layers"
    left_out = len(layers) - len(drawn)
    spec = _spec(kept, windows, drawn, left_out, normalisation, results, name)
    return {"data": kept + windows, "title": name, "vegalite": spec}


def _rows(
    results: Results, normalisation: Normalisation, logarithmic: bool
) -> tuple[list[Row], list[Row]]:
    """Of layers and of windows."""
    layout, told = curves.layout(results.plan), series.fisher_series(results)
    places = Panels.of(layout, results.plan.runs)
    lines: dict[tuple[Any, ...], list[Row]] = {}
    facts: dict[tuple[Any, ...], Row] = {}
    windows: dict[str, list[Row]] = {}
    for run in results.plan.runs:
        for probe, found in series.fisher_rows(results, run, normalisation):
            panel = places.name(run, told.label(probe))
            windows.setdefault(panel, panels.window_rows(run, panel))
            where = {
                "kind": "layer",
                "panel": panel,
                "curve": layout.labels[run.index],
                "variant": run.variant,
                "window_epoch": layout.positions[run.index],
                "images": told.images(probe),
                "series": told.label(probe),
                "estimator": probe["estimator"],
                "normalisation": normalisation,
                "epoch": found["epoch"],
            }
            group = (panel, repr(run.point), run.variant, traces.method(probe), found["epoch"])
            for layer in found["layers"]:
                if layer["trace"] is not None:
                    name = (*group, layer["name"])
                    lines.setdefault(name, []).append(layer)
                    facts.setdefault(name, where | _about(layer))
    rows = [facts[name] | _mean(found, logarithmic) for name, found in lines.items()]
    return rows, [row for each in windows.values() for row in each]


def _about(layer: Row) -> Row:
    return {"layer": layer["name"], "parameters": layer["parameters"]}


def _mean(found: list[Row], logarithmic: bool) -> Row:
    band = bands.band([one["trace"] for one in found], found[0]["standard_error"], logarithmic)
    shares = [one["share"] for one in found if one.get("share") is not None]
    share = sum(shares) / len(shares) if shares else None
    return {"trace": band.pop("mean"), "share": share} | band


def _domain(rows: list[Row], normalisation: Normalisation) -> list[float]:
    """Before training most layers are orders of magnitude lower: not to make room for that."""
    trained = [row for row in rows if row["epoch"] > 0]
    return scales.domain(trained or rows, may_be_log=normalisation in ("raw", "per_parameter"))


def _spec(
    rows: list[Row],
    windows: list[Row],
    layers: list[str],
    left_out: int,
    normalisation: Normalisation,
    results: Results,
    name: str,
) -> dict[str, Any]:
    names, more = panels.some(list(dict.fromkeys(row["panel"] for row in rows)))
    shown = [row for row in rows if row["panel"] in names]
    ends = _domain(shown, normalisation)
    untrained = [row for row in shown if row["epoch"] == 0]
    below = scales.is_log(ends) and any(row["trace"] < ends[0] for row in untrained)
    if below:
        shown = [row for row in shown if row["epoch"] > 0]
    subtitle = _subtitle(rows, windows, len(layers), left_out, results)
    subtitle[-1] += (" Epoch 0, before training, lies below." if below else "") + more
    shaded = [row for row in windows if row["panel"] in names]
    marks = _layers(shown, layers, normalisation)
    return panels.chart(marks, shown + shaded, names, name, subtitle)


def _subtitle(
    rows: list[Row], windows: list[Row], drawn: int, left_out: int, results: Results
) -> list[str]:
    seeds = curves.seeds_words({row["n"] for row in rows})
    what = f"{curves.setting(results.plan)}, {seeds}. {series.method_words(results)}"
    band = bands.words(rows)
    shown = f"Band: {band}. " if band else ""
    shown += "Grey: under the deficit. " if windows else ""
    shown += f"{drawn} layers, from first (dark) to last (light)"
    least = f"{100 * LEAST_SHARE:g} %"
    shown += f"; {left_out} that never have {least} of the total are left out." if left_out else "."
    return [what, shown]


def _layers(rows: list[Row], layers: list[str], normalisation: Normalisation) -> list["alt.Chart"]:
    import altair as alt

    ends = _domain(rows, normalisation)
    y = scales.axis("trace", TITLES[normalisation], ends)
    x = series.epochs(rows, Grid.of(rows).width)
    scale = alt.Scale(domain=layers, range=style.ramp(len(layers)))
    color = alt.Color("layer:N", scale=scale, legend=style.legend("layer", layers), sort=None)
    held = scales.inside(("low", "high", "trace"), ends)
    each = alt.Chart().transform_filter("datum.kind == 'layer'").encode(x=x, color=color)
    band = each.transform_filter("isValid(datum.low)").transform_calculate(**held)
    lines = each.transform_calculate(trace=held["trace"])
    return [
        panels.window_marks(),
        band.mark_area(opacity=0.15).encode(
            y=alt.Y("low:Q", scale=scales.scale(ends)), y2="high:Q"
        ),
        lines.mark_line(strokeWidth=1.8).encode(y=y),
        lines.mark_point(size=_dots(rows), filled=True, opacity=1).encode(y=y, tooltip=TOOLTIP),
    ]


def _dots(rows: list[Row]) -> int:
    """Points that touch each other would hide which line is whose."""
    return 18 if len({row["epoch"] for row in rows}) <= 15 else 5
