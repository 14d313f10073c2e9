"""Units of work as Redis and the store name them, and how often each was tried."""

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from shared import names
from shared.errors import NotFound, StoreUnavailable
from shared.plan import Segment
from shared.storage import Storage


def work_name(segment: Segment) -> str:
    """One name for a segment's lease, queue mark and progress, whichever experiment wants it."""
    return f"{segment.scope}{segment.key}"


def preparation_work(dataset: str) -> str:
    return f"dataset/{dataset}"


@dataclass(frozen=True)
class Attempts:
    """Tries at one piece of work for one experiment. In the store: the count survives Redis."""

    store: Storage
    prefix: str
    experiment: str

    @classmethod
    def of_segment(cls, store: Storage, experiment: str, segment: Segment) -> "Attempts":
        return cls(store, names.attempts_prefix(segment.scope, segment.key), experiment)

    @classmethod
    def of_preparation(cls, store: Storage, experiment: str, dataset: str) -> "Attempts":
        return cls(store, names.preparation_prefix(experiment, dataset), experiment)

    def count(self) -> int:
        return len(self._names())

    def begin(self, worker: str) -> str:
        name = names.attempt(self.prefix, f"{self.experiment}-{time.time_ns():020d}")
        self.store.write_json(name, {"worker": worker, "started": time.time()})
        return name

    def fail(self, name: str, reason: str) -> None:
        self.store.write_json(name, self._read(name) | {"error": reason})

    def forget(self, name: str) -> None:
        """This one was nobody's fault."""
        with contextlib.suppress(StoreUnavailable):  # then one try too many is counted
            self.store.remove(name)

    def last_has_failed(self) -> bool:
        """False while it runs, and for ever where its process was killed."""
        names = self._names()
        return bool(names) and "error" in self._read(names[-1])

    def last_reason(self) -> str:
        for name in reversed(self._names()):
            if "error" in (record := self._read(name)):
                return str(record["error"])
        return "the worker died each time without a word (killed, or out of memory)"

    def _names(self) -> list[str]:
        return list(self.store.names(f"{self.prefix}{self.experiment}-"))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return dict(self.store.read_json(name))
        except NotFound:
            return {}
