"""What an experiment has found so far, as endpoints, comparisons and archives read it."""

from dataclasses import replace
from typing import TYPE_CHECKING

from shared.plan import Epochs, Plan
from shared.results import Results

if TYPE_CHECKING:
    from api.service import Service

_NOTHING = Plan(
    configs=[],
    probes={},
    segments=[],
    runs=[],
    epochs=Epochs(alone=0, shared=0, stored=0, new=0, replayed=0),
    device_seconds=0,
)


def results(id: str, service: "Service") -> Results:
    """While a data set is being prepared, nothing."""
    experiment = service.experiment(id)
    name = experiment.spec.name
    if experiment.plan is None:
        return Results.read(_NOTHING, service.records, id, name)
    done = service.done_segments(id)
    found = Results.read(experiment.plan, service.records, id, name, done)
    return replace(found, measures=experiment.accepted.measures)


def with_later(id: str, service: "Service", found: Results) -> Results:
    """The same, with what measurement jobs have added."""
    jobs = service.jobs.ids(id) if found.plan.runs else []
    plan, later = service.jobs.with_measured(id, found.plan, jobs)
    return replace(found, plan=plan, jobs=frozenset(jobs), later=later)
