"""What a client is told while an experiment is under way: state, progress, time left, failures."""

from typing import Any

from api.crowd import Crowd
from api.lifecycle import STATES
from api.tracker import Tracker
from shared.live import Live
from shared.plan import Plan

Json = dict[str, Any]

NO_PROGRESS: Json = {"progress": None, "time_left_seconds": None}
"""While a data set is being prepared."""


def progress(tracker: Tracker, live: Live, crowd: Crowd, outcome: Json) -> Json:
    """The part of a status that changes. `outcome` is empty until there is one."""
    ended = outcome.get("state")
    running = {} if ended else tracker.running(live)
    states = tracker.run_states(ended, set(running))
    begun = any(state != "queued" for state in states)
    done, planned = tracker.epochs_done(running), tracker.epochs_planned()
    return {
        "state": ended or ("running" if begun or running else "queued"),
        "progress": {
            "epochs": {
                "done": done,
                "planned": planned,
                "reused": tracker.plan.epochs.stored,
                "trained": _counted(tracker, live, outcome),
            },
            "measurements": tracker.measurements(),
            "runs": {"total": len(states)} | {s: states.count(s) for s in STATES[1:]},
        },
        "time_left_seconds": 0.0 if ended else _time_left(tracker, running, crowd),
        "failures": outcome.get("failures") or tracker.failures(),
    }


def plan_summary(plan: Plan) -> Json:
    return {
        "runs": len(plan.runs),
        "segments": len(plan.segments),
        "epochs": plan.epochs.model_dump(),
        "device_seconds": round(plan.device_seconds, 3),
        "bytes": plan.bytes,
    }


def _counted(tracker: Tracker, live: Live, outcome: Json) -> int:
    """Redis counts every epoch as it ends, replays included. Where it has forgotten, what manifests
    say stands."""
    counted = live.counted_epochs(tracker.experiment) or 0
    return max(counted, tracker.trained, outcome.get("epochs", {}).get("trained", 0))


def _time_left(tracker: Tracker, running: dict[int, Json], crowd: Crowd) -> float | None:
    left = tracker.seconds_left(running, crowd.of(tracker.experiment))
    return None if left is None else round(left, 1)
