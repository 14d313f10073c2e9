"""Work that leaves a store to others for a part of the time."""

import time
from collections.abc import Callable

Tick = Callable[[], None]


def nothing() -> None:
    """A tick."""


class Pace:
    """After a piece of work rests as long as gives it `share` of the time: on a busy store, where
    everything takes longer, it also rests longer."""

    def __init__(self, share: float, tick: Tick = nothing) -> None:
        """`tick` is called at every rest."""
        self._tick = tick
        self._ratio = (1 - share) / share
        self._since = time.monotonic()

    def rest(self) -> None:
        self._tick()
        time.sleep((time.monotonic() - self._since) * self._ratio)
        self._since = time.monotonic()
