"""What a worker's parent and its child tell each other, in memory that both see. Without a lock:
either may be killed at any moment, and a lock would stay with it for ever."""

import time
from multiprocessing.sharedctypes import RawValue

_LOOK_SECONDS = 0.2


class Pulse:
    """Made before the fork. The child beats; the parent says that it stops."""

    def __init__(self) -> None:
        self._beats = RawValue("Q", 0)
        self._stop = RawValue("d", 0.0)

    def beat(self) -> None:
        self._beats.value += 1

    @property
    def beats(self) -> int:
        return int(self._beats.value)

    def stop(self) -> None:
        """By a clock that all processes of a machine share. The first time counts."""
        self._stop.value = self._stop.value or time.monotonic()

    def is_stopping(self) -> bool:
        return bool(self._stop.value)

    def stopping_for(self) -> float:
        """Seconds since this worker was asked to stop; 0 where it was not."""
        return time.monotonic() - self._stop.value if self._stop.value else 0.0

    def rest(self, seconds: float) -> None:
        """Alive, until this worker is asked to stop."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.is_stopping():
            self.beat()
            time.sleep(_LOOK_SECONDS)
