"""What the service does with experiments, without HTTP: accept, plan, look up, cancel, list."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from api import listing, meters, outcome, status
from api.acceptance import Acceptance
from api.courier import Courier
from api.crowd import Crowd
from api.damage import Damage
from api.deletion import Deletion
from api.deliveries import Deliveries
from api.experiment import Accepted, Experiment
from api.forks import Forks
from api.index import Index
from api.measurements import Jobs
from api.outcomes import Outcomes
from api.quotas import Quotas
from api.remarks import Remarks
from api.retry import Retries
from api.statuses import Statuses
from api.tracker import Tracker
from api.webhooks import Webhooks
from shared import moments, names, planning, stored_spec
from shared.cache import Cache
from shared.errors import Conflict, Corrupt, NotFound, TooNew
from shared.live import Live
from shared.part import Part
from shared.plan import Plan
from shared.precious import Precious
from shared.queue import Sender
from shared.records import Records
from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.tokens import LOCAL, Principal

SENT_AT_ONCE = 64
"""Segments queued while the client waits; the reconcile loop sends the rest."""
MOST_QUEUED = 1000
"""Messages in the queue at most: what waits beyond it costs Redis nothing, however much it is."""

LINKS = ("measures", "submitted_by", "retries", "forks", "forked_at", "request")
"""What is stored with a spec beside it."""
ACCEPTED_SIZE = 9_500
"""Of one in memory, with few seeds."""
ACCEPTED_BYTES, TRACKED_BYTES = 128 << 20, 256 << 20
"""Memory for what was asked for, and for plans with what is known of their segments."""


class Service:
    """One a process, used by all its threads."""

    def __init__(self, records: Records, live: Live, sender: Sender, settings: Settings) -> None:
        self.records, self.store = records, records.store
        self.live, self.sender, self.settings = live, sender, settings
        self.jobs, self.quotas = Jobs(self), Quotas(self)
        self.acceptance, self.retries = Acceptance(self), Retries(self)
        self.forks = Forks(self)
        self.damage = Damage(self)
        self.crowd = Crowd(live)
        self.index, self.outcomes = Index(self.store), Outcomes(self.store)
        self.remarks, self.deletion = Remarks(self), Deletion(self)
        courier = Courier(settings.webhook_private)
        self.webhooks = Webhooks(self.store, courier)
        self.deliveries = Deliveries(self.store, self.webhooks, courier)
        self.statuses = Statuses(self.status, self.outcomes, self.remarks.changed_since)
        self._accepted: Cache[Accepted] = Cache(ACCEPTED_BYTES)
        self._trackers: Cache[Tracker] = Cache(TRACKED_BYTES)

    # --- accept ---

    def dry_run(self, spec: ExperimentSpec) -> Plan:
        """The plan, with nothing stored or queued."""
        return planning.plan_for(spec, self.records, self.settings)

    def accept(
        self,
        spec: ExperimentSpec,
        principal: Principal = LOCAL,
        idempotency_key: str | None = None,
        retries: str | None = None,
        plan: Callable[[str], Plan] | None = None,
    ) -> tuple[Experiment, bool]:
        """The experiment, and whether this call made it (False: the first answer again). `retries`
        is the experiment that it tries again, and then `plan` makes the plan."""
        stored = {"given": given(spec), "accepted": spec.model_dump(mode="json")}
        body = given(spec) if retries is None else {"retries": retries}

        def planned(id: str) -> Plan:
            return planning.plan_for(spec, self.records, self.settings, id)

        def write(id: str, plan: Plan) -> Experiment:
            return self.acceptance.write(id, stored, plan, principal, retries)

        return self.acceptance.once(body, principal, idempotency_key, plan or planned, write)

    def keep_plan(self, id: str, plan: Plan) -> None:
        """The first plan of an experiment stands. Its data sets are marked as in use before."""
        for digest in {config["dataset"]["digest"] for config in plan.configs}:
            self.store.write(names.dataset_use(digest, id), b"")
        stored = plan.model_dump()
        if Precious(self.store).create(names.experiment_object(id, "plan.json"), stored):
            self._keep_tracker(id, plan)
            if self.accepted(id).measures is None:
                meters.planned(plan)

    def keep_twice(self, id: str) -> None:
        """What was accepted; by an earlier version, or a process that died, perhaps once."""
        for part in ("spec.json", "plan.json"):
            with contextlib.suppress(NotFound):
                Precious(self.store).keep_twice(names.experiment_object(id, part))

    def queue(self, experiment: Experiment) -> None:
        """Send what can run, to begin with; the reconcile loop sees to the rest."""
        if experiment.plan is None:
            for dataset in planning.unprepared(experiment.spec, self.store):
                self.sender.prepare(experiment.id, dataset)
            return
        tracker = self.tracker(experiment.id)
        for index in tracker.ready()[: min(self.room(), SENT_AT_ONCE)]:
            if not self.wake(tracker, index):
                return

    def wake(self, tracker: Tracker, index: int) -> bool:
        plan, seconds = tracker.plan, tracker.urgency[index]
        return self.sender.wake(self.live, tracker.experiment, index, plan, seconds)

    def room(self) -> int:
        """Messages that the queue has room for."""
        return max(0, MOST_QUEUED - (self.live.queue_length() or 0))

    # --- look up ---

    def experiment(self, id: str) -> Experiment:
        accepted = self.accepted(id)  # first: an id that nobody gave out may name no moment
        return Experiment(
            id=id,
            created=moments.at(names.created(id)),
            accepted=accepted,
            plan=self.plan(id),
            outcome=self.outcome(id),
        )

    def accepted(self, id: str) -> Accepted:
        if id in self.deletion:
            raise NotFound(f"There is no experiment {id}: it was deleted")
        if (kept := self._accepted.get(id)) is not None:
            return kept
        try:
            return self.keep_accepted(
                id, Precious(self.store).find(names.experiment_object(id, "spec.json"))
            )
        except NotFound:
            raise NotFound(f"There is no experiment {id}") from None

    def plan(self, id: str) -> Plan | None:
        """None while a data set is being prepared."""
        with contextlib.suppress(NotFound):
            return self.tracker(id).plan
        return None

    def plan_left(self, id: str) -> Plan | None:
        """None also where an experiment has ended and its plan is lost: how is known without."""
        try:
            return self.plan(id)
        except Corrupt:
            if self.outcome(id) is None:
                raise
            return None

    def outcome(self, id: str) -> dict[str, Any] | None:
        return self.outcomes.of(id)

    def tracker(self, id: str) -> Tracker:
        """Progress of an experiment that has a plan."""
        if (kept := self._trackers.get(id)) is not None:
            return kept
        return self._keep_tracker(id, self.records.plan(id))

    def tracked(self, id: str) -> Tracker | None:
        """The same, if it is at hand."""
        return self._trackers.get(id)

    def _keep_tracker(self, id: str, plan: Plan) -> Tracker:
        tracker = Tracker(id, plan)
        return self._trackers.keep(id, tracker, tracker.bytes())

    def keep_accepted(self, id: str, stored: dict[str, Any]) -> Accepted:
        """In memory."""
        spec = stored_spec.read(id, stored)
        links = {name: stored.get(name) for name in LINKS}
        found = Accepted(spec, stored["accepted"], **links)
        return self._accepted.keep(id, found, ACCEPTED_SIZE + 100 * len(spec.seeds))

    # --- status ---

    def status(self, id: str) -> dict[str, Any]:
        accepted, ended = self.accepted(id), self.outcome(id) or {}
        plan = self.plan_left(id)
        about = {
            "id": id,
            "name": accepted.spec.name,
            "state": ended.get("state", "preparing"),
            "created": moments.at(names.created(id)),
            "finished": ended.get("finished"),
            **status.NO_PROGRESS,
            "failures": ended.get("failures", []),
            "plan": None,
            **self.remarks.of(id),
            "measures": accepted.measures,
            "submitted_by": accepted.submitted_by,
            "retries": accepted.retries,
            "forks": accepted.forks,
            "forked_at": accepted.forked_at,
        }
        if plan is None:
            return about
        tracker = self._followed(id, ended or None)
        about |= status.progress(tracker, self.live, self.crowd, ended)
        return about | {"plan": status.plan_summary(plan)}

    def run_states(self, id: str) -> list[str]:
        experiment = self.experiment(id)
        if experiment.plan is None:
            return []
        ended = experiment.outcome["state"] if experiment.outcome else None
        tracker = self._followed(id, experiment.outcome)
        return tracker.run_states(ended, set(tracker.running(self.live)))

    def done_segments(self, id: str) -> set[int]:
        return set(self._followed(id, self.outcome(id)).done)

    def _followed(self, id: str, ended: dict[str, Any] | None) -> Tracker:
        """The tracker, up to date to a second; with nothing left out once there is an outcome."""
        tracker = self.tracker(id)
        if ended is None:
            tracker.refresh(self.records, self.live)
        else:
            tracker.end(ended, self.records, self.live)
        return tracker

    # --- end, list ---

    def finish(self, id: str, outcome: dict[str, Any]) -> bool:
        """Write the outcome, once. False where there is another. The marker goes last: until then
        the reconcile loop does the rest, whoever dies on the way."""
        ours = self.outcomes.write(id, outcome)
        if (ended := outcome if ours else self.outcome(id)) is not None:
            self.webhooks.tell(id, ended, again=not ours)
            self.store.remove(names.active_marker(id))
        if ours:
            meters.ENDED.labels(outcome["state"]).inc()
        return ours

    def cancel(self, id: str) -> dict[str, Any]:
        """End it now; what is stored stays. Again: no change. After another end: Conflict.
        Returns the outcome."""
        self.accepted(id)
        ours = self.outcome(id) is None and self.finish(id, self._cancelled(id))
        found = self.outcome(id)
        if found is None:  # the store refused ours for another that is on its way
            error = Conflict("The experiment is just ending: ask again")
            error.retry_after = 1
            raise error
        if not ours and found["state"] != "cancelled":
            raise Conflict(f"The experiment has {found['state']}: it cannot be cancelled")
        self.live.cancel(id)
        return found

    def _cancelled(self, id: str) -> dict[str, Any]:
        try:
            tracker = self.tracker(id)
            tracker.settle(self.records, self.live)
        except NotFound:
            return outcome.cancelled(None)
        except (Corrupt, TooNew):  # what cannot be read can be ended
            return outcome.ended("cancelled", [])
        return outcome.cancelled(tracker, self.live.counted_epochs(id) or 0)

    def page(
        self,
        page_size: int,
        token: str | None = None,
        state: str | None = None,
        tags: Sequence[str] = (),
        name: str | None = None,
    ) -> listing.Page:
        return listing.page(self, page_size, token, listing.Filter(state, tags, name))


def given(part: Part) -> dict[str, Any]:
    """What a body set, without the defaults."""
    return part.model_dump(mode="json", exclude_unset=True)
