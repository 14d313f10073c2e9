"""What is left of pruned networks: accuracy against sparsity before and after fine-tuning, of each
layer, in one number, and how criteria and settings differ in it."""

import json
import math
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from shared.errors import Conflict
from shared.partners import curve, grouped, last_step
from shared.plan import RunPlan
from shared.probe import PRUNED, SALIENCY
from shared.results import Results
from shared.score import INTERVAL, final_score, score_words, spread

Row = dict[str, Any]

ACCURACIES = ("before", "before_reestimated", "after")
"""Of a pruned network: at once, at once with BatchNorm re-estimated, and fine-tuned."""
ASKED = ("split", "stimulus", "probe_set", "samples", "granularity", "labels")
"""What tells one comparison of the criteria at a state from another."""
MOST = 1000
"""Differences in one answer."""


def pruned(results: Results) -> Row:
    """Of every curve (one variant and point, one criterion) its points, areas and differences.

    `before` is the accuracy on test images of the weights that are left, before any training;
    `before_reestimated` the same with BatchNorm's statistics re-estimated on a copy; `after` that
    of the fine-tuned run, as it is scored elsewhere. At a sparsity of 0 the ordinary accuracy at
    that epoch stands for both before. Accuracies are 0..1; each with its 95 % Student t interval
    over seeds. Without a pruned run there are the correlations of the criteria alone.
    """
    once = results.remembering()
    runs = [run for run in results.plan.runs if run.pruning]
    if not runs and not _compares(results):
        raise Conflict(
            "Nothing is pruned in this experiment: prune one of its runs with POST"
            f" /v1/experiments/{results.measures or results.experiment}/pruning, or submit a spec"
            " with 'pruning'; 'saliency' measured afterwards is shown here too"
        )
    curves = [_curve(group, once) for group in grouped(runs, _name)]
    found, left_out = _differences(curves)
    return {
        "score": score_words(runs, results.plan),
        "interval": INTERVAL,
        "curves": curves,
        "differences": found,
        "differences_left_out": left_out,
        "correlations": correlations(once),
        "numerics": results.numerics(runs),
    }


def _compares(results: Results) -> bool:
    """Whether criteria are compared somewhere, with nothing pruned."""
    return any(probe["kind"] == SALIENCY for probe in results.plan.probes.values())


def _name(run: RunPlan) -> str:
    return json.dumps([*setting(run).values(), *_way(run).values()], sort_keys=True)


def setting(run: RunPlan) -> Row:
    """What was pruned: the variant, its place in the sweep, and which of its states is scored."""
    return {**curve(run), "point": _unpruned(run.point), "scored_at": run.pruning["scored_at"]}


def _unpruned(point: Row) -> Row:
    return {path: value for path, value in point.items() if path.split(".")[0] != "pruning"}


def _way(run: RunPlan) -> Row:
    """How."""
    return {
        name: value for name, value in run.pruning.items() if name not in ("sparsity", "scored_at")
    }


def _curve(runs: list[RunPlan], results: Results) -> Row:
    seeds = {(run.seed, run.pruning["sparsity"]): of_run(run, results) for run in runs}
    at = sorted({run.pruning["sparsity"] for run in runs})
    points = [_point(s, [one for (_, of), one in seeds.items() if of == s]) for s in at]
    areas = {name: _areas(name, at, seeds) for name in ACCURACIES}
    return {
        **setting(runs[0]),
        **_way(runs[0]),
        "epochs": runs[0].epochs,
        "points": points,
        "area": {name: _over_seeds(found) for name, found in areas.items()},
        "lost": {name: _over_seeds(_lost(name, areas[name], seeds)) for name in ACCURACIES},
    }


def of_run(run: RunPlan, results: Results) -> Row:
    """One run's numbers, null as long as they are not there."""
    last = last_step(run)
    left = _left(run, last, results)
    dense = None
    if run.pruning["sparsity"] == 0:
        rows = (row for row in results.epochs(run) if row["epoch"] == last)
        row: Row = next(rows, {})
        dense = {"accuracy": row.get("test_accuracy"), "loss": row.get("test_loss")}
    before, again = (dense or left.get(name, {}) for name in ("running", "reestimated"))
    return {
        "seed": run.seed,
        "run": run.index,
        "before": _number(before.get("accuracy")),
        "before_reestimated": _number(again.get("accuracy")),
        "after": _number(final_score(results, run)) if run.epochs > last else None,
        "loss_before": _number(before.get("loss")),
        "loss_before_reestimated": _number(again.get("loss")),
        "left": left,
    }


def _left(run: RunPlan, epoch: int, results: Results) -> Row:
    found = (one for one in results.measurements(run, {PRUNED}) if one["epoch"] == epoch)
    return dict(next(found, {}).get("values", {}))


def _number(value: Any) -> float | None:
    found = math.nan if value is None else float(value)
    return found if math.isfinite(found) else None


def _point(sparsity: float, seeds: list[Row]) -> Row:
    numbers = (*ACCURACIES, "loss_before", "loss_before_reestimated")
    told = [one["left"] for one in seeds if one["left"]]
    return {
        "sparsity": sparsity,
        **{name: spread(_there(name, seeds)) for name in numbers},
        "weights_left": _mean_share(told, "weights"),
        "channels_left": _mean_share(told, "channels"),
        "layers": [_layer(parts) for parts in zip(*(one["layers"] for one in told), strict=True)],
        "seeds": [{key: one[key] for key in one if key != "left"} for one in seeds],
    }


