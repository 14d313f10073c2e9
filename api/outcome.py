"""How an experiment ends: what is written once and never changes."""

from collections.abc import Iterable
from typing import Any

from api.tracker import Tracker
from shared import moments


def ended(state: str, failures: list[dict[str, Any]]) -> dict[str, Any]:
    return {"state": state, "finished": moments.now(), "failures": failures}


def of(tracker: Tracker) -> dict[str, Any]:
    """What was planned, and what manifests say that this experiment trained itself."""
    failures = tracker.failures()
    epochs = tracker.plan.epochs.model_dump() | {"trained": tracker.trained}
    found = ended("failed" if failures else "succeeded", failures) | {"epochs": epochs}
    return found | ({"done": _done(tracker)} if failures else {})


def cancelled(tracker: Tracker | None, counted: int = 0) -> dict[str, Any]:
    """`tracker`: settled; None while there is no plan. `counted`: epochs trained, by Redis."""
    found = ended("cancelled", [])
    if tracker is None:
        return found | {"done": {"cut": None, "segments": []}}
    epochs = tracker.plan.epochs.model_dump() | {"trained": max(counted, tracker.trained)}
    return found | {"epochs": epochs, "done": _done(tracker)}


def _done(tracker: Tracker) -> dict[str, Any]:
    """Of what did not succeed: the segments that are its results, for ever. Others train later what
    it has not."""
    return {"cut": tracker.plan.cut, "segments": ranges(tracker.done)}


def ranges(indices: Iterable[int]) -> list[list[int]]:
    """[first, last] of each row of neighbours."""
    found: list[list[int]] = []
    for index in sorted(indices):
        if found and found[-1][1] == index - 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return found
