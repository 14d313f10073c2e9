"""How much waits behind each segment of a plan: what to train first, so that sharing does not
serialise a sweep."""

from collections import defaultdict
from collections.abc import Sequence

from shared import cost
from shared.plan import Plan, State


def remaining(plan: Plan) -> list[float]:
    """For each segment the device seconds from its start to the end of the longest run through it:
    longest remaining path first is the order to work in (Graham 1966; Hu 1961)."""
    an_epoch = [cost.device_seconds(config, 1) for config in plan.configs]
    return longest_paths(plan, [an_epoch[s.config] * s.planned for s in plan.segments])


def longest_paths(plan: Plan, seconds: Sequence[float]) -> list[float]:
    """The same where each segment takes so long."""
    after: dict[State, list[int]] = defaultdict(list)
    for i, segment in enumerate(plan.segments):
        if segment.start > 0:
            after[segment.scope, segment.parent].append(i)
    left = [0.0] * len(plan.segments)
    # What follows a segment begins later, or stands at its end and has no epochs.
    order = sorted(
        range(len(left)), key=lambda i: (plan.segments[i].start, plan.segments[i].only_measures)
    )
    for i in reversed(order):
        segment = plan.segments[i]
        following = max((left[j] for j in after[segment.scope, segment.key] if j != i), default=0.0)
        left[i] = seconds[i] + following
    return left
