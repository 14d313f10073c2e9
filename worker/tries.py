"""One try at a piece of work: its lease, its attempt in the store, how it ended. No numerics."""

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

from shared import names
from shared.attempts import Attempts, Failure, Kind
from shared.errors import Cancelled, HubelError, NotReady, Stopped
from shared.live import Live
from shared.records import Records
from shared.settings import Settings
from worker import meters
from worker.heartbeat import Heartbeat
from worker.last_words import LastWords
from worker.machine import UNFIT, Machine
from worker.pulse import Pulse

log = logging.getLogger(__name__)

SPENT, HUNG = 70, 71
"""Exit codes of a child that another one has to take the place of."""


class Tries:
    """All of one process: of what is trained, and of what is stored meanwhile."""

    def __init__(
        self,
        settings: Settings,
        live: Live,
        records: Records,
        machine: Machine,
        pulse: Pulse,
        words: LastWords,
        supervisor: str,
        name: str,
    ) -> None:
        self.settings, self.live, self.records, self.machine = settings, live, records, machine
        self.pulse, self.words, self.supervisor, self.name = pulse, words, supervisor, name
        self.open: dict[str, tuple[Attempts, str]] = {}
        """Those under way, by work."""

    @contextmanager
    def one(
        self,
        work: str,
        experiment: str | None,
        attempts: Attempts,
        patience: int = 1,
        is_first: bool = False,
    ) -> Iterator[Heartbeat | None]:
        """Holds the lease; None where there is nothing to do now. With an experiment: unless that
        has ended. `is_first`: only if no try has failed: the next one may end this process, and
        what it is at beside this. May be left by another thread than it was entered by."""
        self.pulse.beat()
        if not self.live.take(work, self.name, held_by=self.supervisor):
            yield None
            return
        try:
            history = attempts.history()
            is_too_early = history.pause(self.settings) > 0  # a message that came twice
            is_too_early |= is_first and bool(history.attempts)
            self.records.catch_up()
            if self._ended(experiment) or history.exhausted(self.settings) or is_too_early:
                yield None
                return
            self._introduce(self.machine.device())
            with self._attempt(work, experiment, attempts, patience) as tick:
                yield tick
        finally:
            self.live.release(work, self.name)

    def _introduce(self, place: str) -> None:
        """Once: tell the parent what this process works on."""
        if self.pulse.said.get("pid") == os.getpid():
            return
        from worker import device

        about = {"pid": os.getpid(), "device": place, "uuid": device.uuid(place)}
        about |= {"name": device.describe(place)["name"], "numerics": device.numerics_class(place)}
        self.pulse.say(about)

    @contextmanager
    def _attempt(
        self, work: str, experiment: str | None, attempts: Attempts, patience: int
    ) -> Iterator[Heartbeat]:
        attempt = attempts.begin(self.name)
        self.open[work] = attempts, attempt
        hung = partial(self._hung, attempts, attempt, work)
        abandoned = partial(self._abandoned, attempts, attempt, work)
        limit = patience * self.settings.hang_seconds
        try:
            with Heartbeat(
                self.live, experiment, work, self.name, limit, hung, self.pulse,
                partial(self._ended, experiment), abandoned, self.settings.stop_seconds,
            ) as tick:  # fmt: skip
                yield tick
        except (Cancelled, NotReady, Stopped) as reason:
            log.warning("%s given back: %s", work, reason)
            meters.SEGMENTS["given_back"].inc()
        except UNFIT:
            attempts.forget(attempt)
            raise
        except Exception as error:
            log.exception("%s failed", work)
            meters.SEGMENTS["failed"].inc()
            self._write_down(attempts, attempt, error)
            raise
        finally:
            del self.open[work]
        attempts.forget(attempt)

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
            self._let_go(work)
        finally:
            os._exit(HUNG)

    def _abandoned(self, attempts: Attempts, attempt: str, work: str) -> NoReturn:
        """In the thread that watches: a step that takes minutes, or a download, holds no device for
        an experiment that was cancelled."""
        log.warning("%s was cancelled and is given up in the middle of a step", work)
        try:
            attempts.forget(attempt)
            self.live.release(work, self.name)
            self._let_go(work)
        finally:
            self.words.path.unlink(missing_ok=True)
            os._exit(SPENT)

    def _let_go(self, ended: str) -> None:
        """What else this process is at ends with it, through no fault of its own."""
        for work, (attempts, attempt) in list(self.open.items()):
            if work != ended:
                attempts.forget(attempt)
                self.live.release(work, self.name)

    def _ended(self, experiment: str | None) -> bool:
        if experiment is None:
            return False
        outcome = names.experiment_object(experiment, "outcome.json")
        return self.live.cancelled(experiment) or self.records.store.exists(outcome)


def _reason(error: Exception) -> str:
    if isinstance(error, HubelError):
        return error.detail
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error} ({Path(where.filename).name}:{where.lineno})"
