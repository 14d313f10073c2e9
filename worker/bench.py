"""What a segment is trained with, and how it waits for a store that is away."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.arrays import Arrays
from shared.errors import StoreUnavailable
from shared.records import Records
from shared.schedule import Config
from worker.graph import Record

T = TypeVar("T")
log = logging.getLogger(__name__)

LONGEST_PAUSE = 15.0
"""Seconds between two questions to a store that is away, at most."""


@dataclass(frozen=True)
class Bench:
    """What a segment is trained with."""

    records: Records
    arrays: Callable[[Config], Arrays]
    device: str
    provenance: dict[str, Any]
    """Numerics class, worker, experiment: into the manifest as it is."""
    tick: Callable[[], None]
    """Called between steps; raises to abandon the segment."""
    after_epoch: Callable[[dict[str, Any], float], None]
    """Called with what is recorded of the epoch just trained, and the seconds that it took."""
    after_measuring: Callable[[int, str], None] = lambda epoch, digest: None
    """Called with the epoch and the digest of the probe, once the measurement is stored."""
    stopping: Callable[[], bool] = lambda: False
    """True once this process was asked to stop: the segment then ends after the current epoch, or
    where `tick` raises Stopped."""
    record: Record | None = None
    """How a training step is recorded to be replayed, where it is to be."""
    patience_seconds: float = 0.0
    """How long what was computed waits for a store that does not answer."""

    def patiently(self, call: Callable[[], T]) -> T:
        """`call`, and again while the store is away: what was trained is not thrown away for it."""
        until, pause = time.monotonic() + self.patience_seconds, 1.0
        while True:
            try:
                return call()
            except StoreUnavailable as error:
                if time.monotonic() + pause > until or self.stopping():
                    raise
                log.warning("waiting for the store: %s", error)
            self._rest(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _rest(self, seconds: float) -> None:
        """The lease is kept, and a cancelled experiment is not waited for."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.tick()
            time.sleep(min(seconds, 0.5))
