"""How an experiment ends: what is written once and never changes."""

from typing import Any

from api.tracker import Tracker
from shared import moments


def ended(state: str, failures: list[dict[str, Any]]) -> dict[str, Any]:
    return {"state": state, "finished": moments.now(), "failures": failures}


def of(tracker: Tracker) -> dict[str, Any]:
    """What was planned, and what manifests say that this experiment trained itself."""
    failures = tracker.failures()
    epochs = tracker.plan.epochs.model_dump() | {"trained": tracker.trained}
    return ended("failed" if failures else "succeeded", failures) | {"epochs": epochs}
