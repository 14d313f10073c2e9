"""An experiment's plan as a client is shown it: runs, the segments that they share, how far each
is."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from api.tracker import Tracker
from shared import planning
from shared.errors import HubelError
from shared.plan import Plan, RunPlan

if TYPE_CHECKING:
    from api.experiment import Experiment
    from api.service import Service

Json = dict[str, Any]


def of(service: "Service", id: str) -> Json:
    """`certain` is false while a data set is being prepared: then it is what a dry run says."""
    experiment = service.experiment(id)
    if experiment.plan is None:
        return _expected(service, experiment)
    done = service.done_segments(id)  # asks the store
    tracker = service.tracker(id)
    running = {} if experiment.outcome else tracker.running(service.live)
    states = _states(tracker, done, set(running), experiment.outcome)
    reached = {i: said["epoch"] for i, said in running.items() if "epoch" in said}
    return {"certain": True, **_shown(experiment.plan, states, reached)}


def _expected(service: "Service", experiment: "Experiment") -> Json:
    nothing: Json = {"certain": False, "runs": [], "segments": []}
    if experiment.outcome is not None:
        return nothing
    try:
        plan = service.dry_run(experiment.spec)
    except HubelError as error:
        if error.status != 422:
            raise
        return nothing  # the experiment is about to fail for that reason
    certain = planning.is_certain(plan)
    return {"certain": certain, **_shown(plan, ["waiting"] * len(plan.segments), {})}


def _states(tracker: Tracker, done: set[int], running: set[int], outcome: Json | None) -> list[str]:
    failed = set(tracker.failed) | _failed(tracker.plan, outcome or {})
    ready = set() if outcome else set(tracker.ready())

    def state(index: int, stored: bool) -> str:
        if index in done:
            return "stored" if stored else "done"
        if index in failed:
            return "failed"
        if index in running:
            return "running"
        if outcome:
            return "cancelled"
        return "queued" if index in ready else "waiting"

    return [state(i, segment.stored) for i, segment in enumerate(tracker.plan.segments)]


def _failed(plan: Plan, outcome: Json) -> set[int]:
    """An outcome names the run and the epoch at which a segment began that failed."""
    runs = {run.index: run.segments for run in plan.runs}
    return {
        i
        for failure in outcome.get("failures", [])
        for i in runs.get(failure["run"], [])
        if plan.segments[i].start == failure.get("epoch")
    }


def _shown(plan: Plan, states: list[str], reached: dict[int, int]) -> Json:
    parents: dict[int, int] = {}
    through: dict[int, list[int]] = defaultdict(list)
    for run in plan.runs:
        for before, index in zip([None, *run.segments], run.segments, strict=False):
            through[index].append(run.index)
            if before is not None:
                parents.setdefault(index, before)
    segments = [
        {
            "segment": i,
            "parent": parents.get(i),
            "start": segment.start,
            "end": segment.end,
            "runs": through[i],
            "state": states[i],
            "epoch": segment.end
            if segment.stored or states[i] == "done"
            else reached.get(i, segment.start),
        }
        for i, segment in enumerate(plan.segments)
    ]
    return {"runs": [_run(plan, run) for run in plan.runs], "segments": segments}


def _run(plan: Plan, run: RunPlan) -> Json:
    shown = ("variant", "point", "seed", "epochs", "windows", "segments")
    found = {name: getattr(run, name) for name in shown}
    pruned = {"pruning": run.pruning} if run.pruning else {}
    return {"run": run.index, "changes": plan.changes(run)} | pruned | found
