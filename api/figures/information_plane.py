"""The information plane of the layers' activations, a panel for each point of the sweep; beneath,
the same over time."""

from typing import Any

from api.figures import bands, curves, panels, series, style
from api.figures import information_marks as marks
from api.figures.panels import Panels
from shared import information, numbers
from shared.plan import RunPlan
from shared.probe import INFORMATION_PLANE, Probe
from shared.results import Results, Row

QUANTITIES = tuple(name for name in information.ESTIMATES if name != "i_ty_decoder_error")
SETTINGS = ("noise", "noise_variance", "bins", "bin_size")
CEILINGS = ("samples", "classes", "log2_samples", "log2_classes", "label_entropy")
USED = ("noise_variance", "bin_size")
MOST_PANELS, MOST_LAYERS = 8, 6
"""In the picture; the data hold all."""
ABOUT_Y = {"i_ty_decoder": "a held-out decoder's lower bound", "i_ty_kl": "the estimate i_ty_kl"}


def build(results: Results) -> dict[str, Any]:
    """Rows of kind "state": of one layer and epoch the mean over seeds of every estimate, in bits,
    with its Student t interval (`..._low`, `..._high`; of a single seed's decoder 1.96 standard
    errors); of kind "ceiling": what none can be above; of kind "window": the epochs under a
    deficit. `drawn` is false for layers that are left out of the picture.

    x of the plane is each bound of I(X;T) under Gaussian noise, y (`i_ty`) the held-out decoder's
    bound of I(T;Y); where no decoder was asked for, `i_ty_kl`. `noise_variance` and `bin_size` are
    those used, means over seeds. A layer of a diverged run, which has no
    number, is not in the mean.
    """
    states, ceilings, windows = _rows(results)
    if not states:
        raise series.nothing(results, INFORMATION_PLANE, "information_plane")
    layers = sorted({row["layer"] for row in states})
    shown = panels.evenly(layers, MOST_LAYERS)
    for row in states:
        row["drawn"] = row["layer"] in shown
    name = results.name or "Information plane"
    rows = states + ceilings + windows
    spec = _spec(states, ceilings, windows, layers, shown, results, name)
    return {"data": rows, "title": name, "vegalite": spec}


# --- rows ---


def _rows(results: Results) -> tuple[list[Row], list[Row], list[Row]]:
    """Of states, ceilings and windows."""
    layout = curves.layout(results.plan)
    places, words = Panels.of(layout, results.plan.runs), _Words(results)
    found: dict[tuple[Any, ...], dict[int, Row]] = {}
    facts: dict[tuple[Any, ...], Row] = {}
    ceilings: dict[str, Row] = {}
    windows: dict[str, list[Row]] = {}
    for run in results.plan.runs:
        for one in results.measurements(run, {INFORMATION_PLANE}):
            panel = places.name(run, words.label(one["probe"]))
            windows.setdefault(panel, panels.window_rows(run, panel))
            ceilings[panel] = _higher(ceilings.get(panel), _ceiling(panel, one))
            where: Row = {"kind": "state", "panel": panel, "curve": layout.labels[run.index]}
            where |= {"variant": run.variant, "window_epoch": layout.positions[run.index]}
            where |= {"epoch": one["epoch"]}
            for layer in numbers.shown(one["values"]["layers"]):
                if layer["i_xt_upper"] is None:
                    continue  # diverged
                group = (*where.values(), _method(run, one["probe"]), layer["layer"])
                found.setdefault(group, {})[run.index] = layer  # of several requests, once
                facts.setdefault(group, where | {k: layer[k] for k in ("layer", "units")})
    states = [facts[group] | _mean(list(each.values())) for group, each in found.items()]
    there = {row["panel"] for row in states}
    kept = [row for panel, row in ceilings.items() if panel in there]
    return states, kept, [row for panel in there for row in windows[panel]]


class _Words:
    """What tells the measurements of one panel from those of another."""

    def __init__(self, results: Results) -> None:
        self.probes = _probes(results)
        self.series = series.of_probes(self.probes, results)
        self.told = [name for name in SETTINGS if len({str(p.get(name)) for p in self.probes}) > 1]

    def label(self, probe: Probe) -> str:
        settings = [
            f"{name.replace('_', ' ')} {probe[name]}"
            for name in self.told
            if probe.get(name) is not None
        ]
        return ", ".join(filter(None, [self.series.label(probe), *settings]))


def _probes(results: Results) -> list[Probe]:
    return [p for p in results.plan.probes.values() if p["kind"] == INFORMATION_PLANE]


