"""What a child does with a task: claim, look again, run, store, wake what follows. No numerics.

torch is imported inside the child process only, at its first task.
"""

import logging
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NoReturn

from celery import Celery

from shared import logs, names, numbers, urgency
from shared.attempts import Attempts, Failure, Kind
from shared.errors import Cancelled, HubelError, NotReady, Stopped
from shared.live import Live
from shared.plan import Plan, Segment
from shared.queue import Sender
from shared.records import Records
from shared.repairs import Repairs
from shared.schedule import check_version
from shared.settings import Settings
from shared.storage import Storage
from shared.store_failures import is_no_room
from shared.work import preparation_work, repair_work, work_name
from worker import allocator, meters
from worker.heartbeat import Heartbeat
from worker.last_words import LastWords, supervisor_name
from worker.machine import UNFIT, Machine
from worker.pulse import Pulse

log = logging.getLogger(__name__)

DOWNLOADS = 6
"""A download may be silent for this many times as long as a step."""
PLANS = 8
"""In memory, with how urgent their segments are."""
SPENT, HUNG = 70, 71
"""Exit codes of a child that another one has to take the place of."""


class Crew:
    """What one worker process keeps warm over many tasks."""

    def __init__(self, settings: Settings, app: Celery, pulse: Pulse) -> None:
        # torch takes seconds: before any lease is taken
        from worker import segment  # noqa: F401

        allocator.keep_freed()
        self.settings = settings
        self.pulse = pulse
        self.live = Live(settings)
        self.records = Records(Storage(settings))
        self.store = self.records.store
        self.sender = Sender(app)
        self.machine = Machine(settings, self.store, pulse)
        self.supervisor = supervisor_name(os.getppid())
        self.name = f"{self.supervisor}:{os.getpid()}"
        logs.at_work(worker=self.name)
        self.words = LastWords(settings)
        self.plan = lru_cache(maxsize=PLANS)(self.records.plan)
        self.urgency = lru_cache(maxsize=PLANS)(lambda id: urgency.remaining(self.plan(id)))

    # --- one piece of work ---

    def train(self, experiment: str, index: int) -> None:
        with self._guarded():
            plan = self.plan(experiment)
            segment = plan.segments[index]
            attempts = Attempts.of_segment(self.store, experiment, segment)
            run = partial(self._run, experiment, plan, segment)
            if self._take(work_name(segment), experiment, attempts, run):
                self._wake_children(experiment, plan, index)

    def prepare(self, experiment: str, dataset: str) -> None:
        from worker.preparation import prepare

        def run(_: Heartbeat) -> bool:
            prepare(dataset, self.store, self.settings)
            return True

        with self._guarded():
            attempts = Attempts.of_preparation(self.store, experiment, dataset)
            self._take(preparation_work(dataset), experiment, attempts, run, DOWNLOADS)

    def repair(self, experiment: str, index: int) -> None:
        from worker.segment import mend

        with self._guarded():
            plan = self.plan(experiment)
            segment = plan.segments[index]
            attempts = Attempts.of_repair(self.store, experiment, index)
            run = partial(self._run, experiment, plan, segment, how=mend)
            if self._take(repair_work(segment), None, attempts, run):
                Repairs(self.store).done(experiment, index)

    def _take(
        self,
        work: str,
        experiment: str | None,
        attempts: Attempts,
        run: Callable[[Heartbeat], bool],
        patience: int = 1,
    ) -> bool:
        """True where all of it is done. With an experiment: unless that has ended."""
        self.pulse.beat()
        if not self.live.take(work, self.name, held_by=self.supervisor):
            return False
        try:
            history = attempts.history()
            is_too_early = history.pause(self.settings) > 0  # a message that came twice
            self.records.catch_up()
            if self._ended(experiment) or history.exhausted(self.settings) or is_too_early:
                return False
            self._introduce(self.machine.device())
            return self._attempt(work, experiment, attempts, run, patience)
        finally:
            self.live.release(work, self.name)
            allocator.give_back()

    def _introduce(self, place: str) -> None:
        """Once: tell the parent what this process works on."""
        if self.pulse.said.get("pid") == os.getpid():
            return
        from worker import device

        about = {"pid": os.getpid(), "device": place, "uuid": device.uuid(place)}
        about |= {"name": device.describe(place)["name"], "numerics": device.numerics_class(place)}
        self.pulse.say(about)

    def _attempt(
        self,
        work: str,
        experiment: str | None,
        attempts: Attempts,
        run: Callable[[Heartbeat], bool],
        patience: int,
    ) -> bool:
        attempt = attempts.begin(self.name)
        hung = partial(self._hung, attempts, attempt, work)
        abandoned = partial(self._abandoned, attempts, attempt, work)
        limit = patience * self.settings.hang_seconds
        with self.words:
            try:
                with Heartbeat(
                    self.live, experiment, work, self.name, limit, hung, self.pulse,
                    partial(self._ended, experiment), abandoned, self.settings.stop_seconds,
                ) as tick:  # fmt: skip
                    done = run(tick)
            except (Cancelled, NotReady, Stopped) as reason:
                log.warning("%s given back: %s", work, reason)
                done = False
                meters.SEGMENTS["given_back"].inc()
            except UNFIT:
                attempts.forget(attempt)
                raise
            except Exception as error:
                log.exception("%s failed", work)
                meters.SEGMENTS["failed"].inc()
                self._write_down(attempts, attempt, error)
                raise
        attempts.forget(attempt)
        return done

    def _write_down(self, attempts: Attempts, attempt: str, error: Exception) -> None:
        """A store that is away meanwhile is no reason to go on in a process that may be unsound."""
        kind: Kind = "infrastructure" if self.machine.is_at_fault(error) else "error"
        failure = Failure(kind, type(error).__name__, _reason(error), self.words.tail())
        try:
            attempts.fail(attempt, failure)
        except HubelError as away:
            log.warning("how %s failed was not written down: %s", attempt, away.detail)

    def _hung(self, attempts: Attempts, attempt: str, work: str, seconds: float) -> NoReturn:
        """In the thread that watches: the one that works does not come back."""
        self.words.stacks()
        message = f"no step was made for {seconds:.0f} s (HUBEL_HANG_SECONDS)"
        log.error("%s hangs: %s", work, message)
        try:
            attempts.fail(attempt, Failure("hung", "Hang", message, self.words.tail()))
            meters.DEATHS["hung"].inc()  # else the parent counts it, when it writes this down
            self.live.release(work, self.name)
        finally:
            os._exit(HUNG)

    def _abandoned(self, attempts: Attempts, attempt: str, work: str) -> NoReturn:
        """In the thread that watches: a step that takes minutes, or a download, holds no device for
        an experiment that was cancelled."""
        log.warning("%s was cancelled and is given up in the middle of a step", work)
        try:
            attempts.forget(attempt)
            self.live.release(work, self.name)
        finally:
            self.words.path.unlink(missing_ok=True)
            os._exit(SPENT)

    # --- what is left of this process after it ---

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """One task's failure is its own: the next one finds a sound process."""
        try:
            yield
        except UNFIT as error:
            self.machine.rest(error)
        except HubelError as error:
            log.error("%s", error.detail)
        except Exception as error:
            if is_no_room(error):
                self.machine.rest(error)
                return
            # Memory, a CUDA context, a library: nobody knows what it left behind.
            log.exception("this process ends, another one takes its place")
            logging.shutdown()
            os._exit(SPENT)

    def _ended(self, experiment: str | None) -> bool:
        if experiment is None:
            return False
        outcome = names.experiment_object(experiment, "outcome.json")
        return self.live.cancelled(experiment) or self.store.exists(outcome)

    def _run(
        self,
        experiment: str,
        plan: Plan,
        segment: Segment,
        tick: Heartbeat,
        how: Callable[..., bool] | None = None,
    ) -> bool:
        from worker import datasets_cache, device, graph
        from worker.bench import Bench
        from worker.segment import execute

        config = plan.configs[segment.config]
        check_version(config)
        place = self.machine.device()
        work, report = tick.work, {"start": segment.start, "end": segment.end}

        def after_epoch(row: dict[str, Any], seconds: float) -> None:
            if how is None:  # a repair is no part of the experiment, which may have ended long ago
                self.live.count_epoch(experiment)
                self.live.tell_epoch(work, row["epoch"], numbers.storable(row))
            self.live.report(work, report | {"epoch": row["epoch"], "seconds_per_epoch": seconds})

        bench = Bench(
            records=self.records,
            arrays=lambda config: datasets_cache.arrays(config, self.store, self.settings, tick),
            device=place,
            record=graph.by_cuda if place == "cuda" and self.settings.cuda_graphs else None,
            provenance={
                "experiment": experiment,
                "worker": self.name,
                "numerics": device.numerics_class(place, config["precision"]),
                "device": device.describe(place),
            },
            tick=tick,
            after_epoch=after_epoch,
            after_measuring=partial(self.live.tell_measured, work),
            stopping=self.pulse.is_stopping,
            patience_seconds=self.settings.store_patience_seconds,
        )
        self.live.report(work, report | {"epoch": segment.start})
        done = (how or execute)(bench, plan, segment)
        if done:
            self.live.report(work, report | {"epoch": segment.end, "done": True})
        return done

    def _wake_children(self, experiment: str, plan: Plan, index: int) -> None:
        left = self.urgency(experiment)
        for child in sorted(plan.children(index), key=lambda child: -left[child]):
            if not plan.segments[child].stored and self._can_begin(plan.segments[child]):
                self.sender.wake(self.live, experiment, child, plan, left[child])

    def _can_begin(self, segment: Segment) -> bool:
        """Whether the other states that it waits for are there."""
        if not segment.only_measures:
            return True
        states = [(segment.scope, segment.parent), *segment.needs]
        return all(self.records.manifest(*state) is not None for state in states)


def _reason(error: Exception) -> str:
    if isinstance(error, HubelError):
        return error.detail
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error} ({Path(where.filename).name}:{where.lineno})"
