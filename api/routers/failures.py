"""What was tried before a run was given up, with the words that each try left."""

from collections.abc import Iterator

from fastapi import APIRouter

from api.dependencies import ExperimentId, Json, ServiceIn
from api.errors import responses
from api.experiment import Experiment
from api.service import Service
from shared import moments, planning
from shared.attempts import Attempt, Attempts, History
from shared.plan import Plan, Segment

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])


@router.get("/{id}/failures", operation_id="experiment_failures", responses=responses(404))
def failures(id: ExperimentId, service: ServiceIn) -> Json:
    """Of each failed run every attempt: its worker, how it ended, and the end of its log. `kind` is
    `error`, `died`, `hung` or `infrastructure`; null with `ended` null: the worker vanished."""
    experiment = service.experiment(id)
    found = service.status(id)["failures"]
    return {"failures": [_shown(failure, experiment, service) for failure in found]}


def _shown(failure: Json, experiment: Experiment, service: Service) -> Json:
    histories = _histories(failure, experiment, service)
    attempts = [_attempt(attempt) for history in histories for attempt in history.attempts]
    return {"run": failure["run"], "reason": failure["reason"], "attempts": attempts}


def _histories(failure: Json, experiment: Experiment, service: Service) -> Iterator[History]:
    if failure["run"] is None:
        for dataset in planning.unprepared(experiment.spec, service.store):
            yield Attempts.of_preparation(service.store, experiment.id, dataset).history()
    elif experiment.plan is not None and "epoch" in failure:
        for segment in _at(failure["run"], failure["epoch"], experiment.plan):
            yield Attempts.of_segment(service.store, experiment.id, segment).history()


def _at(run: int, epoch: int, plan: Plan) -> Iterator[Segment]:
    """The segment of a run that begins at an epoch; also one that only measures its first state."""
    indices = next(r.segments for r in plan.runs if r.index == run)
    return (plan.segments[i] for i in indices if plan.segments[i].start == epoch)


def _attempt(attempt: Attempt) -> Json:
    failure = attempt.failure
    return {
        "started": _time(attempt.started),
        "ended": None if attempt.ended is None else _time(attempt.ended),
        "worker": attempt.worker,
        "kind": failure and failure.kind,
        "error": failure and failure.error,
        "message": failure and failure.message,
        "log": failure and failure.log,
    }


def _time(seconds: float) -> str:
    return moments.at(seconds)
