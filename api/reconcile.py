"""The reconcile loop: what is wanted against what is there. Level-triggered, so that a lost
message, a dead worker or an empty Redis heal by themselves."""

import logging
import os
import socket
import threading
import time
from typing import Any

from api import meters, outcome
from api.backlog import Backlog
from api.experiment import Experiment
from api.long_lived import LongLived
from api.lost import Lost
from api.service import Service
from api.tracker import Tracker
from api.watch import Watch
from shared import logs, planning
from shared.attempts import Attempts, History
from shared.errors import Corrupt, HubelError, NotFound, StoreUnavailable
from shared.repairs import Repairs
from shared.work import preparation_work, repair_work, work_name

log = logging.getLogger(__name__)

ASKED_IN_A_PASS = 512
"""Segments of one experiment that a pass asks the store about: others are waiting too."""


class Reconciler:
    def __init__(self, service: Service) -> None:
        self.service = service
        self.store, self.live = service.store, service.live
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{id(self):x}"
        self.damage, self.lost = service.damage, Lost(service)
        self.watch = Watch(self.store, self.live)
        self.backlog = Backlog(self.live)
        self._indexed: set[str] = set()
        self._expired: set[tuple[str, float]] = set()
        """Tries whose worker fell silent, and that are counted."""
        self._silent: dict[str, float] = {}
        """Since when nobody has held work whose last attempt has not said how it ended."""
        self._told: dict[tuple[str, int], str] = {}
        """Why a repair waits."""
        self._long_lived = LongLived()
        self.leads = False
        """Whether this process was the one that reconciles, when it last asked."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reconcile", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self.service.deletion.stop()

    def _loop(self) -> None:
        pause = self.service.settings.reconcile_seconds
        while not self._stop.wait(pause):
            try:
                self._long_lived.pass_over()
                self.damage.pass_over()
                self.service.records.catch_up()
                self.leads = self.live.lead(self.owner, 5 * pause + 5)
                meters.LEADER.set(self.leads)
                if self.leads:
                    self._pass()
            except HubelError as error:
                log.warning("reconciling waits: %s", error.detail)
            except Exception:
                log.exception("reconciling failed; it is tried again")

    def _pass(self) -> None:
        with meters.PASS.time():
            self.pass_over()
            damaged = self._mend()
            self.service.deletion.pass_over()
        meters.LAST_PASS.set_to_current_time()
        self.backlog.publish(self.watch, damaged, 5 * self.service.settings.reconcile_seconds + 15)

    def pass_over(self) -> None:
        """Look at experiments that have no outcome yet: at those where something is to be done, and
        at the others in turn."""
        self.watch.take_up()
        self._indexed = {id for id in self._indexed if id in self.watch}
        for id in self.watch.due(self.service.room):
            with logs.about(experiment=id):
                try:
                    self._try(id)
                except HubelError as error:
                    log.warning("experiment %s waits: %s", id, error.detail)
                    if not isinstance(error, StoreUnavailable):
                        self.backlog.forget(id)
                except Exception:
                    log.exception("experiment %s could not be reconciled", id)
                    self.backlog.forget(id)  # nobody can work on it: no reason for workers

    def _try(self, id: str) -> None:
        try:
            self.look_at(id)
            self.lost.forget(id)
        except Corrupt:
            self.lost.met(id)
            raise

    def look_at(self, id: str) -> None:
        experiment = self.service.experiment(id)
        with logs.about(request=experiment.accepted.request):
            self._look_at(id, experiment)

    def _look_at(self, id: str, experiment: Experiment) -> None:
        if experiment.outcome is not None:
            # Again: whoever wrote the outcome may have died before its copy.
            self.service.finish(id, experiment.outcome)
            self.watch.forget(id)
            return
        if id not in self._indexed:
            self.service.keep_twice(id)
            self.service.jobs.link(id)
            self.service.retries.link(id)
            self.service.forks.link(id)
            self.service.index.mend(id)
            self._indexed.add(id)
        if experiment.plan is None:
            missing = self._prepare(experiment)
            self.backlog.note(id, "preparing", map(preparation_work, missing))
            self.watch.note(id, [], had_room=True)
            return
        room = self.service.room()
        tracker = self.service.tracker(id)
        waiting = tracker.refresh(self.service.records, self.live, 0, ASKED_IN_A_PASS)
        self._queue_waiting(experiment, tracker, waiting, room)
        if tracker.finished():
            self._finish(experiment, outcome.of(tracker))
            self.watch.forget(id)
            return
        works = [work_name(tracker.plan.segments[i]) for i in tracker.ready()]
        self.watch.note(id, works, had_room=room > 0)
        state = "running" if tracker.has_begun(self.live) else "queued"
        self.backlog.note(id, state, works, tracker.left() - len(works))

    def _prepare(self, experiment: Experiment) -> list[str]:
        """Plan once every data set is there; until then see that somebody prepares them. Returns
        those that are not."""
        if experiment.accepted.measures is not None:
            reason = "the plan of this measurement job is gone from the store"
            self._fail(experiment, {"reason": reason})
            return []
        missing = planning.unprepared(experiment.spec, self.store)
        if not missing:
            self._plan(experiment)
        for dataset in self.live.idle(preparation_work(name) for name in missing):
            name = dataset.removeprefix(preparation_work(""))
            history = Attempts.of_preparation(self.store, experiment.id, name).history()
            if history.exhausted(self.service.settings):
                if self._is_over(dataset, history):
                    shown = history.shown()
                    self._fail(
                        experiment, shown | {"reason": f"data set '{name}': {shown['reason']}"}
                    )
            elif history.pause(self.service.settings) <= 0 and self.live.mark_queued(dataset):
                self.service.sender.prepare(experiment.id, name)
                meters.ACTIONS.labels("prepared").inc()
        return list(missing)

    def _plan(self, experiment: Experiment) -> None:
        service = self.service
        try:
            plan = planning.plan_for(
                experiment.spec, service.records, service.settings, experiment.id
            )
        except HubelError as error:
            if error.status != 422:
                raise
            self._fail(experiment, {"reason": error.detail})
            return
        service.keep_plan(experiment.id, plan)
        meters.ACTIONS.labels("planned").inc()

    def _queue_waiting(
        self, experiment: Experiment, tracker: Tracker, waiting: list[int], room: int
    ) -> None:
        """Send what can run and is neither queued nor leased, the most urgent first, as far as the
        queue has room; set aside what keeps failing."""
        works = {work_name(tracker.plan.segments[i]): i for i in waiting}
        idle = dict.fromkeys(self.live.idle(works))
        room = self._join_others(tracker, {w: works[w] for w in works if w not in idle}, room)
        if came_back := tracker.sent.intersection(works[work] for work in idle):
            self.lost.see_to_plan(experiment.id, tracker.plan)
            tracker.sent -= came_back
        for work in works.keys() - idle.keys():
            self._silent.pop(work, None)
        for work in idle:
            segment = tracker.plan.segments[works[work]]
            history = Attempts.of_segment(self.store, experiment.id, segment).history()
            self._note_expiry(work, history)
            if history.exhausted(self.service.settings):
                if self._is_over(work, history):
                    tracker.failed[works[work]] = history.shown()
                    log.error("segment %s is set aside: %s", work, history.shown()["reason"])
                    meters.ACTIONS.labels("set_aside").inc()
            elif history.pause(self.service.settings) > 0:
                continue
            elif room <= 0 or not self.service.wake(tracker, works[work]):
                return
            else:
                again = works[work] in came_back or history.attempts
                meters.ACTIONS.labels("requeued" if again else "queued").inc()
                tracker.sent.add(works[work])
                room -= 1

    def _join_others(self, tracker: Tracker, works: dict[str, int], room: int) -> int:
        """What is queued for another experiment alone is as urgent as it is for that one: it is
        sent for this one too. Returns the room that is left."""
        for work in self.live.queued_for_others(tracker.experiment, works)[:room]:
            if not self.service.wake(tracker, works[work]):
                return 0
            room -= 1
        return room

    def _note_expiry(self, work: str, history: History) -> None:
        """Nobody holds what somebody has begun and not ended. Asked again: without Redis all work
        seems to be idle, and some may have been taken up since."""
        if not history.is_open:
            return
        if (tried := (work, history.attempts[-1].started)) in self._expired:
            return
        if self.live.idle([work]) and self.live.answers():
            self._expired.add(tried)
            meters.EXPIRIES.inc()

    def _mend(self) -> list[str]:
        """Have somebody compute again what was found damaged. Returns the names of that work."""
        repairs, works = Repairs(self.store), []
        for id, index in repairs.wanted():
            try:
                if work := self._see_to(repairs, id, index):
                    works.append(work)
            except HubelError as error:
                self._once(id, index, error.detail)
            except Exception:
                log.exception("segment %d of experiment %s could not be seen to", index, id)
        return works

    def _once(self, id: str, index: int, reason: str) -> None:
        """What nobody can do is looked at in each pass and told of in the first."""
        if self._told.get((id, index)) != reason:
            self._told[id, index] = reason
            log.warning("segment %d of experiment %s waits: %s", index, id, reason)

    def _see_to(self, repairs: Repairs, id: str, index: int) -> str | None:
        """The name of the work that is to be done for it."""
        segments, settings = self.service.tracker(id).plan.segments, self.service.settings
        if index >= len(segments):
            raise NotFound(f"its plan has {len(segments)} (hubel fsck --repair removes the mark)")
        segment = segments[index]
        if not self.live.idle([work := repair_work(segment)]):
            return work
        history = Attempts.of_repair(self.store, id, index).history()
        if history.exhausted(settings) and self._is_over(work, history):
            log.error("segment %d of experiment %s cannot be mended", index, id)
            repairs.give_up(id, index, history.shown())
            return None
        if history.pause(settings) <= 0 and self.live.mark_queued(work):
            self.service.sender.repair(id, index, segment)
            meters.ACTIONS.labels("repaired").inc()
        return work

    def _is_over(self, work: str, history: History) -> bool:
        """Whether the last attempt has ended: it says so, or nobody holds the work for half a lease
        more. A worker renews its lease well within that, also where Redis forgot it."""
        if not history.is_open:
            return True
        if not self.live.answers():
            return False
        since = self._silent.setdefault(work, time.monotonic())
        return time.monotonic() - since > self.service.settings.lease_seconds / 2

    def _fail(self, experiment: Experiment, failure: dict[str, Any]) -> None:
        self._finish(experiment, outcome.ended("failed", [{"run": None, **failure}]))

    def _finish(self, experiment: Experiment, end: dict[str, Any]) -> None:
        if self.service.finish(experiment.id, end):
            meters.ACTIONS.labels("finished").inc()
            log.info("experiment %s has %s", experiment.id, end["state"])