def _method(run: RunPlan, probe: Probe) -> str:
    return repr((run.point, probe["samples"], probe["decoder"], *map(probe.get, SETTINGS)))


def _ceiling(panel: str, found: Row) -> Row:
    values = found["values"]
    return {"kind": "ceiling", "panel": panel} | {name: values[name] for name in CEILINGS}


def _higher(one: Row | None, other: Row) -> Row:
    """Of two sets of images in one panel what none of them can be above."""
    held = {name: max(one[name], other[name]) for name in CEILINGS} if one else {}
    return other | held


def _mean(found: list[Row]) -> Row:
    out: Row = {}
    for name in QUANTITIES:
        values = [one[name] for one in found if one[name] is not None]
        if not values:
            out |= {name: None, f"{name}_low": None, f"{name}_high": None}
            continue
        error = found[0]["i_ty_decoder_error"] if name == "i_ty_decoder" else None
        band = bands.band(values, error, logarithmic=False)
        out |= {name: band["mean"], f"{name}_low": band["low"], f"{name}_high": band["high"]}
    about = "i_ty_decoder" if out["i_ty_decoder"] is not None else "i_ty_kl"
    drawn = {f"i_ty{end}": out[f"{about}{end}"] for end in ("", "_low", "_high")}
    used = {name: sum(one[name] for one in found) / len(found) for name in USED}
    return out | drawn | {"i_ty_is": about} | used | {"n": len(found)}


# --- the picture ---


def _spec(
    states: list[Row],
    ceilings: list[Row],
    windows: list[Row],
    layers: list[int],
    shown: list[int],
    results: Results,
    name: str,
) -> dict[str, Any]:
    import altair as alt

    there = list(dict.fromkeys(row["panel"] for row in states))
    names = panels.evenly(there, MOST_PANELS)
    rows = [row for row in [*states, *ceilings, *windows] if row["panel"] in names]
    drawn = [row for row in rows if row.get("drawn", True)]
    drawn += marks.bounds_at_the_end([row for row in drawn if row["kind"] == "state"], shown)
    columns = len(names) if len(names) < 5 else (3 if len(names) < 7 else 4)
    width = {1: 420, 2: 300, 3: 240}.get(columns, 200)
    charts = marks.charts(drawn, names, shown, columns, width)
    subtitle = _subtitle(states, windows, layers, shown, results)
    subtitle[-1] += f" {len(names)} of {len(there)} points." if len(names) < len(there) else ""
    title = style.title(name, subtitle, max(600, columns * (width + 20)))
    chart = alt.vconcat(*charts, spacing=18).properties(title=alt.TitleParams(**title))
    return style.finished(chart, drawn)


def _subtitle(
    states: list[Row], windows: list[Row], layers: list[int], shown: list[int], results: Results
) -> list[str]:
    probes = _probes(results)
    seeds = curves.seeds_words({row["n"] for row in states})
    images = "/".join(dict.fromkeys(str(probe["samples"]) for probe in probes))
    noise = " or ".join(dict.fromkeys(map(_noise_words, probes)))
    first = f"{curves.setting(results.plan)}, {seeds}. Information in the layers' activations, not"
    first += f" in the weights: {images} images, {noise}. Other noise gives other numbers;"
    first += " whether layers compress is contested (Saxe et al. 2018)."
    drawn = {row["i_ty_is"] for row in states}
    y = "; else ".join(words for name, words in ABOUT_Y.items() if name in drawn)
    second = f"I(X;T): both bounds of Kolchinsky & Tracey. I(T;Y): {y}; bars at the right: the two"
    second += " bounds under the noise, last epoch. Large point: last epoch."
    second += f" Bands: {bands_words(states)}." if bands_words(states) else ""
    second += " Dashed: log2 N and H(Y), above which nothing is."
    second += " Grey: under the deficit." if windows else ""
    which = f"{len(shown)} of {len(layers)} layers" if len(shown) < len(layers) else "Layers"
    return [first, f"{second} {which}, from first (dark) to last (light)."]


def bands_words(states: list[Row]) -> str:
    if any(row["n"] > 1 for row in states):
        return "95 % Student t over seeds"
    return bands.OVER_IMAGES if any(row["i_ty_decoder_low"] is not None for row in states) else ""


def _noise_words(probe: Probe) -> str:
    bins = f"{probe['bins']} bins" if probe.get("bins") else f"bins of {probe['bin_size']:g}"
    variance = f"{probe['noise_variance']:g}"
    if probe["noise"] == "relative":
        return f"noise variance {variance} of the layer's whole, {bins}"
    return f"noise variance {variance}, {bins}"
