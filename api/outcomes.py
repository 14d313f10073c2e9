"""How experiments have ended, as far as this process has seen.

An outcome never changes, so one that was seen is not asked for again; that there is none yet is
believed for half a second."""

import contextlib
import time
from typing import Any

from shared import names
from shared.cache import Cache
from shared.errors import NotFound
from shared.precious import Precious
from shared.storage import Storage

FRESH_SECONDS = 0.5
"""After so long an outcome that another process wrote shows here."""
BYTES = 32 << 20
NONE_BYTES = 4 << 20
OUTCOME_BYTES, RANGE_BYTES, NONE_SIZE = 1200, 150, 250
"""What an entry takes in memory, without failures; each range of segments that were done."""


class Outcomes:
    """One a process, used by all its threads."""

    def __init__(self, store: Storage) -> None:
        self.store = store
        self._seen: Cache[dict[str, Any]] = Cache(BYTES)
        self._none: Cache[float] = Cache(NONE_BYTES)
        """When it was last asked and not there."""

    def seen(self, id: str) -> dict[str, Any] | None:
        """Without asking anybody."""
        return self._seen.get(id)

    def of(self, id: str, now: bool = False) -> dict[str, Any] | None:
        """`now`: that there was none a moment ago counts for nothing."""
        if (seen := self._seen.get(id)) is not None:
            return seen
        begun = time.monotonic()
        if not now and begun - (self._none.get(id) or float("-inf")) < FRESH_SECONDS:
            return None
        try:
            found = Precious(self.store).read(names.experiment_object(id, "outcome.json"))
        except NotFound:
            self._none.replace(id, begun, NONE_SIZE)
            return None
        return self._keep(id, dict(found))

    def none_yet(self, id: str) -> None:
        """This process has just made it."""
        self._none.replace(id, time.monotonic(), NONE_SIZE)

    def write(self, id: str, outcome: dict[str, Any]) -> bool:
        """Once. False where there is another, which shows here at once too."""
        name = names.experiment_object(id, "outcome.json")
        with contextlib.suppress(NotFound):
            Precious(self.store).find(name)  # one that is gone comes back from its copy
        ours = Precious(self.store).create(name, outcome)
        if ours:
            self._keep(id, outcome)
        else:
            self._none.replace(id, float("-inf"), NONE_SIZE)
        return ours

    def _keep(self, id: str, outcome: dict[str, Any]) -> dict[str, Any]:
        failures, ranges = len(outcome.get("failures", [])), len(_ranges(outcome))
        return self._seen.keep(id, outcome, OUTCOME_BYTES * (1 + failures) + RANGE_BYTES * ranges)


def _ranges(outcome: dict[str, Any]) -> list[list[int]]:
    found: list[list[int]] = outcome.get("done", {}).get("segments", [])
    return found
