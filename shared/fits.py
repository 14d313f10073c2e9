"""The paper's fit of the clean run's Fisher trace to sensitivity: F(t) = a exp(c S_k(t)) + b."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from shared.partners import acting, curve, elsewhere, grouped, partners, stimulus
from shared.plan import RunPlan
from shared.results import Results, Row
from shared.score import spread
from shared.sensitivity import sensitivity, single
from shared.ways import lines, ways

Array = np.ndarray[Any, np.dtype[np.float64]]

LEAST_POINTS = 4
"""Three parameters fit three points whatever these are."""
STEEPEST = 500.0
"""Largest |c| that is looked at, over the range of the sensitivities."""
LARGEST_EXPONENT = 600.0
"""Largest |c S|: exp holds up to 709."""
NO_BETTER = 1e-9
"""In r2: by how much a curve must fit better than its limits."""
GENTLEST = 1e-3
"""Smallest one: below it, the curve is a straight line to 1 part in 8000 of its rise."""


def exponential(sensitivity: Sequence[float], trace: Sequence[float]) -> dict[str, Any]:
    """Least-squares fit of F = a exp(c S) + b to n points (S, F), by variable projection over c
    (Golub & Pereyra 1973): for each c the best a and b are those of a straight line in exp(c S), so
    that one number is searched, over a grid and then by Brent's method. Deterministic.

        r2 = 1 - sum (F - fit)^2 / sum (F - mean F)^2

    `a` and `b` are in the unit of the trace, `c` in 1 / unit of the sensitivity. `spearman` is the
    rank correlation of S and F, equal values sharing their mean rank, and `spearman_p` its
    two-sided p by Student's t with n - 2 degrees of freedom, rough for n below 10. Points that are
    not finite are left out. What the points do not determine is None, and `reason` says why: fewer
    than 4 of them, no variation, or a best curve that is a straight line or a step, which has no
    best c; `r2` is then that of the line or step.
    """
    s, f = _finite(sensitivity, trace)
    nothing = dict.fromkeys(("a", "b", "c", "r2", "spearman", "spearman_p"))
    found: dict[str, Any] = {**nothing, "n": len(s), "reason": None}
    if len(s) < LEAST_POINTS:
        return found | {"reason": f"{len(s)} points: a fit of 3 parameters needs {LEAST_POINTS}"}
    if np.ptp(s) == 0:
        return found | {"reason": "the sensitivity is the same at every point"}
    if np.ptp(f) == 0:
        return found | {"reason": "the trace is the same at every point"}
    return (
        found | _fitted(s, f) | dict(zip(("spearman", "spearman_p"), spearman(s, f), strict=True))
    )


def spearman(x: Array, y: Array) -> tuple[float, float]:
    """(rank correlation, two-sided p) of n > 2 points, neither x nor y constant. float64."""
    from scipy.special import stdtr  # 0.6 s to import: not when the API starts

    rho = float(np.clip(np.corrcoef(_ranks(x), _ranks(y))[0, 1], -1, 1))
    if abs(rho) == 1:
        return rho, 0.0
    t = rho * math.sqrt((len(x) - 2) / (1 - rho * rho))
    return rho, float(2 * stdtr(len(x) - 2, -abs(t)))


def fisher_fit(results: Results) -> list[dict[str, Any]]:
    """`exponential` of each variant, window length and way of measuring (`series`): how the trace
    of the run without a deficit follows the sensitivity of the epochs at which windows begin.

    Of a point, over the `n` seeds that have both: `sensitivity` S_k(t) is the mean drop of
    `sensitivity.sensitivity` for the window [t, t + k), in percentage points of test accuracy (so
    that `c` is per point), `low` and `high` its 95 % interval. `trace` F(t) is the mean trace of
    the runs `without_deficit` after t = `onset` epochs, linear between measured epochs, with its
    interval. `fitted` is the curve there. Onsets without such a seed are left out.
    """
    of, clean = ways(results), partners(results)
    known = {run.index: lines(results, run, of) for run in _each_once(clean.values())}
    labels = dict.fromkeys(way for by_way in known.values() for way in by_way)
    pairs = zip(single(results.plan), sensitivity(results), strict=True)
    sweeps = grouped(pairs, lambda pair: _sweep_name(pair[0][0], pair[1]["length"]))
    found = []
    by_way = {
        way: {index: known[run.index].get(way, []) for index, run in clean.items()}
        for way in labels
    }
    for sweep in sweeps:
        if len(sweep) < 2:
            continue
        for way, traces in by_way.items():
            points = [_point(point, traces) for _, point in sweep]
            if sum(point["n"] > 0 for point in points) > 1:
                found.append(_fit(sweep[0][0][0], sweep[0][1]["length"], way, points))
    return found


def _each_once(runs: Iterable[RunPlan]) -> list[RunPlan]:
    return list({run.index: run for run in runs}.values())


def _sweep_name(run: RunPlan, length: int) -> str:
    windows = [stimulus(window) for window in acting(run)]
    return json.dumps([run.variant, elsewhere(run), length, windows], sort_keys=True)


def _fit(run: RunPlan, length: int, way: str, points: list[Row]) -> Row:
    there = sorted((point for point in points if point["n"]), key=lambda point: point["onset"])
    fit = exponential([p["sensitivity"] for p in there], [p["trace"] for p in there])
    for point in there:
        point["fitted"] = _value(fit, point["sensitivity"])
    return {
        **curve(run),
        "point": elsewhere(run),
        "length": length,
        "series": way,
        "points": there,
        **fit,
    }


def _value(fit: Row, s: float) -> float | None:
    return None if fit["a"] is None else fit["a"] * math.exp(fit["c"] * s) + fit["b"]


def _point(point: Row, traces: dict[int, list[Row]]) -> Row:
    onset = point["onset"]
    both = [
        (100 * one["drop"], trace)
        for one in point["seeds"]
        if (trace := _at(traces[one["run"]], onset)) is not None
    ]
    drops, traced = spread(drop for drop, _ in both), spread(trace for _, trace in both)
    low, high = drops["interval"] or (None, None)
    trace_low, trace_high = traced["interval"] or (None, None)
    return {
        "onset": onset,
        "sensitivity": drops["mean"],
        "low": low,
        "high": high,
        "trace": traced["mean"],
        "trace_low": trace_low,
        "trace_high": trace_high,
        "fitted": None,
        "n": len(both),
    }


def _at(line: list[Row], epoch: int) -> float | None:
    """The trace after `epoch` epochs; None outside of what is measured."""
    epochs = [row["epoch"] for row in line]
    if not epochs or not epochs[0] <= epoch <= epochs[-1]:
        return None
    return float(np.interp(epoch, epochs, [row["trace"] for row in line]))


# --- the search ---


def _finite(sensitivity: Sequence[float], trace: Sequence[float]) -> tuple[Array, Array]:
    s, f = np.asarray(sensitivity, np.float64), np.asarray(trace, np.float64)
    there = np.isfinite(s) & np.isfinite(f)
    return s[there], f[there]


def _fitted(s: Array, f: Array) -> dict[str, Any]:
    from scipy.optimize import minimize_scalar  # 0.6 s to import: not when the API starts

    x = (s - s.min()) / np.ptp(s)
    half = np.geomspace(GENTLEST, STEEPEST, 200)
    grid = np.concatenate([-half[::-1], half])
    scaled = f / np.abs(f).max()  # squares of traces may pass what a float holds
    errors = np.array([_unexplained(k, x, scaled) for k in grid])
    i = int(np.argmin(errors))
    ends = {"a straight line": errors[199:201].min(), "a step": errors[-1 if grid[i] > 0 else 0]}
    for what, error in ends.items():
        if error <= errors[i] + NO_BETTER:
            why = f"no exponential fits better than {what}: c is not determined"
            return {"r2": 1 - float(error), "reason": why}
    found = minimize_scalar(
        _unexplained, bounds=(grid[i - 1], grid[i + 1]), args=(x, scaled), method="bounded",
        options={"xatol": 1e-12},
    )  # fmt: skip
    if abs(found.x) * np.abs(s).max() > LARGEST_EXPONENT * np.ptp(s):
        why = "the sensitivities differ by too little beside their size: a is no number"
        return {"r2": 1 - float(found.fun), "reason": why}
    return {**_back(float(found.x), x, f, s), "r2": 1 - float(found.fun)}


def _basis(k: float, x: Array) -> Array:
    """(exp(k x) - 1) / (exp(k) - 1), x in 0..1: it does not cancel for small k, nor, written with
    exp(-k) for k > 0, overflow for large ones."""
    if k < 0:
        return np.expm1(k * x) / math.expm1(k)
    return np.exp(k * (x - 1)) * np.expm1(-k * x) / math.expm1(-k)


def _unexplained(k: float, x: Array, f: Array) -> float:
    """1 - r2 of the best line in the basis."""
    u, v = _centred(_basis(k, x)), _centred(f)
    uu, uv, vv = float(u @ u), float(u @ v), float(v @ v)
    slope = uv / uu
    rest = v - slope * u
    return float(rest @ rest) / vv


def _centred(x: Array) -> Array:
    return x - x.mean()


def _back(k: float, x: Array, f: Array, s: Array) -> dict[str, float | None]:
    """a, b, c of the line in the basis: slope expm1(k x) / expm1(k) + offset, k x = c (s - s_0)."""
    u = _basis(k, x)
    slope = float(_centred(u) @ _centred(f)) / float(_centred(u) @ _centred(u))
    offset = float(f.mean() - slope * u.mean())
    c = k / float(np.ptp(s))
    scale = slope / math.expm1(k)
    return {"a": scale * math.exp(-c * float(s.min())), "b": offset - scale, "c": c}


def _ranks(x: Array) -> Array:
    """From 1; equal values have the mean of their ranks."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
