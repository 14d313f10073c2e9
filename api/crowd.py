"""Which workers are there for an experiment, as Redis has heard some seconds ago."""

import time
from collections import Counter
from threading import Lock

from shared.live import Live

LOOK_SECONDS = 5.0
"""A worker speaks as often. One question for all experiments, however many are asked about."""
HEARD_SECONDS = 12.0
"""A worker that has not spoken for so long has gone, or is about to be seen to have."""


class Crowd:
    """Thread-safe."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self._lock = Lock()
        self._looked = float("-inf")
        self._fit, self._idle, self._at = 0, 0, Counter[str]()

    def of(self, experiment: str) -> int | None:
        """How many work for it, or are free to. None: nobody can say, or there are none at all."""
        with self._lock:
            if time.monotonic() - self._looked > LOOK_SECONDS:
                self._look()
            return self._at[experiment] + self._idle if self._fit else None

    def _look(self) -> None:
        told = (self.live.workers() or {}).values()
        fit = [one for one in told if not one.get("unfit") and one["ago"] < HEARD_SECONDS]
        self._fit = len(fit)
        self._idle = sum(about["state"] == "idle" for about in fit)
        self._at = Counter(str(about["experiment"]) for about in fit if about.get("experiment"))
        self._looked = time.monotonic()