def _there(name: str, seeds: list[Row]) -> list[float]:
    return [one[name] for one in seeds if one[name] is not None]


def _layer(parts: tuple[Row, ...]) -> Row:
    shares = {f"{of}_left": _mean_share(list(parts), of) for of in ("weights", "channels")}
    return {"name": parts[0]["name"], "weights": parts[0]["weights"], **shares}


def _mean_share(parts: list[Row], of: str) -> float | None:
    shares = [part[f"{of}_left"] / part[of] for part in parts if part[of]]
    return sum(shares) / len(shares) if shares else None


# --- in one number ---

BySeed = dict[int, float]


def _areas(name: str, at: list[float], seeds: dict[tuple[int, float], Row]) -> BySeed:
    """Of each seed that has them all: the mean accuracy over the range of sparsities, straight
    between those that there are (trapezoids). Of a single sparsity there is none."""
    found: BySeed = {}
    for seed in dict.fromkeys(seed for seed, _ in seeds):
        values = [seeds.get((seed, s), {}).get(name) for s in at]
        if len(at) > 1 and all(value is not None for value in values):
            found[seed] = float(np.trapezoid(values, at)) / (at[-1] - at[0])  # type: ignore[arg-type]
    return found


def _lost(name: str, areas: BySeed, seeds: dict[tuple[int, float], Row]) -> BySeed:
    """The dense accuracy less the area: what a mean sparsity costs, whatever the dense network is
    at."""
    dense: dict[int, Any] = {seed: seeds.get((seed, 0), {}).get(name) for seed in areas}
    return {seed: dense[seed] - area for seed, area in areas.items() if dense[seed] is not None}


def _over_seeds(found: BySeed) -> Row:
    return {**spread(found.values()), "seeds": [{"seed": s, "value": v} for s, v in found.items()]}


# --- differences ---


def _differences(curves: list[Row]) -> tuple[list[Row], int]:
    """Of every two curves that differ in the criterion alone, or in what was pruned alone: the
    differences of their areas, paired by seed; and how many of them do not stand here."""
    pairs = [
        *_pairs(curves, "criterion", ("criterion",)),
        *_pairs(curves, "setting", ("variant", "base", "control", "point", "scored_at", "at")),
    ]
    return [_difference(by, i, j, curves) for by, i, j in pairs[:MOST]], max(0, len(pairs) - MOST)


def _pairs(curves: list[Row], by: str, told: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    results = ("points", "area", "lost", "epochs", *told)

    def rest(index: int) -> str:
        one = curves[index]
        return json.dumps({k: one[k] for k in one if k not in results}, sort_keys=True)

    for group in grouped(range(len(curves)), rest):
        yield from ((by, i, j) for i, j in combinations(group, 2))


def _difference(by: str, i: int, j: int, curves: list[Row]) -> Row:
    one, other = curves[i], curves[j]
    return {
        "by": by,
        "one": i,
        "other": j,
        **{
            what: {name: _paired(one[what][name], other[what][name]) for name in ACCURACIES}
            for what in ("area", "lost")
        },
    }


def _paired(one: Row, other: Row) -> Row:
    values = {seed["seed"]: seed["value"] for seed in other["seeds"]}
    pairs = [s["value"] - values[s["seed"]] for s in one["seeds"] if s["seed"] in values]
    return spread(pairs)


# --- rank correlations ---


def correlations(results: Results) -> list[Row]:
    """Of every state at which criteria were compared: Spearman's rank correlation of every two of
    them, over seeds. A state that several runs share counts once, for the first of them."""
    found: dict[str, list[Row]] = {}
    about: dict[str, Row] = {}
    seen: set[tuple[str, str]] = set()
    for run in results.plan.runs:
        for one in results.measurements(run, {SALIENCY}):
            state = (one["key"], json.dumps(one["probe"], sort_keys=True))
            if state not in seen:
                seen.add(state)
                told = _state(run, one)
                name = json.dumps(told, sort_keys=True)
                about.setdefault(name, told)
                found.setdefault(name, []).append(one["values"])
    return [about[name] | _ranked(seeds) for name, seeds in found.items()]


def _state(run: RunPlan, one: Row) -> Row:
    """Before it is pruned, how it will be makes no difference."""
    is_pruned = run.pruning and run.pruning["sparsity"] and one["epoch"] > run.pruning["at"]
    point = run.point if is_pruned else _unpruned(run.point)
    probe = one["probe"]
    shown = {name: probe[name] for name in ASKED}
    return {**curve(run), "point": point, "epoch": one["epoch"], **shown}


def _ranked(seeds: list[Row]) -> Row:
    first = seeds[0]

    def over(get: Callable[[Row], float | None]) -> Row:
        return spread(value for one in seeds if (value := get(one)) is not None)

    return {
        "samples": first["samples"],
        "criteria": first["criteria"],
        "pairs": [
            {"one": pair["one"], "other": pair["other"]}
            | {"correlation": over(lambda one, i=i: one["pairs"][i]["correlation"])}  # type: ignore[misc]
            | {
                "layers": [
                    {"name": layer["name"]}
                    | over(lambda one, i=i, k=k: one["pairs"][i]["layers"][k])  # type: ignore[misc]
                    for k, layer in enumerate(first["layers"])
                ]
            }
            for i, pair in enumerate(first["pairs"])
        ],
    }
