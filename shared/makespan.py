"""How long some workers take for a plan: list scheduling, what they do at a queue (Graham 1966)."""

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from shared.plan import Plan, State


class Precedence(NamedTuple):
    followers: list[list[int]]
    """Of each segment those that wait for it."""
    waits: list[int]
    """For how many others each waits."""


def precedence(plan: Plan) -> Precedence:
    """A stored state is waited for by nobody."""
    enders: dict[State, list[int]] = {}
    for i, segment in enumerate(plan.segments):
        if not segment.only_measures:
            enders.setdefault((segment.scope, segment.key), []).append(i)
    followers: list[list[int]] = [[] for _ in plan.segments]
    waits = [0] * len(plan.segments)
    for i, segment in enumerate(plan.segments):
        parent = [(segment.scope, segment.parent)] if segment.start > 0 else []
        for state in {*parent, *segment.needs}:
            there = enders.get(state, [])
            if there and not any(plan.segments[j].stored for j in there):
                followers[there[0]].append(i)
                waits[i] += 1
    return Precedence(followers, waits)


def schedule(
    order: Precedence,
    seconds: Sequence[float],
    workers: int,
    urgency: Sequence[float] | None = None,
    todo: Iterable[int] | None = None,
    done: Iterable[int] = (),
    begun: Mapping[int, float] | None = None,
) -> dict[int, float]:
    """When each of `todo` ends (default: all), each of which takes `seconds`; of those that are
    `begun`, what is left. A free worker takes the most urgent of those that can be done; without
    `urgency` the one that has waited for longest. What waits for something that is neither `done`
    nor to do is never done."""
    begun = begun or {}
    waits = {i: order.waits[i] for i in (range(len(seconds)) if todo is None else todo)}
    for j in (j for i in done for j in order.followers[i] if j in waits):
        waits[j] -= 1
    ends: dict[int, float] = {}
    came = 0
    ready: list[tuple[float, int]] = []
    busy = [(left, i) for i, left in begun.items() if i in waits]
    for i, others in waits.items():
        if not others and i not in begun:
            ready.append((came if urgency is None else -urgency[i], i))
            came += 1
    heapify(ready)
    heapify(busy)
    now = 0.0
    while ready or busy:
        while ready and len(busy) < workers:
            _, i = heappop(ready)
            heappush(busy, (now + seconds[i], i))
        now, i = heappop(busy)
        ends[i] = now
        for j in order.followers[i]:
            if j not in waits:
                continue
            waits[j] -= 1
            if not waits[j]:
                heappush(ready, (came if urgency is None else -urgency[j], j))
                came += 1
    return ends


def makespan(ends: Mapping[int, float]) -> float:
    """Of a schedule."""
    return max(ends.values(), default=0.0)
