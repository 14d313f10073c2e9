"""What the service does with experiments, without HTTP: accept, plan, look up, cancel, list."""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from api import outcome, status
from api.damage import Damage
from api.measurements import Jobs
from api.tracker import Tracker
from shared import names, planning, schedule, stored_spec
from shared.errors import Conflict, Invalid, NotFound
from shared.live import Live
from shared.part import Part
from shared.plan import Plan
from shared.queue import Sender
from shared.records import Records
from shared.settings import Settings
from shared.spec import ExperimentSpec

IN_FLIGHT_SECONDS = 10.0
"""A claimed Idempotency-Key without an experiment is half done after this, and is completed."""
SENT_AT_ONCE = 64
"""Segments queued while the client waits; the reconcile loop sends the rest."""

LOOKED_AT = 500
"""Experiments that one page of a filtered list looks at, at most."""


@dataclass(frozen=True)
class Accepted:
    """What was asked for and will not change."""

    spec: ExperimentSpec
    """Of a measurement job: what it measures was made of, under the job's name."""
    shown: dict[str, Any]
    """With every default as it was when this was accepted."""
    measures: str | None = None
    """The experiment that a measurement job measures."""


@dataclass(frozen=True)
class Experiment:
    id: str
    created: str
    accepted: Accepted
    plan: Plan | None
    """None while a data set is being prepared."""
    outcome: dict[str, Any] | None

    @property
    def spec(self) -> ExperimentSpec:
        return self.accepted.spec


