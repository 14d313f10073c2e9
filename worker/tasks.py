"""Celery tasks: claim, look again, run, store, wake the children. No numerics here.

torch is imported inside the child process only, at its first task.
"""

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from celery import Celery

from shared import names
from shared.errors import Cancelled, HubelError, NotReady, StoreUnavailable
from shared.live import Live
from shared.plan import Plan, Segment
from shared.queue import PREPARE, TRAIN, Sender
from shared.records import Records
from shared.settings import Settings
from shared.storage import Storage
from shared.work import Attempts, preparation_work, work_name

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often a running segment renews its lease and looks at its cancel flag."""
STEP_SECONDS = 600.0
"""A step that takes longer than this is taken for a hang."""
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """No device is held by an orphan: the kernel ends this process when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Crew:
    """What one worker process keeps warm over many tasks."""

    def __init__(self, settings: Settings, app: Celery, stopping: Any) -> None:
        from worker import segment  # noqa: F401 - torch takes seconds: before any lease is taken

        self.settings = settings
        self.stopping = stopping
        self.live = Live(settings)
        self.records = Records(Storage(settings))
        self.store = self.records.store
        self.sender = Sender(app)
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.plan = lru_cache(maxsize=8)(self._plan)

    def _plan(self, experiment: str) -> Plan:
        return Plan.model_validate(
            self.store.read_json(names.experiment_object(experiment, "plan.json"))
        )

    def train(self, experiment: str, index: int) -> None:
        plan = self.plan(experiment)
        segment = plan.segments[index]
        work = work_name(segment)
        if not self.live.take(work, self.name):
            return
        try:
            with _Heartbeat(self.live, experiment, work, self.name) as tick:
                done = not self._ended(experiment) and self._attempt(
                    experiment, plan, segment, tick
                )
            if done:
                self._wake_children(experiment, plan, index)
        finally:
            self.live.release(work, self.name)

    def _ended(self, experiment: str) -> bool:
        outcome = names.experiment_object(experiment, "outcome.json")
        return self.live.cancelled(experiment) or self.store.exists(outcome)

    def _attempt(self, experiment: str, plan: Plan, segment: Segment, tick: "_Heartbeat") -> bool:
        """Run the segment once. An attempt is written down first: a process that is killed cannot
        say so afterwards."""
        attempts = Attempts.of_segment(self.store, experiment, segment)
        if attempts.count() >= self.settings.max_attempts:
            return False
        attempt = attempts.begin(self.name)
        try:
            done = self._run(experiment, plan, segment, tick)
            attempts.forget(attempt)
            return done
        except (Cancelled, NotReady, StoreUnavailable) as reason:
            log.warning("segment %s given back: %s", segment.key[:12], reason)
            attempts.forget(attempt)
            return False
        except Exception as error:
            log.exception("segment %s failed", segment.key[:12])
            attempts.fail(attempt, _reason(error))
            return False

    def _run(self, experiment: str, plan: Plan, segment: Segment, tick: "_Heartbeat") -> bool:
        from worker import datasets_cache, device
        from worker.segment import Bench, execute

        place = device.choose(self.settings)
        work, report = tick.work, {"start": segment.start, "end": segment.end}

        def after_epoch(epoch: int, seconds: float) -> None:
            self.live.count_epoch(experiment)
            self.live.report(work, report | {"epoch": epoch, "seconds_per_epoch": seconds})

        bench = Bench(
            records=self.records,
            arrays=lambda config: datasets_cache.arrays(config, self.store, self.settings),
            device=place,
            provenance={
                "experiment": experiment,
                "worker": self.name,
                "numerics": device.numerics_class(place),
                "device": device.describe(place),
            },
            tick=tick,
            after_epoch=after_epoch,
            stopping=self.stopping.is_set,
        )
        self.live.report(work, report | {"epoch": segment.start})
        done = execute(bench, plan, segment)
        if done:
            self.live.report(work, report | {"epoch": segment.end, "done": True})
        return done

    def _wake_children(self, experiment: str, plan: Plan, index: int) -> None:
        for child in plan.children(index):
            if not plan.segments[child].stored:
                self.sender.wake(self.live, experiment, child, plan)

    def prepare(self, experiment: str, dataset: str) -> None:
        from worker.preparation import prepare

        work = preparation_work(dataset)
        if not self.live.take(work, self.name):
            return
        attempts = Attempts.of_preparation(self.store, experiment, dataset)
        try:
            if self._ended(experiment) or attempts.count() >= self.settings.max_attempts:
                return
            attempt = attempts.begin(self.name)
            try:
                with _Heartbeat(self.live, experiment, work, self.name):
                    prepare(dataset, self.store, self.settings)
                attempts.forget(attempt)
            except StoreUnavailable:
                attempts.forget(attempt)
            except Exception as error:
                log.exception("data set %s could not be prepared", dataset)
                attempts.fail(attempt, _reason(error))
        finally:
            self.live.release(work, self.name)


class _Heartbeat:
    """Holds a lease while steps are made, and stops the work when its experiment is cancelled.

    A step may take longer than a lease, so a thread renews it as well; it gives up after
    STEP_SECONDS without a step, so that a hang is seen.
    """

    def __init__(self, live: Live, experiment: str, work: str, owner: str) -> None:
        self.live, self.experiment, self.work, self.owner = live, experiment, work, owner
        self.stepped = time.monotonic()
        self.looked = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def __call__(self) -> None:
        self.stepped = time.monotonic()
        if self.stepped - self.looked < LOOK_SECONDS:
            return
        self.looked = self.stepped
        self.live.renew(self.work, self.owner)
        if self.live.cancelled(self.experiment):
            raise Cancelled("the experiment was cancelled")

    def _renew(self) -> None:
        while not self._over.wait(self.live.lease_ms / 4000):
            if time.monotonic() - self.stepped < STEP_SECONDS:
                self.live.renew(self.work, self.owner)


def _reason(error: Exception) -> str:
    if isinstance(error, HubelError):
        return error.detail
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"


_crew: list[Crew] = []


def register(app: Celery, settings: Settings, stopping: Any) -> None:
    """Put the tasks on the app. The crew is made in the child, at its first task."""

    def crew() -> Crew:
        if not _crew:
            _crew.append(Crew(settings, app, stopping))
        return _crew[0]

    @app.task(name=TRAIN)
    def train(experiment: str, segment: int) -> None:
        crew().train(experiment, segment)

    @app.task(name=PREPARE)
    def prepare(experiment: str, dataset: str) -> None:
        crew().prepare(experiment, dataset)
