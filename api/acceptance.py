"""How an experiment is accepted: once for each Idempotency-Key, and whole or not at all."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from api import meters
from api.in_flight import InFlight, refused
from shared import logs, names, planning, schedule
from shared.errors import Conflict, Corrupt, Invalid, NotFound
from shared.plan import Plan
from shared.precious import Precious
from shared.tokens import Principal

if TYPE_CHECKING:
    from api.experiment import Experiment
    from api.service import Service

Json = dict[str, Any]

IN_FLIGHT_SECONDS = 10.0
"""A claimed Idempotency-Key without an experiment is half done after this, and is completed."""


class Acceptance:
    """One a service, used by all its threads."""

    def __init__(self, service: "Service") -> None:
        self.service, self.store = service, service.store
        self._in_flight = InFlight()

    def once(
        self,
        body: Json,
        principal: Principal,
        key: str | None,
        plan: Callable[[str], Plan],
        write: Callable[[str, Plan], "Experiment"],
    ) -> tuple["Experiment", bool]:
        """What `write` makes of an id and its `plan`, and whether this call made it (False: the
        first answer again, for two questions to the store). Planned before the key is claimed, so
        that what is refused leaves its key free."""
        ours = names.new_experiment_id()
        if key is None:
            return write(ours, plan(ours)), True
        if (first := self._made(body, principal.id, key)) is not None:
            return self.service.experiment(first), False
        with self._in_flight.only(principal.id, key):
            planned = plan(ours)
            id = self._claim(body, principal.id, key, ours)
            if self.store.exists(names.index_entry(id)):
                return self.service.experiment(id), False
            # Completing what another began: a plan may hold the id.
            return write(id, planned if id == ours else plan(id)), True

    def write(
        self, id: str, stored: Json, plan: Plan, by: Principal, retries: str | None = None
    ) -> "Experiment":
        """The index entry last: it says that the experiment was accepted whole."""
        service = self.service
        service.quotas.charge(by, id, plan.device_seconds)
        links = {} if retries is None else {"retries": retries}
        versions = [config["training_version"] for config in plan.configs]
        stored = stored | {"submitted_by": {"id": by.id, "name": by.name}} | links
        stored |= {"training_version": max(versions), "request": logs.current("request")}
        created = Precious(self.store).create(names.experiment_object(id, "spec.json"), stored)
        if created:
            meters.ACCEPTED.inc()
            service.keep_accepted(id, stored)
        if planning.is_certain(plan):
            service.keep_plan(id, plan)
        self.store.write(names.active_marker(id), b"")
        service.jobs.link(id)
        service.retries.link(id)
        service.forks.link(id)
        service.index.write(id)
        if created:
            service.outcomes.none_yet(id)
        experiment = service.experiment(id)
        service.queue(experiment)
        return experiment

    def _made(self, body: Json, principal: str, key: str) -> str | None:
        """The experiment that this key made. None: it made none yet, or one that is half done."""
        try:
            id = self._first(names.idempotency(principal, key), body)
        except NotFound:
            return None
        if self.store.exists(names.index_entry(id)):
            return id
        if self.service.deletion.deletions.has(id):
            raise Conflict(
                f"The experiment {id} that was made with this Idempotency-Key has been deleted: to"
                " submit it again, use a new key"
            )
        return None

    def _claim(self, body: Json, principal: str, key: str, id: str) -> str:
        """The id that this key stands for: ours if we are the first to use it."""
        name = names.idempotency(principal, key)
        if Precious(self.store).create(name, {"body": schedule.digest(body), "id": id}):
            return id
        first = self._first(name, body)
        if first == id:  # ours: of two conditional writes at once a store may refuse both answers
            return id
        is_fresh = names.age_of(first) < IN_FLIGHT_SECONDS
        if is_fresh and not self.store.exists(names.index_entry(first)):
            raise refused()
        return first

    def _first(self, name: str, body: Json) -> str:
        """The id that was claimed under this name, for the same body."""
        try:
            first = Precious(self.store).read(name)
        except Corrupt as error:
            raise Corrupt(
                f"What this Idempotency-Key stands for is lost ({error.detail}): look for the"
                " experiment in the list, and submit it with a new key where it is not there"
            ) from error
        if first["body"] != schedule.digest(body):
            raise Invalid(
                "This Idempotency-Key was used with another body: use a new key for a new body"
            )
        return str(first["id"])