class Service:
    """One a process, used by all its threads."""

    def __init__(self, records: Records, live: Live, sender: Sender, settings: Settings) -> None:
        self.records, self.store = records, records.store
        self.live, self.sender, self.settings = live, sender, settings
        self.jobs = Jobs(self)
        self.damage = Damage(self)
        self.accepted = lru_cache(maxsize=4096)(self._accepted)
        self._plan = lru_cache(maxsize=64)(self._read_plan)
        self._outcome = lru_cache(maxsize=4096)(self._read_outcome)
        self._tracker = lru_cache(maxsize=64)(self._new_tracker)

    # --- accept ---

    def dry_run(self, spec: ExperimentSpec) -> Plan:
        """The plan, with nothing stored or queued."""
        return planning.plan_for(spec, self.records, self.settings)

    def accept(
        self, spec: ExperimentSpec, principal: str = "local", idempotency_key: str | None = None
    ) -> tuple[Experiment, bool]:
        """The experiment, and whether this call made it (False: the first answer again)."""
        id = names.new_experiment_id()
        plan = planning.plan_for(spec, self.records, self.settings, id)
        if idempotency_key is not None:
            id = self.claim(given(spec), principal, idempotency_key, id)
            if self.store.exists(names.index_entry(id)):
                return self.experiment(id), False
            if not spec.reuse:  # its runs are named by the experiment
                plan = planning.plan_for(spec, self.records, self.settings, id)
        self._write(id, spec, plan)
        experiment = self.experiment(id)
        self.queue(experiment)
        return experiment, True

    def claim(self, body: dict[str, Any], principal: str, key: str, id: str) -> str:
        """The id that this key stands for: ours if we are the first to use it."""
        name = names.idempotency(principal, key)
        claim = {"body": schedule.digest(body), "id": id}
        if self.store.create_json(name, claim):
            return id
        first = self.store.read_json(name)
        if first["body"] != claim["body"]:
            raise Invalid(
                "This Idempotency-Key was used with another body: use a new key for a new body"
            )
        age = datetime.now(UTC).timestamp() - _created(first["id"]).timestamp()
        if age < IN_FLIGHT_SECONDS and not self.store.exists(names.index_entry(first["id"])):
            error = Conflict("A request with this Idempotency-Key is still in flight: ask again")
            error.retry_after = 1
            raise error
        return str(first["id"])

    def _write(self, id: str, spec: ExperimentSpec, plan: Plan) -> None:
        """The index entry last: it says that the experiment was accepted whole."""
        stored = {"given": given(spec), "accepted": spec.model_dump(mode="json")}
        self.store.create_json(names.experiment_object(id, "spec.json"), stored)
        if planning.is_certain(plan):
            self.keep_plan(id, plan)
        self.store.write(names.active_marker(id), b"")
        self.store.write(names.index_entry(id), b"")

    def keep_plan(self, id: str, plan: Plan) -> None:
        """The first plan of an experiment stands. Its data sets are marked as in use before."""
        for digest in {config["dataset"]["digest"] for config in plan.configs}:
            self.store.write(names.dataset_use(digest, id), b"")
        self.store.create_json(names.experiment_object(id, "plan.json"), plan.model_dump())

    def queue(self, experiment: Experiment) -> None:
        """Send what can run, to begin with; the reconcile loop sees to the rest."""
        if experiment.plan is None:
            for dataset in planning.unprepared(experiment.spec, self.store):
                self.sender.prepare(experiment.id, dataset)
            return
        for index in self.tracker(experiment.id).ready()[:SENT_AT_ONCE]:
            if not self.sender.wake(self.live, experiment.id, index, experiment.plan):
                return

    # --- look up ---

    def experiment(self, id: str) -> Experiment:
        return Experiment(
            id=id,
            created=_shown(_created(id)),
            accepted=self.accepted(id),
            plan=self.plan(id),
            outcome=self.outcome(id),
        )

    def plan(self, id: str) -> Plan | None:
        with contextlib.suppress(NotFound):
            return self._plan(id)
        return None

    def outcome(self, id: str) -> dict[str, Any] | None:
        with contextlib.suppress(NotFound):
            return self._outcome(id)
        return None

    def tracker(self, id: str) -> Tracker:
        """Progress of an experiment that has a plan."""
        return self._tracker(id)

    def _new_tracker(self, id: str) -> Tracker:
        return Tracker(id, self._plan(id))

    def _accepted(self, id: str) -> Accepted:
        try:
            stored = self.store.read_json(names.experiment_object(id, "spec.json"))
        except NotFound:
            raise NotFound(f"There is no experiment {id}") from None
        spec = stored_spec.read(id, stored)
        return Accepted(spec, stored["accepted"], stored.get("measures"))

    def _read_plan(self, id: str) -> Plan:
        return Plan.model_validate(self.store.read_json(names.experiment_object(id, "plan.json")))

    def _read_outcome(self, id: str) -> dict[str, Any]:
        return dict(self.store.read_json(names.experiment_object(id, "outcome.json")))

    # --- status ---

    def status(self, id: str) -> dict[str, Any]:
        experiment = self.experiment(id)
        ended = experiment.outcome or {}
        about = {
            "id": id,
            "name": experiment.spec.name,
            "state": ended.get("state", "preparing"),
            "created": experiment.created,
            "finished": ended.get("finished"),
            **status.NO_PROGRESS,
            "failures": ended.get("failures", []),
            "plan": None,
            "tags": experiment.spec.tags,
            "measures": experiment.accepted.measures,
        }
        if experiment.plan is None:
            return about
        tracker = self._followed(id, ended.get("state"))
        about |= status.progress(tracker, self.live, self.records, ended)
        return about | {"plan": status.plan_summary(experiment.plan)}

    def run_states(self, id: str) -> list[str]:
        experiment = self.experiment(id)
        if experiment.plan is None:
            return []
        ended = experiment.outcome["state"] if experiment.outcome else None
        tracker = self._followed(id, ended)
        return tracker.run_states(ended, set(tracker.running(self.live)))

    def done_segments(self, id: str) -> set[int]:
        return set(self._followed(id, self.outcome(id)).done)

    def _followed(self, id: str, ended: Any) -> Tracker:
        """The tracker, up to date to a second; with nothing left out once there is an outcome."""
        tracker = self.tracker(id)
        if ended is None:
            tracker.refresh(self.records, self.live)
        else:
            tracker.end(ended, self.records, self.live)
        return tracker

    # --- end, list ---

    def finish(self, id: str, outcome: dict[str, Any]) -> bool:
        """Write the outcome, once. False where there is another."""
        ours = self.store.create_json(names.experiment_object(id, "outcome.json"), outcome)
        self.store.remove(names.active_marker(id))
        return ours

    def cancel(self, id: str) -> Experiment:
        """End it now; what is stored stays. Again: no change. After another end: Conflict."""
        self.accepted(id)
        ours = self.finish(id, outcome.ended("cancelled", []))
        experiment = self.experiment(id)
        assert experiment.outcome is not None
        if not ours and experiment.outcome["state"] != "cancelled":
            raise Conflict(
                f"The experiment has {experiment.outcome['state']}: it cannot be cancelled"
            )
        self.live.cancel(id)
        return experiment

    def listing(
        self,
        page_size: int,
        token: str | None = None,
        state: str | None = None,
        tags: dict[str, str] | None = None,
        name: str | None = None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Newest first. `token` is the index entry after which the page starts. A page may be
        short, even empty, with more behind it: filters look at a bounded number of experiments."""
        page: list[dict[str, Any]] = []
        last = None
        for looked_at, entry in enumerate(self.store.names(names.INDEX, after=token)):
            if len(page) == page_size or looked_at == LOOKED_AT:
                return page, last
            last = entry
            id = names.experiment_of(entry)
            spec = self.accepted(id).spec
            if not (tags or {}).items() <= spec.tags.items():
                continue
            if name is not None and name.lower() not in spec.name.lower():
                continue
            status = self.status(id)
            if state is None or status["state"] == state:
                page.append(status)
        return page, None


def given(part: Part) -> dict[str, Any]:
    """What a body set, without the defaults."""
    return part.model_dump(mode="json", exclude_unset=True)


def _created(id: str) -> datetime:
    return datetime.fromtimestamp(int(id[:12], 16) / 1000, UTC)


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
