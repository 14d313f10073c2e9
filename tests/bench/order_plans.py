"""The order of work, simulated: the plans of presets, segments of unequal length, some workers."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from api.time_left import TimeLeft
from shared import cost
from shared.makespan import Precedence, makespan, precedence, schedule
from shared.plan import Plan
from shared.presets import PRESETS, preview, spec
from shared.spec import ExperimentSpec
from shared.urgency import longest_paths, remaining

Found = dict[str, Any]

SIGMA = 0.15
"""Of the logarithm of a segment's time."""
SIZE_SIGMA = 0.3
"""And of what a size of network takes, over what its multiply-adds let expect."""
A_PROBE = 0.15
"""Epochs that a measurement takes, here."""
QUARTERS = (0.1, 0.25, 0.5, 0.75)
"""Of the epochs of a sweep, after which the time left is asked for."""


def plan_of(preset: str) -> Plan:
    return preview.plan(ExperimentSpec.model_validate(spec(preset, PRESETS[preset], "paper")))


def simulated(preset: str, workers: int, repetitions: int) -> list[Found]:
    plan = plan_of(preset)
    order, urgency = precedence(plan), remaining(plan)
    return [_once(plan, order, urgency, workers, seed) for seed in range(repetitions)]


def _once(plan: Plan, order: Precedence, urgency: list[float], workers: int, seed: int) -> Found:
    """The drawn times are known to the bound, and neither to the order nor to the estimate."""
    draw = random.Random(f"{seed} {workers}")
    seconds = [one * draw.lognormvariate(-SIGMA * SIGMA / 2, SIGMA) for one in _took(plan, draw)]
    ends = schedule(order, seconds, workers, urgency)
    return {
        "urgent": makespan(ends),
        "first come": makespan(schedule(order, seconds, workers)),
        "simple bound": simple_bound(plan, seconds, workers),
        "bound": bound(plan, order, seconds, workers),
        "estimates": _estimates(plan, urgency, seconds, ends, workers),
    }


def _took(plan: Plan, draw: random.Random) -> list[float]:
    """Of each segment, without its own chance."""
    an_epoch = [cost.device_seconds(config, 1) for config in plan.configs]
    rates = {size: draw.lognormvariate(0, SIZE_SIGMA) for size in sorted(set(an_epoch))}
    an_epoch = [size * rates[size] for size in an_epoch]
    return [an_epoch[s.config] * (s.planned + A_PROBE * len(s.probes)) for s in plan.segments]


# --- what no order can be faster than ---


def simple_bound(plan: Plan, seconds: Sequence[float], workers: int) -> float:
    """All work over all workers; the longest path."""
    return max(sum(seconds) / workers, max(longest_paths(plan, seconds)))


def bound(plan: Plan, order: Precedence, seconds: Sequence[float], workers: int) -> float:
    """Also the most of a + W(a, b) / workers + b: what cannot begin before a and is followed by b
    at least, W device seconds of it, takes place in between (Fernandez and Bussell 1973)."""
    took = np.array(seconds)
    tail = np.array(longest_paths(plan, seconds)) - took
    head = (
        np.array([ends for _, ends in sorted(schedule(order, seconds, len(took)).items())]) - took
    )
    most = simple_bound(plan, seconds, workers)
    for after in np.unique(tail):
        kept = np.flatnonzero(tail >= after)
        kept = kept[np.argsort(-head[kept])]
        most = max(most, float((head[kept] + np.cumsum(took[kept]) / workers).max()) + after)
    return most


# --- the time left, as it would have been said ---


def _estimates(
    plan: Plan, urgency: list[float], seconds: list[float], ends: dict[int, float], workers: int
) -> list[float | None]:
    """What was said after each share of the epochs, over what was then left."""
    found, last = [], makespan(ends)
    for share in QUARTERS:
        at = _reached(plan, seconds, ends, share)
        said = _said(plan, urgency, seconds, ends, at, workers)
        found.append(None if said is None else said / (last - at))
    return found


def _reached(plan: Plan, seconds: list[float], ends: dict[int, float], share: float) -> float:
    """When so much of the epochs was done."""
    wanted, epochs = share * sum(s.planned for s in plan.segments), 0.0
    for i in sorted(ends, key=lambda i: ends[i]):
        epochs += plan.segments[i].planned
        if epochs >= wanted:
            return ends[i]
    raise AssertionError("a plan ends")


def _said(
    plan: Plan, urgency: list[float], seconds: list[float], ends: dict[int, float], at: float,
    workers: int,
) -> float | None:  # fmt: skip
    """By the API's own code, from what it would know at that moment."""
    left = TimeLeft(plan, urgency)
    done = sorted((i for i in ends if ends[i] <= at), key=lambda i: ends[i])
    for i in done:
        left.note(i, plan.segments[i].planned, seconds[i])
    running = {}
    for i, end in ends.items():
        if end - seconds[i] < at < end:
            segment = plan.segments[i]
            epochs = segment.planned + A_PROBE * len(segment.probes)
            passed = segment.planned * (at - end + seconds[i]) / seconds[i]
            running[i] = {"epoch": segment.start + int(passed)}
            if int(passed):
                running[i]["seconds_per_epoch"] = seconds[i] / epochs
    return left.of([i for i in ends if ends[i] > at], done, running, workers)
