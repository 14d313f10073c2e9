"""Deficit windows and changes of the training as marks in time, as dashboards lay them over
learning curves."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from shared.partners import acting, stimulus
from shared.plan import Plan, RunPlan
from shared.results import Row
from shared.rows import Clock, words

NAMED = 20
"""Runs that a text names before it counts the others."""


def annotations(plan: Plan, runs: Sequence[RunPlan], clock: Clock) -> list[Row]:
    """Each window and each change once, whichever of the runs have it: in the order of its begin
    and its end. A change ends where it begins: a moment, not a span."""
    found: dict[tuple[int, int, str, str], list[int]] = {}
    for run in runs:
        for mark in (*_windows(run), *map(_change, plan.changes(run))):
            found.setdefault(mark, []).append(run.index)
    return [_row(*mark, sorted(set(found[mark])), clock) for mark in sorted(found)]


def _windows(run: RunPlan) -> Iterator[tuple[int, int, str, str]]:
    for window in acting(run):
        yield window["start"], window["end"], words([stimulus(window)]), window["name"]


def _change(change: dict[str, Any]) -> tuple[int, int, str, str]:
    return change["at"], change["at"], ", ".join(_changed(change)), "change"


def _changed(change: dict[str, Any]) -> Iterator[str]:
    """In words."""
    for part, value in change.get("settings", {}).items():
        named = value.items() if isinstance(value, dict) else [(None, value)]
        for name, one in named:
            yield f"{f'{part}.{name}' if name else part}={json.dumps(one)}"
    yield from (name for name, acts in change.items() if acts is True)


def _row(start: int, end: int, title: str, tag: str, runs: list[int], clock: Clock) -> Row:
    where = f"epochs {start} to {end}" if end > start else f"from epoch {start} on"
    return {
        "time": clock.at(start),
        "timeEnd": clock.at(end),
        "title": title,
        "text": f"{where}, {_named(runs)}",
        "tags": tag,
    }


def _named(indices: list[int]) -> str:
    if len(indices) == 1:
        return f"run {indices[0]}"
    others = len(indices) - NAMED
    more = f" and {others} more" if others > 0 else ""
    return f"runs {', '.join(map(str, indices[:NAMED]))}{more}"
