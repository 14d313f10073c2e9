"""The reconcile loop: what is wanted against what is there. Level-triggered, so that a lost
message, a dead worker or an empty Redis heal by themselves."""

import logging
import os
import socket
import threading
from datetime import UTC, datetime
from typing import Any

from api.service import Experiment, Service
from api.tracker import Tracker
from shared import names, planning
from shared.errors import HubelError
from shared.work import Attempts, preparation_work, work_name

log = logging.getLogger(__name__)


class Reconciler:
    def __init__(self, service: Service) -> None:
        self.service = service
        self.store, self.live = service.store, service.live
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{id(self):x}"
        self._indexed: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reconcile", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _loop(self) -> None:
        pause = self.service.settings.reconcile_seconds
        while not self._stop.wait(pause):
            try:
                if self.live.lead(self.owner, 5 * pause + 5):
                    self.pass_over()
            except HubelError as error:
                log.warning("reconciling waits: %s", error.detail)
            except Exception:
                log.exception("reconciling failed; it is tried again")

    def pass_over(self) -> None:
        """Look at every experiment that has no outcome yet."""
        for marker in self.store.names(names.ACTIVE):
            id = names.experiment_of(marker)
            try:
                self.look_at(id)
            except HubelError as error:
                log.warning("experiment %s waits: %s", id, error.detail)
            except Exception:
                log.exception("experiment %s could not be reconciled", id)

    def look_at(self, id: str) -> None:
        experiment = self.service.experiment(id)
        if experiment.outcome is not None:
            self.store.remove(names.active_marker(id))
            return
        if id not in self._indexed:
            self.store.write(names.index_entry(id), b"")
            self._indexed.add(id)
        if experiment.plan is None:
            self._prepare(experiment)
            return
        tracker = self.service.tracker(id)
        tracker.refresh(self.service.records, at_most_every=0)
        self._queue_ready(experiment, tracker)
        if tracker.finished():
            self._finish(experiment, self._outcome(experiment, tracker))

    def _prepare(self, experiment: Experiment) -> None:
        """Plan once every data set is there; until then see that somebody prepares them."""
        missing = planning.unprepared(experiment.spec, self.store)
        if not missing:
            self._plan(experiment)
        for dataset in self.live.idle(preparation_work(name) for name in missing):
            name = dataset.removeprefix(preparation_work(""))
            attempts = Attempts.of_preparation(self.store, experiment.id, name)
            if attempts.count() >= self.service.settings.max_attempts:
                reason = f"data set '{name}': {attempts.last_reason()}"
                self._finish(experiment, _ended("failed", [{"run": None, "reason": reason}]))
            elif self.live.mark_queued(dataset):
                self.service.sender.prepare(experiment.id, name)

    def _plan(self, experiment: Experiment) -> None:
        service = self.service
        try:
            plan = planning.plan_for(
                experiment.spec, service.records, service.settings, experiment.id
            )
        except HubelError as error:
            if error.status != 422:
                raise
            self._finish(experiment, _ended("failed", [{"run": None, "reason": error.detail}]))
            return
        service.keep_plan(experiment.id, plan)

    def _queue_ready(self, experiment: Experiment, tracker: Tracker) -> None:
        """Send what can run and is neither queued nor leased; set aside what keeps failing."""
        ready = {work_name(tracker.plan.segments[i]): i for i in tracker.ready()}
        for work in self.live.idle(ready):
            index = ready[work]
            segment = tracker.plan.segments[index]
            attempts = Attempts.of_segment(self.store, experiment.id, segment)
            if attempts.count() >= self.service.settings.max_attempts:
                tracker.failed[index] = attempts.last_reason()
                log.error("segment %s is set aside: %s", work, tracker.failed[index])
            elif self.live.mark_queued(work):
                self.service.sender.train(experiment.id, index)

    def _outcome(self, experiment: Experiment, tracker: Tracker) -> dict[str, Any]:
        failures = tracker.failures()
        outcome = _ended("failed" if failures else "succeeded", failures)
        return outcome | {"epochs": self._epochs(experiment, tracker)}

    def _epochs(self, experiment: Experiment, tracker: Tracker) -> dict[str, int]:
        """What was planned, and what manifests say that this experiment trained itself."""
        trained = 0
        for index in tracker.done & set(tracker.todo):
            segment = tracker.plan.segments[index]
            if segment.stored:
                continue
            for manifest in self.service.records.spanning(
                segment.scope, segment.key, segment.start
            ):
                if manifest.provenance["experiment"] == experiment.id:
                    trained += manifest.end - max(manifest.start, segment.start)
        return tracker.plan.epochs.model_dump() | {"trained": trained}

    def _finish(self, experiment: Experiment, outcome: dict[str, Any]) -> None:
        name = names.experiment_object(experiment.id, "outcome.json")
        if self.store.create_json(name, outcome):
            log.info("experiment %s has %s", experiment.id, outcome["state"])
        self.store.remove(names.active_marker(experiment.id))


def _ended(state: str, failures: list[dict[str, Any]]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"state": state, "finished": now, "failures": failures}
