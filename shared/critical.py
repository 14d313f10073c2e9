"""Critical periods as numbers: up to when a deficit costs nothing, when half is lost, and where a
short one hurts most."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from shared.partners import acting, curve, elsewhere, grouped, span, stimulus
from shared.plan import RunPlan
from shared.results import Results
from shared.score import drops, spread
from shared.sensitivity import sensitivity, single

Row = dict[str, Any]
Losses = dict[int, dict[int, float]]
"""Removal epoch -> seed -> loss."""


def critical_period(results: Results) -> list[Row]:
    """Of each removal curve (windows that begin alike and end at different epochs) where its
    losses begin: the drops of `score.summary`, 0..1, paired by seed.

    `first_penalty` is the first removal epoch at which the 95 % interval of the mean loss lies
    wholly above 0, and `longest_without_penalty` the one before it (the onset, if there is none).
    Each epoch is looked at by itself, without a correction for how many there are: of 40 epochs
    without any effect one passes on average. `half_loss_epoch` is taken seed by seed: where the
    loss first reaches half of that seed's loss at the latest removal, linear between the epochs of
    the sweep; at the onset it is 0. `reason` says why a number is missing.
    """
    found = drops(results)
    runs = [run for run in results.plan.runs if span(run)]
    curves = grouped(runs, curve_name)
    return [_curve(group, found) for group in curves if len({removal(r) for r in group}) > 1]


def peak_sensitivity(results: Results) -> list[Row]:
    """Of each onset sweep (one window of one length at different onsets): the onset at which the
    drop of `sensitivity` is largest, the earliest of equals, and how large it is there. Both are
    taken seed by seed, of seeds that have a drop at every onset.

    The largest of several noisy values lies above the true one: `height` is biased upwards.
    """
    pairs = zip(single(results.plan), sensitivity(results), strict=True)
    curves = grouped(pairs, lambda pair: _sweep_name(pair[0][0], pair[1]["length"]))
    return [
        _peak([runs[0] for runs, _ in group], [point for _, point in group])
        for group in curves
        if len({point["onset"] for _, point in group}) > 1
    ]


# --- removal ---


def removal(run: RunPlan) -> int:
    return max(int(window["end"]) for window in acting(run))


def curve_name(run: RunPlan) -> str:
    """All but the removal epoch. An end that is not the last one tells curves apart."""
    windows = [
        [stimulus(w), w["start"], None if w["end"] == removal(run) else w["end"]]
        for w in acting(run)
    ]
    return json.dumps([run.variant, elsewhere(run), windows], sort_keys=True)


def _curve(runs: list[RunPlan], found: dict[int, float]) -> Row:
    losses: Losses = {epoch: {} for epoch in sorted({removal(run) for run in runs})}
    for run in runs:
        if run.index in found:
            losses[removal(run)][run.seed] = found[run.index]
    points = [{"epoch": epoch, "loss": spread(of.values())} for epoch, of in losses.items()]
    onset = min(window["start"] for window in acting(runs[0]))
    means = [spread(of.values()) for of in losses.values() if of]
    largest = max(means, key=_mean, default=spread([]))
    without, first, why = _penalty(points, onset)
    half, why_not_half = _half_loss(losses, largest, onset)
    return {
        **curve(runs[0]),
        "point": elsewhere(runs[0]),
        "onset": onset,
        "longest_without_penalty": without,
        "first_penalty": first,
        "half_loss_epoch": half,
        "largest_loss": largest,
        "points": points,
        "reason": "; ".join(dict.fromkeys(filter(None, (why, why_not_half)))) or None,
    }


def _mean(loss: Row) -> float:
    return float(loss["mean"])


def _is_loss(loss: Row) -> bool:
    """Whether a mean loss is above 0 beyond its interval; of a single seed, above 0."""
    if loss["interval"] is None:
        return loss["mean"] is not None and loss["mean"] > 0
    return bool(loss["interval"][0] > 0)


def _penalty(points: list[Row], onset: int) -> tuple[int | None, int | None, str | None]:
    """(longest removal epoch without a penalty, first one with it, why not)."""
    if not any(point["loss"]["n"] for point in points):
        return None, None, "no pair of runs with and without the deficit has finished"
    told = [point for point in points if point["loss"]["interval"] is not None]
    if not told:
        return None, None, "one seed: without an interval no penalty can be told from chance"
    last = onset
    for point in told:
        if _is_loss(point["loss"]):
            return last, point["epoch"], None
        last = point["epoch"]
    return last, None, "no removal epoch has a loss beyond its interval"


def _half_loss(losses: Losses, largest: Row, onset: int) -> tuple[Row | None, str | None]:
    if largest["mean"] is None:
        return None, None
    if not _is_loss(largest):
        return None, "the largest loss is not above 0 beyond its interval: there is no half of it"
    latest = losses[max(losses)]
    if not latest:
        return None, "no pair of runs of the latest removal has finished"
    epochs = [epoch for seed in latest if (epoch := _half(losses, seed, onset)) is not None]
    if not epochs:
        return None, "no seed has lost anything at the latest removal"
    left_out = len(latest) - len(epochs)
    why = f"half loss without {left_out} seeds that lost nothing at the latest removal"
    return spread(epochs), why if left_out else None


def _half(losses: Losses, seed: int, onset: int) -> float | None:
    """Where a seed's loss first reaches half of its last one; None where that is not above 0."""
    line = [(onset, 0.0)] + [(epoch, of[seed]) for epoch, of in losses.items() if seed in of]
    half = line[-1][1] / 2
    return _crossing(line, half) if half > 0 else None


def _crossing(line: Sequence[tuple[float, float]], level: float) -> float | None:
    """Where a line through points (x, y), straight between them, first comes from below to `level`;
    None where it never does."""
    for (x0, y0), (x1, y1) in pairwise(line):
        if y0 < level <= y1:
            return x0 + (x1 - x0) * (level - y0) / (y1 - y0)
    return None


# --- onset ---


def _sweep_name(run: RunPlan, length: int) -> str:
    return json.dumps(
        [run.variant, elsewhere(run), length, *map(stimulus, acting(run))], sort_keys=True
    )


def _peak(runs: list[RunPlan], points: list[Row]) -> Row:
    points = sorted(points, key=lambda point: point["onset"])
    drop = {(p["onset"], one["seed"]): one["drop"] for p in points for one in p["seeds"]}
    onsets = [point["onset"] for point in points]
    seeds = list(dict.fromkeys(seed for _, seed in drop))
    whole = [seed for seed in seeds if all((onset, seed) in drop for onset in onsets)]
    peaks = [max(onsets, key=lambda onset: drop[onset, seed]) for seed in whole]
    heights = [drop[onset, seed] for onset, seed in zip(peaks, whole, strict=True)]
    return {
        **curve(runs[0]),
        "point": elsewhere(runs[0]),
        "length": points[0]["length"],
        "onsets": onsets,
        "onset": spread(peaks),
        "height": spread(heights),
        "reason": None if whole else "no seed has a drop at every onset yet",
    }
