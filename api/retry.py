"""An experiment tried again after it failed or was cancelled: a new one of the same spec, linked to
the old one both ways, for which all that is stored is free."""

import asyncio
from typing import TYPE_CHECKING

from api.measurements import asked_of
from shared import names, planning
from shared.errors import Conflict
from shared.measurements import LaterMeasurements
from shared.plan import Plan
from shared.spec import ExperimentSpec
from shared.tokens import LOCAL, Principal

if TYPE_CHECKING:
    from api.experiment import Accepted, Experiment
    from api.service import Service


class Retries:
    """One a service, used by all its threads."""

    def __init__(self, service: "Service") -> None:
        self.service, self.store = service, service.store

    def accept(
        self, id: str, principal: Principal = LOCAL, idempotency_key: str | None = None
    ) -> tuple["Experiment", bool]:
        """The new experiment, and whether this call made it (False: the first answer again).
        Attempts are counted for each experiment, so that what kept failing gets new ones."""
        service, old = self.service, self._ended_badly(id)
        measured = old.measures
        if measured is not None:
            asked = LaterMeasurements.model_validate(asked_of(old.shown))
            body = {"retries": id}
            return service.jobs.accept_as(body, measured, asked, principal, idempotency_key, id)
        return service.accept(
            old.spec, principal, idempotency_key, id, lambda made: self._plan(id, old.spec, made)
        )

    def link(self, id: str) -> None:
        """Note beside the old experiment that this one tries it again. Again: no change."""
        old = self.service.accepted(id).retries
        if old is not None:
            self.store.write(names.retry(old, id), b"")

    async def polled(self, id: str, state: str) -> list[str]:
        """Those that try an experiment again, oldest first. Before it has ended badly there can be
        none, and the store is not asked."""
        return await asyncio.to_thread(self.of, id) if state in ("failed", "cancelled") else []

    def of(self, id: str) -> list[str]:
        return [names.experiment_of(name) for name in self.store.names(names.retries(id))]

    def _ended_badly(self, id: str) -> "Accepted":
        self.service.outcomes.of(id, now=True)  # another process may have ended it just now
        state = self.service.status(id)["state"]
        if state == "succeeded":
            raise Conflict(
                "The experiment has succeeded: there is nothing to retry. To train all of it anew,"
                ' submit its spec with "reuse": false'
            )
        if state not in ("failed", "cancelled"):
            raise Conflict(
                f"The experiment is {state}: only what has failed or was cancelled can be retried."
                f" Wait for its end, or cancel it"
            )
        return self.service.accepted(id)

    def _plan(self, old: str, spec: ExperimentSpec, made: str) -> Plan:
        """Without reuse, the runs keep the names that they had: those that are done stay done."""
        service = self.service
        before = service.plan_left(old)
        scopes = [segment.scope for segment in before.segments] if before else []
        named = next(map(names.namesake, scopes), None)
        return planning.plan_for(
            spec, service.records, service.settings, named or made, again=named is not None
        )
