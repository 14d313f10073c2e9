"""What the simulated workers wrote down -> how long work waited, and how long workers did."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.scale_system import Work


@dataclass
class Story:
    """Of all workers of a step, by their clock."""

    taken: list[tuple[float, str, str]] = field(default_factory=list)
    """(when, work, worker)"""
    done: dict[str, float] = field(default_factory=dict)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """Of a worker without work: (since, until). An open one ends at infinity."""
    errors: list[str] = field(default_factory=list)


def read(files: Iterable[Path]) -> Story:
    story = Story()
    free: dict[str, float] = {}
    for line in (line for file in files for line in file.read_text().splitlines()):
        when, what, worker, work = line.split(" ", 3)
        at = float(when)
        if what == "taken":
            story.taken.append((at, work, worker))
            if worker in free:
                story.gaps.append((free.pop(worker), at))
        elif what == "done":
            story.done[work] = min(at, story.done.get(work, at))
        elif what == "free":
            free.setdefault(worker, at)
        elif what == "stopped" and worker in free:
            story.gaps.append((free.pop(worker), at))
        elif what == "error":
            story.errors.append(work)
    story.gaps += [(since, float("inf")) for since in free.values()]
    return story


def waits(
    story: Story, works: dict[str, Work], ended: dict[str, float], since: float, until: float
) -> list[float]:
    """From when a segment could be done until a worker had it, for those taken between two moments
    and for the first time in this step."""
    found, seen = [], set()
    for at, work, _ in sorted(story.taken):
        if work in seen or work not in works:
            continue
        seen.add(work)
        parent = works[work].parent
        ready = works[work].accepted if parent is None else ended.get(parent)
        if ready is not None and since <= at < until:
            found.append(max(0.0, at - ready))
    return found


def idle(story: Story, since: float, until: float) -> tuple[list[float], float]:
    """Pauses between two segments that ended between two moments; and seconds of all workers
    together without work."""
    ended = [end - begin for begin, end in story.gaps if since <= end < until]
    within = sum(max(0.0, min(end, until) - max(begin, since)) for begin, end in story.gaps)
    return ended, within


def summary(values: list[float]) -> dict[str, Any]:
    """p50, p99 and most, in seconds."""
    if not values:
        return {"n": 0}
    ordered = sorted(values)
    at = {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 99)}
    return {"n": len(ordered), **at, "most": ordered[-1]}
