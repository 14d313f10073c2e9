"""Measurements of an experiment that exists: each request is a job, an experiment that trains
nothing, and what jobs have measured belongs to the experiment's results."""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from api import outcome
from shared import ahead, job, names
from shared.errors import Conflict, Corrupt
from shared.measurements import LaterMeasurements, Measurements
from shared.plan import Plan, RunPlan, Segment
from shared.results import Results
from shared.tokens import LOCAL, Principal

if TYPE_CHECKING:
    from api.experiment import Experiment
    from api.service import Service

Name = tuple[str, str, str]
"""(scope, state key, probe digest) of a measurement"""

Later = tuple[int, int, str]
"""(run, epoch, probe digest)"""

MAX_NAME = 200
ENDING = ": measurements"


class Jobs:
    """One a service, used by all its threads."""

    def __init__(self, service: "Service") -> None:
        self.service, self.store = service, service.store
        self._merged = lru_cache(maxsize=64)(self._merge)
        self._never = lru_cache(maxsize=1024)(self._never_measured)

    # --- accept ---

    def plan(self, id: str, asked: LaterMeasurements) -> Plan:
        """What there would be to do, with nothing stored or queued. Conflict for an experiment that
        has no plan yet, and for a job."""
        service, measured = self.service, self.service.experiment(id)
        if measured.accepted.measures is not None:
            raise Conflict(
                f"{id} is itself a measurement job: post to the experiment that it measures, at"
                f" /v1/experiments/{measured.accepted.measures}/measurements"
            )
        if measured.plan is None:
            raise _nothing_there(measured)
        plan, reached = measured.plan, self._reached(measured)
        return job.plan_for(asked, measured.spec, plan, service.records, service.settings, reached)

    def _reached(self, experiment: "Experiment") -> dict[int, int] | None:
        """Run -> epochs that are its results, where nothing comes to them any more."""
        plan, service = experiment.plan, self.service
        assert plan is not None
        if experiment.outcome is None or experiment.outcome["state"] == "succeeded":
            return None
        done = service.done_segments(experiment.id)
        found = Results.read(plan, service.records, experiment.id, done=done)
        return {run.index: found.reached(run) for run in plan.runs}

    def accept(
        self,
        id: str,
        asked: LaterMeasurements,
        principal: Principal = LOCAL,
        idempotency_key: str | None = None,
    ) -> tuple["Experiment", bool]:
        """The job, and whether this call made it (False: the first answer again)."""
        body = {"measures": id} | asked.model_dump(mode="json", exclude_unset=True)
        return self.accept_as(body, id, asked, principal, idempotency_key)

    def accept_as(
        self,
        body: dict[str, Any],
        id: str,
        asked: LaterMeasurements,
        principal: Principal,
        idempotency_key: str | None,
        retries: str | None = None,
    ) -> tuple["Experiment", bool]:
        """`body` is what the key stands for."""
        service = self.service
        accepted = {"measures": id} | asked.model_dump(mode="json")

        def write(made: str, plan: Plan) -> "Experiment":
            stored = {"given": self._spec(id), "accepted": accepted, "measures": id}
            service.acceptance.write(made, stored, plan, principal, retries)
            tracker = service.tracker(made)
            if tracker.finished():
                service.finish(made, outcome.of(tracker))
            return service.experiment(made)

        return service.acceptance.once(
            body, principal, idempotency_key, lambda _: self.plan(id, asked), write
        )

    def link(self, id: str) -> None:
        """Note beside the experiment that a job measures it. Again: no change."""
        accepted = self.service.accepted(id)
        if accepted.measures is not None:
            link = {"id": id, "asked": accepted.shown}
            self.store.create_json(names.measurement_job(accepted.measures, id), link)

    def _spec(self, id: str) -> dict[str, Any]:
        """What the measured experiment was made of, without its own measurements."""
        spec = self.service.accepted(id).spec
        measured = {"name", *Measurements.model_fields}
        own = spec.model_dump(mode="json", exclude_unset=True, exclude=measured)
        name = f"{spec.name[: MAX_NAME - len(ENDING)]}{ENDING}" if spec.name else "measurements"
        return own | {"name": name}

    # --- look up ---

    def ids(self, id: str) -> list[str]:
        """The jobs that measure an experiment, oldest first. One question to the store."""
        return [names.job_of(name) for name in self.store.names(names.measurement_jobs(id))]

    def shown(self, id: str) -> dict[str, Any]:
        experiment = self.service.experiment(id)
        return {
            "id": id,
            "state": self.service.status(id)["state"],
            "created": experiment.created,
            "asked": asked_of(experiment.accepted.shown),
        }

    def with_measured(self, id: str, plan: Plan, jobs: list[str]) -> tuple[Plan, frozenset[Later]]:
        """The plan of an experiment with what its jobs have measured among its runs' probes, and
        that alone."""
        jobs = [job for job in jobs if self._is_planned(job)]
        if not jobs:
            return plan, frozenset()
        return self._merged(id, tuple((job, self._pending(job)) for job in jobs))

    def _is_planned(self, id: str) -> bool:
        """Not one that ended because its plan was lost: what it asked for nobody knows."""
        try:
            return self.service.plan(id) is not None
        except Corrupt:
            ended = self.service.outcome(id)
            if ended is None or ended["state"] == "succeeded":
                raise
            return False

    def _merge(
        self, id: str, jobs: tuple[tuple[str, frozenset[Name]], ...]
    ) -> tuple[Plan, frozenset[Later]]:
        plan = self.service.plan(id)
        assert plan is not None
        probes = dict(plan.probes)
        asked = {run.index: dict.fromkeys(run.probes) for run in plan.runs}
        later: set[Later] = set()
        for id, pending in jobs:
            made = self.service.plan(id)
            assert made is not None
            probes |= made.probes
            for run in made.runs:
                found = list(_measured(made, run, pending))
                asked[run.index] |= dict.fromkeys(found)
                later |= {(run.index, epoch, digest) for epoch, _, digest in found}
        runs = [
            run.model_copy(update={"probes": sorted(asked[run.index], key=lambda one: one[0])})
            for run in plan.runs
        ]
        return plan.model_copy(update={"probes": probes, "runs": runs}), frozenset(later)

    def _pending(self, id: str) -> frozenset[Name]:
        """What a job was to measure and has not: nobody has to be asked for it."""
        ended = self.service.outcome(id)
        if ended is None:
            return frozenset(self._undone(id))
        return frozenset() if ended["state"] == "succeeded" else self._never(id)

    def _never_measured(self, id: str) -> frozenset[Name]:
        """Of a job that ended early. Of a segment that was not finished, a part may be there."""
        left = list(self._undone(id))
        there = ahead.each(lambda name: self.service.records.measured(*name), left)
        return frozenset(name for name, found in zip(left, there, strict=True) if not found)

    def _undone(self, id: str) -> Iterator[Name]:
        done, plan = self.service.done_segments(id), self.service.plan(id)
        assert plan is not None
        for index, segment in enumerate(plan.segments):
            if index not in done:
                yield from _names(segment)


def asked_of(accepted: dict[str, Any]) -> dict[str, Any]:
    """Of a job: what its body said, with every default."""
    return {name: value for name, value in accepted.items() if name != "measures"}


def _names(segment: Segment) -> Iterator[Name]:
    for epoch, digest in segment.probes:
        yield segment.scope, segment.state(epoch), digest


def _measured(made: Plan, run: RunPlan, pending: frozenset[Name]) -> Iterator[tuple[int, str, str]]:
    scope = made.scope(run)
    for epoch, key, digest in run.probes:
        if (scope, key, digest) not in pending:
            yield epoch, key, digest


def _nothing_there(experiment: "Experiment") -> Conflict:
    if experiment.outcome is not None:
        return Conflict(
            f"The experiment has {experiment.outcome['state']} before anything was trained: there"
            " is nothing to measure"
        )
    error = Conflict("The experiment is still being prepared: there is nothing to measure yet")
    error.retry_after = 2
    return error
