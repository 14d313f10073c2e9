"""What a worker's parent and its child tell each other, in memory that both see. Without a lock:
either may be killed at any moment, and a lock would stay with it for ever."""

import json
import time
from collections.abc import Sequence
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any

_LOOK_SECONDS = 0.2
_SAID_BYTES = 1000


class Pulse:
    """Made before the fork. The child beats; the parent says that it stops."""

    def __init__(self) -> None:
        self._beats = RawValue("Q", 0)
        self._stop = RawValue("d", 0.0)
        self._rests = RawValue("b", 0)
        self._said = RawArray("c", _SAID_BYTES)
        self._at = RawArray("q", 2)
        self._work = RawArray("c", _SAID_BYTES)

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

    def say(self, about: dict[str, Any]) -> None:
        """Of the child: its process, its device."""
        text = json.dumps(about).encode()
        if len(text) < _SAID_BYTES:
            self._said.value = text

    @property
    def said(self) -> dict[str, Any]:
        """Nothing before it was said, or while it is being said."""
        try:
            return dict(json.loads(self._said.value))
        except ValueError:
            return {}

    def note_at(self, segments: Sequence[int], work: str = "") -> None:
        """Of the child: places in the plan of what it trains, and of what it stores meanwhile; the
        name of the first."""
        self._work.value = work.encode()[: _SAID_BYTES - 1]
        for i in range(len(self._at)):
            self._at[i] = segments[i] + 1 if i < len(segments) else 0

    @property
    def at(self) -> list[int]:
        return [place - 1 for place in self._at if place]

    @property
    def work(self) -> str:
        return bytes(self._work.value).decode()

    @property
    def is_unfit(self) -> bool:
        return bool(self._rests.value)

    def note_fitness(self, is_fit: bool) -> None:
        self._rests.value = not is_fit

    def rest(self, seconds: float) -> None:
        """Alive, until this worker is asked to stop."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.is_stopping():
            self.beat()
            time.sleep(_LOOK_SECONDS)
