"""Fisher measurements as tables: beside what else was measured of the state, normalised, nested or
flat."""

import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Literal, get_args

from shared import numbers
from shared.measurements import Beside
from shared.plan import RunPlan
from shared.probe import FISHER, Probe
from shared.results import Results, Row, identity
from shared.rows import words

Normalisation = Literal["raw", "share", "per_parameter", "panel_max"]
"""raw: as measured. share: of the total. per_parameter: over the layer's number of parameters.
panel_max: over the largest trace that any layer of the run has at any epoch, by one method."""

METHOD = (
    "split", "estimator", "norms", "square_root", "precision", "probe_set", "samples",
    "relative_error", "max_samples",
)  # fmt: skip
"""All that a probe says but its images. Two measurements that differ in it are never averaged."""

BESIDE = get_args(Beside)
BESIDE_COLUMNS = {
    "gradient_norm": ("gradient", "gradient_norm"),
    "noise_scale": ("gradient", "noise_scale"),
    "hessian_eigenvalue": ("hessian_eigenvalue", "hessian_eigenvalue"),
    "hessian_trace": ("hessian_trace", "hessian_trace"),
}
OF_THE_TOTAL = ("relative_error", "relative_error_reached")
OF_ITS_MAKING = ("batchnorm_statistics", "beta", "steps", "drift")
"""The last three are of the variational estimate alone."""


def method(probe: Probe) -> tuple[Any, ...]:
    """What tells one series of measurements from another, in the order of METHOD."""
    return tuple(probe.get(field) for field in METHOD)


def of_run(results: Results, run: RunPlan, normalisation: Normalisation = "raw") -> Iterator[Row]:
    """A run's Fisher measurements, in the order of the plan, each with what was measured beside it:
    at the same epoch, on the same images.

    `trace` and `standard_error` of the whole are raw; of the layers they are normalised. What is
    not finite is null and is listed in `non_finite`, if there is any.
    """
    return (row for _, row in measured(results, run, normalisation))


def measured(
    results: Results, run: RunPlan, normalisation: Normalisation
) -> Iterator[tuple[Probe, Row]]:
    """As `of_run`, each with its probe."""
    found: Iterable[Row] = results.measurements(run, {FISHER, *BESIDE})
    largest: dict[tuple[Any, ...], float] = {}
    if normalisation == "panel_max":
        found = list(found)
        largest = _largest(found)
    for _, group in groupby(found, key=lambda one: one["epoch"]):
        here = list(group)
        for one in here:
            if one["probe"]["kind"] == FISHER:
                scale = largest.get(method(one["probe"]), math.nan)
                row = _row(one, _beside(one, here), normalisation, scale)
                who = {"normalisation": normalisation} | results.about(one)
                yield one["probe"], identity(run) | who | row


def _row(found: Row, beside: Row, normalisation: Normalisation, scale: float) -> Row:
    """The method as the probe has it, the numbers as they were measured: `samples` is how many
    images were used, `relative_error` what was reached with them."""
    probe, values = found["probe"], found["values"]
    layers = [_normalised(one, values, normalisation, scale) for one in values["layers"]]
    lost: list[dict[str, str]] = []
    shown = numbers.shown(values | {"layers": layers, "beside": beside}, "", lost)
    row = {field: probe.get(field) for field in METHOD} | {"stimulus": probe["stimulus"]}
    row |= {"relative_error": None, "relative_error_reached": None, "covers": "all parameters"}
    row |= shown | {"estimator": probe["estimator"]}
    row |= {"relative_error_asked": probe.get("relative_error")}
    return row | ({"non_finite": lost} if lost else {})


def _beside(fisher: Row, here: list[Row]) -> Row:
    """Of one kind the measurement of as many images; where there is none, the one of most."""
    asked = fisher["probe"].get("samples")

    def rank(one: Row) -> tuple[bool, int]:
        samples = one["probe"]["samples"]
        return samples == asked, samples

    out: dict[str, Row] = {}
    for one in here:
        kind = one["probe"]["kind"]
        if kind != FISHER and _images(one) == _images(fisher):
            out[kind] = max(out.get(kind, one), one, key=rank)
    return {kind: out[kind]["values"] for kind in BESIDE if kind in out}


