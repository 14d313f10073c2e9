"""Deficit windows as marks in time, as dashboards lay them over learning curves."""

from collections.abc import Sequence

from shared.partners import acting, stimulus
from shared.plan import RunPlan
from shared.results import Row
from shared.rows import Clock, words

NAMED = 20
"""Runs that a text names before it counts the others."""


def annotations(runs: Sequence[RunPlan], clock: Clock) -> list[Row]:
    """Each window once, whichever of the runs have it: in the order of its begin and its end."""
    found: dict[tuple[int, int, str], list[RunPlan]] = {}
    tags: dict[tuple[int, int, str], str] = {}
    for run in runs:
        for window in acting(run):
            key = (window["start"], window["end"], words([stimulus(window)]))
            found.setdefault(key, []).append(run)
            tags[key] = window["name"]
    return [_row(*key, found[key], tags[key], clock) for key in sorted(found)]


def _row(start: int, end: int, title: str, runs: list[RunPlan], tag: str, clock: Clock) -> Row:
    return {
        "time": clock.at(start),
        "timeEnd": clock.at(end),
        "title": title,
        "text": f"epochs {start} to {end}, {_named(sorted({run.index for run in runs}))}",
        "tags": tag,
    }


def _named(indices: list[int]) -> str:
    if len(indices) == 1:
        return f"run {indices[0]}"
    others = len(indices) - NAMED
    more = f" and {others} more" if others > 0 else ""
    return f"runs {', '.join(map(str, indices[:NAMED]))}{more}"
