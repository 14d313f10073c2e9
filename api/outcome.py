"""How an experiment ends: what is written once and never changes."""

from datetime import UTC, datetime
from typing import Any

from api.tracker import Tracker


def ended(state: str, failures: list[dict[str, Any]]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"state": state, "finished": now, "failures": failures}


def of(tracker: Tracker) -> dict[str, Any]:
    """What was planned, and what manifests say that this experiment trained itself."""
    failures = tracker.failures()
    epochs = tracker.plan.epochs.model_dump() | {"trained": tracker.trained}
    return ended("failed" if failures else "succeeded", failures) | {"epochs": epochs}
