"""What a child does with a task: claim, look again, run, store, wake what follows. No numerics.

torch is imported inside the child process only, at its first task.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from celery import Celery

from shared import logs, numbers, urgency
from shared.attempts import Attempts
from shared.errors import HubelError, NotReady
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
from worker import allocator
from worker.heartbeat import Heartbeat
from worker.last_words import LastWords, supervisor_name
from worker.machine import UNFIT, Machine
from worker.pulse import Pulse
from worker.storing import Storing
from worker.tries import SPENT, Tries

if TYPE_CHECKING:
    from worker.bench import Bench
    from worker.segment import Performed
    from worker.train import Trainer

log = logging.getLogger(__name__)

DOWNLOADS = 6
"""A download may be silent for this many times as long as a step."""
PLANS = 8
"""In memory, with how urgent their segments are."""
IN_PLACE_SECONDS = 60.0
"""A worker goes on along one path for so long where others wait."""
MUCH_MORE = 2.0
"""Times as much behind another segment of the experiment: a worker goes to that one at once."""


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
        self.storing = Storing()
        own = (self.machine, pulse, self.words, self.supervisor, self.name)
        self.tries = Tries(settings, self.live, self.records, *own)
        self.at: list[int] = []
        """Places in the plan: of what is trained, then of what is stored meanwhile."""
        self._noting = Lock()
        pulse.note_at(self.at)

    # --- one piece of work ---

    def train(self, experiment: str, index: int) -> None:
        """A segment, and in place what follows on it."""
        with self._guarded(), self.storing:
            self._train_along(experiment, index)

    def _train_along(self, experiment: str, index: int) -> None:
        """Ends before its memory is given back."""
        plan, began = self.plan(experiment), time.monotonic()
        here: int | None = index
        trainer: Trainer | None = None
        while here is not None:
            trainer = self._train(experiment, plan, here, trainer)
            here = self._next(experiment, plan, here, began) if trainer else None

    def _train(
        self, experiment: str, plan: Plan, index: int, trainer: "Trainer | None"
    ) -> "Trainer | None":
        """One segment, on a trainer that is where it begins, if there is one: it is in the state at
        the end then, and storing that has begun. None where it did not come to that."""
        segment = plan.segments[index]
        work = work_name(segment)
        logs.at_work(segment=work)
        attempts = Attempts.of_segment(self.store, experiment, segment)
        with ExitStack() as stack:
            stack.enter_context(self._noted(index, work))
            is_first = trainer is not None
            trying = self.tries.one(work, experiment, attempts, is_first=is_first)
            tick = stack.enter_context(trying)
            if tick is None:
                return None
            performed = self._perform(experiment, plan, segment, tick, trainer)
            if not self.storing.wait(tick):
                raise NotReady("the state that it was trained from is not in the store")
            until_stored = stack.pop_all()
            self.storing.begin(
                lambda: self._store(experiment, plan, index, performed, until_stored)
            )
            return performed.trainer
        return None  # given back

    def _store(
        self,
        experiment: str,
        plan: Plan,
        index: int,
        performed: "Performed",
        until_stored: ExitStack,
    ) -> bool:
        """In the thread that stores: whether what follows in place may be stored too."""
        segment, is_stored, is_ours = plan.segments[index], False, False
        work = work_name(segment)
        with logs.about(segment=work):
            with until_stored:
                is_ours, is_stored = performed.store(), True
                if performed.done:
                    ends = {"start": segment.start, "end": segment.end, "epoch": segment.end}
                    self.live.report(work, ends | {"done": True})
            if is_stored and performed.done:
                try:
                    self._wake_children(experiment, plan, index)
                except HubelError as error:
                    log.warning("the reconcile loop sends what follows: %s", error.detail)
        return is_ours

    def _next(self, experiment: str, plan: Plan, index: int, began: float) -> int | None:
        """What to go on with in place: of what begins where this ended, that behind which most
        waits; unless much more waits behind something else. For a while only: of equal runs the one
        that has begun is always the least urgent."""
        done = plan.segments[index]
        following = [i for i in plan.children(index) if _follows(plan.segments[i], done)]
        if self.pulse.is_stopping() or not following:
            return None
        waits = self.urgency(experiment)
        child = max(following, key=waits.__getitem__)
        is_long = time.monotonic() - began > IN_PLACE_SECONDS
        _, most = self.live.most_urgent(experiment) or (child, 0.0)
        if most > waits[child] * (1 if is_long else MUCH_MORE):
            return None
        return None if is_long and self.live.others_wait(experiment) else child

    @contextmanager
    def _noted(self, index: int, work: str) -> Iterator[None]:
        """For the parent: what to show, and where to look when this process has died."""
        with self._noting:
            self.at.insert(0, index)
            self.pulse.note_at(self.at, work)
        try:
            yield
        finally:
            with self._noting:
                self.at.remove(index)
                self.pulse.note_at(self.at, self.pulse.work if self.at else "")

    def prepare(self, experiment: str, dataset: str) -> None:
        from worker.preparation import prepare

        attempts = Attempts.of_preparation(self.store, experiment, dataset)
        trying = self.tries.one(preparation_work(dataset), experiment, attempts, DOWNLOADS)
        with self._guarded(), trying as tick:
            if tick is not None:
                prepare(dataset, self.store, self.settings)

    def repair(self, experiment: str, index: int) -> None:
        from worker.segment import mend

        with self._guarded():
            plan = self.plan(experiment)
            segment, is_done = plan.segments[index], False
            attempts = Attempts.of_repair(self.store, experiment, index)
            with self.tries.one(repair_work(segment), None, attempts) as tick:
                if tick is not None:
                    is_done = mend(self._bench(experiment, plan, segment, tick), plan, segment)
            if is_done:
                Repairs(self.store).done(experiment, index)

    # --- what is left of this process after it ---

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """One task's failure is its own: the next one finds a sound process."""
        try:
            with self.words:
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
        finally:
            allocator.give_back()

    def _perform(
        self,
        experiment: str,
        plan: Plan,
        segment: Segment,
        tick: Heartbeat,
        trainer: "Trainer | None",
    ) -> "Performed":
        from worker.segment import perform

        bench = self._bench(experiment, plan, segment, tick, counted=True)
        return perform(bench, plan, segment, trainer)

    def _bench(
        self,
        experiment: str,
        plan: Plan,
        segment: Segment,
        tick: Heartbeat,
        counted: bool = False,
    ) -> "Bench":
        """What is counted is part of the experiment's progress. A repair is not: that may have
        ended long ago."""
        from worker import datasets_cache, device, graph
        from worker.bench import Bench

        config = plan.configs[segment.config]
        check_version(config)
        place = self.machine.device()
        work, report = tick.work, {"start": segment.start, "end": segment.end}

        def after_epoch(row: dict[str, Any], seconds: float) -> None:
            if counted:
                self.live.count_epoch(experiment)
                self.live.tell_epoch(work, row["epoch"], numbers.storable(row))
            self.live.report(work, report | {"epoch": row["epoch"], "seconds_per_epoch": seconds})

        self.live.report(work, report | {"epoch": segment.start})
        return Bench(
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

    def _wake_children(self, experiment: str, plan: Plan, index: int) -> None:
        left = self.urgency(experiment)
        for child in sorted(plan.children(index), key=lambda child: -left[child]):
            if child in self.at:  # in place
                continue
            if not plan.segments[child].stored and self._can_begin(plan.segments[child]):
                self.sender.wake(self.live, experiment, child, plan, left[child])

    def _can_begin(self, segment: Segment) -> bool:
        """Whether the other states that it waits for are there."""
        if not segment.only_measures:
            return True
        states = [(segment.scope, segment.parent), *segment.needs]
        return all(self.records.manifest(*state) is not None for state in states)


def _follows(segment: Segment, done: Segment) -> bool:
    """Whether all that it waits for is the state at the other's end."""
    begins, ends = (segment.scope, segment.parent), (done.scope, done.key)
    waits = segment.stored or segment.only_measures or segment.needs
    return not waits and begins == ends and segment.start > 0