def _images(found: Row) -> tuple[Any, ...]:
    probe = found["probe"]
    return probe["split"], probe.get("probe_set"), probe["stimulus"]


# --- normalisation ---


def _normalised(layer: Row, values: Row, normalisation: Normalisation, scale: float) -> Row:
    trace, error = _number(layer["trace"]), _number(layer["standard_error"])
    match normalisation:
        case "raw":
            return layer
        case "share":
            share = _over(trace, _number(values["trace"]))
            trace = _number(layer.get("share", share))
            error = _number(layer.get("share_standard_error"))
        case "per_parameter":
            trace, error = (_over(value, layer["parameters"]) for value in (trace, error))
        case "panel_max":
            trace, error = (_over(value, scale) for value in (trace, error))
    return layer | {"trace": trace, "standard_error": error}


def _largest(found: Iterable[Row]) -> dict[tuple[Any, ...], float]:
    """The largest finite trace of a layer, by method."""
    largest: dict[tuple[Any, ...], float] = {}
    for one in found:
        if one["probe"]["kind"] == FISHER:
            name = method(one["probe"])
            traces = (_number(layer["trace"]) for layer in one["values"]["layers"])
            finite = [t for t in traces if t is not None and math.isfinite(t)]
            largest[name] = max([largest.get(name, -math.inf), *finite])
    return largest


def _number(value: Any) -> float | None:
    """As it is stored: what is not finite is a word that float() reads."""
    return None if value is None else float(value)


def _over(value: float | None, by: float | None) -> float | None:
    if value is None or by is None:
        return None
    return value / by if by else math.nan


# --- flat ---


def layer_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """A row with the layer "total", which is always raw, then one for each layer."""
    for row in rows:
        flat = {k: v for k, v in row.items() if not isinstance(v, list | dict)}
        flat["stimulus"] = words(row["stimulus"])
        lost = {item["pointer"]: item["value"] for item in row.get("non_finite", [])}
        yield flat | {
            "layer": "total",
            "normalisation": "raw",
            **_beside_columns(row["beside"]),
            **_lost_of_total(lost),
        }
        shared = {k: v for k, v in flat.items() if k not in OF_THE_TOTAL}
        for i, layer in enumerate(row["layers"]):
            values = {key: layer[key] for key in ("trace", "standard_error", "parameters")}
            yield shared | {"layer": layer["name"], **values, **_lost_of_layer(lost, i)}


def layer_columns(results: Results) -> list[str]:
    head = ["time", "run", "variant", "seed", *results.paths, "epoch", "key", "stimulus"]
    method = ["split", "estimator", "norms", "square_root", "precision", "probe_set", "samples"]
    return [*head, *method, "relative_error_asked", "max_samples", "layer", "parameters",
            "normalisation", "trace", "standard_error", *OF_THE_TOTAL, "covers",
            "predictive_entropy", "mean_confidence", *BESIDE_COLUMNS, "reused", "numerics",
            "non_finite", *OF_ITS_MAKING]  # fmt: skip


def _beside_columns(beside: Row) -> Row:
    return {
        column: beside[kind].get(name) if kind in beside else None
        for column, (kind, name) in BESIDE_COLUMNS.items()
    }


def _lost_of_total(lost: dict[str, str]) -> Row:
    found = {pointer[1:]: name for pointer, name in lost.items() if pointer.count("/") == 1}
    for column, (kind, name) in BESIDE_COLUMNS.items():
        if (pointer := f"/beside/{kind}/{name}") in lost:
            found[column] = lost[pointer]
    return {"non_finite": found} if found else {}


def _lost_of_layer(lost: dict[str, str], i: int) -> Row:
    names = ("trace", "standard_error")
    found = {n: lost[p] for n in names if (p := f"/layers/{i}/{n}") in lost}
    return {"non_finite": found} if found else {}
