"""Holds a lease while steps are made, and stops the work when its experiment is cancelled."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from shared.errors import Cancelled, HubelError, Stopped
from shared.live import Live
from worker.pulse import Pulse

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often a running segment renews its lease and looks at its cancel flag."""
ASK_SECONDS = 5.0
"""And how often it asks the store whether its experiment has ended: Redis may have forgotten."""
WATCH_SECONDS = 2.0
"""How often the thread looks, at least."""
ABANDON_SECONDS = 3.0
"""A step is not waited for that takes longer than this after its experiment was cancelled."""


class Heartbeat:
    """A step may take longer than a lease, so a thread renews it as well. After `hang_seconds`
    without a step it calls `hung`, once, and lets the lease go; and `abandoned` where a cancelled
    experiment is still in the middle of a step. Neither is to come back."""

    def __init__(
        self,
        live: Live,
        experiment: str | None,
        work: str,
        owner: str,
        hang_seconds: float = float("inf"),
        hung: Callable[[float], None] = lambda seconds: None,
        pulse: Pulse | None = None,
        ended: Callable[[], bool] = lambda: False,
        abandoned: Callable[[], None] = lambda: None,
        stop_seconds: float = float("inf"),
    ) -> None:
        self.live, self.experiment, self.work, self.owner = live, experiment, work, owner
        self.stepped = time.monotonic()
        self.looked = 0.0
        self._hang_seconds, self._hung, self._pulse = hang_seconds, hung, pulse or Pulse()
        self._ask, self._asked, self._ended = ended, self.stepped, False
        self._abandoned, self._stop_seconds = abandoned, stop_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

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
        if self._is_cancelled():
            raise Cancelled("the experiment was cancelled")
        if self._pulse.stopping_for() > self._stop_seconds:
            raise Stopped("this worker was asked to stop")

    def _is_cancelled(self) -> bool:
        return self._ended or (self.experiment is not None and self.live.cancelled(self.experiment))

    def _watch(self) -> None:
        looked, silent, cancelled = time.monotonic(), 0.0, 0.0
        pause = min(self.live.lease_ms / 4000, self._hang_seconds / 4, WATCH_SECONDS)
        while not self._over.wait(pause):
            now, stepped = time.monotonic(), self.stepped
            # What passes while this process is stopped as a whole is no hang.
            passed = min(now - max(looked, stepped), 2 * pause)
            silent = passed if stepped > looked else silent + passed
            looked = now
            if silent > self._hang_seconds:
                self._hung(silent)
                return
            self._pulse.beat()
            self.live.renew(self.work, self.owner)
            self._ask_now_and_then(now)
            cancelled = cancelled + passed if self._is_cancelled() else 0.0
            if cancelled > ABANDON_SECONDS and silent > ABANDON_SECONDS:
                self._abandoned()
                return

    def _ask_now_and_then(self, now: float) -> None:
        if now - self._asked < ASK_SECONDS:
            return
        self._asked = now
        with suppress(HubelError):
            self._ended = self._ask()
