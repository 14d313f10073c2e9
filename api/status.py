"""What a client is told while an experiment is under way: state, progress, time left, failures."""

from collections.abc import Iterator
from typing import Any

from api.lifecycle import STATES
from api.tracker import Tracker
from shared.live import Live
from shared.plan import Plan
from shared.records import Records

Json = dict[str, Any]

NO_PROGRESS: Json = {"progress": None, "time_left_seconds": None}
"""While a data set is being prepared."""


def progress(tracker: Tracker, live: Live, records: Records, outcome: Json) -> Json:
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
        "time_left_seconds": 0.0
        if ended
        else _time_left(tracker, running, planned - done, records),
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


def _time_left(
    tracker: Tracker, running: dict[int, Json], epochs: int, records: Records
) -> float | None:
    """Epochs left times what an epoch now takes, over the workers at it. None: no idea yet, or no
    epoch is left and it is measuring that takes the time."""
    if epochs == 0 and tracker.ready():
        return None
    seconds = [
        said["seconds_per_epoch"] for said in running.values() if "seconds_per_epoch" in said
    ]
    seconds = seconds or list(_measured_seconds(tracker, records))
    if not seconds:
        return None
    return round(epochs * sum(seconds) / len(seconds) / max(1, len(running)), 1)


def _measured_seconds(tracker: Tracker, records: Records) -> Iterator[float]:
    for index in sorted(tracker.done & set(tracker.todo))[-4:]:
        segment = tracker.plan.segments[index]
        manifest = records.manifest(segment.scope, segment.key)
        if manifest is not None:
            yield manifest.provenance["wall_seconds"] / max(1, manifest.end - manifest.start)
