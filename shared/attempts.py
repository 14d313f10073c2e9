"""How often a piece of work was tried for one experiment, how each try ended, and when to try
again. In the store: the count survives Redis."""

import contextlib
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shared import names
from shared.errors import Corrupt, NotFound, StoreUnavailable
from shared.plan import Segment
from shared.settings import Settings
from shared.storage import Storage

LONGEST_PAUSE = 300.0
"""Seconds between two tries, at most."""
SAME_TIME = 1.0
"""Seconds by which the clocks of machines that keep time may differ."""
VANISHED = "the worker vanished in the middle of it, with the process that watches over it"

Kind = Literal["error", "died", "hung", "infrastructure"]
"""The first three are the work's own: it raised, ended its process, or made no step."""


@dataclass(frozen=True)
class Failure:
    """How a try ended that did not succeed."""

    kind: Kind
    error: str
    """Its class, or the signal."""
    message: str
    log: str = ""
    """The end of what the worker said during this try."""


@dataclass(frozen=True)
class Attempt:
    started: float
    worker: str
    ended: float | None
    failure: Failure | None
    """None: it runs, or its worker vanished."""


class History:
    """All tries at one piece of work that did not succeed, oldest first."""

    def __init__(self, attempts: list[Attempt]) -> None:
        self.attempts = attempts

    @property
    def is_open(self) -> bool:
        """The last one runs, as far as anybody has written down."""
        return bool(self.attempts) and self.attempts[-1].ended is None

    def exhausted(self, settings: Settings) -> bool:
        own = sum(a.failure is not None and a.failure.kind != "infrastructure"
                  for a in self.attempts)  # fmt: skip
        others = len(self.attempts) - own
        return own >= settings.max_attempts or others >= settings.max_infrastructure_attempts

    def pause(self, settings: Settings) -> float:
        """Seconds from now until it is tried again: longer after each failure."""
        if not self.attempts:
            return 0.0
        last = self.attempts[-1]
        pause = min(LONGEST_PAUSE, settings.retry_seconds * 2.0 ** (len(self.attempts) - 1))
        ago = time.time() - (last.ended or last.started)
        # Clocks of two machines: by one that is behind, nothing could be tried for so long.
        return 0.0 if ago < -SAME_TIME else pause - ago

    def shown(self) -> dict[str, Any]:
        """Of the last one, as a failure is told."""
        if not self.attempts:
            return {"reason": "it was never tried"}
        failure = self.attempts[-1].failure or Failure("infrastructure", "WorkerVanished", VANISHED)
        return {
            "reason": f"{failure.error}: {failure.message}",
            "kind": failure.kind,
            "error": failure.error,
            "message": failure.message,
            "attempts": len(self.attempts),
        }


@dataclass(frozen=True)
class Attempts:
    """Tries at one piece of work for one experiment."""

    store: Storage
    prefix: str
    experiment: str

    @classmethod
    def of_segment(cls, store: Storage, experiment: str, segment: Segment) -> "Attempts":
        name = segment.scope, segment.key, segment.only_measures
        return cls(store, names.attempts_prefix(*name), experiment)

    @classmethod
    def of_preparation(cls, store: Storage, experiment: str, dataset: str) -> "Attempts":
        return cls(store, names.preparation_prefix(experiment, dataset), experiment)

    @classmethod
    def of_repair(cls, store: Storage, experiment: str, index: int) -> "Attempts":
        return cls(store, names.repair_attempts_prefix(experiment, index), experiment)

    def history(self) -> History:
        """One question where there was none, which is nearly always."""
        read = [self._read(name) for name in self._names()]
        return History([_attempt(record) for record in read if record])

    def begin(self, worker: str) -> str:
        """A try is written down before it starts: a process that is killed cannot say so."""
        name = names.attempt(self.prefix, f"{self.experiment}-{time.time_ns():020d}")
        self.store.write_json(name, {"worker": worker, "started": time.time()})
        return name

    def fail(self, name: str, failure: Failure) -> None:
        ended = {"ended": time.time(), "failure": asdict(failure)}
        self.store.write_json(name, self._read(name) | ended)

    def forget(self, name: str) -> None:
        """This one succeeded, or was nobody's fault."""
        with contextlib.suppress(StoreUnavailable):  # then one try too many is counted
            self.store.remove(name)

    def open_of(self, supervisor: str) -> tuple[str, str] | None:
        """The try under way by a child of this process: its name, and the worker's."""
        for name in reversed(self._names()):
            record = self._read(name)
            worker = str(record.get("worker", ""))
            if "ended" not in record and worker.startswith(f"{supervisor}:"):
                return name, worker
        return None

    def _names(self) -> list[str]:
        return list(self.store.names(f"{self.prefix}{self.experiment}-"))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return dict(self.store.read_json(name))
        except (NotFound, Corrupt):
            return {}


def _attempt(record: dict[str, Any]) -> Attempt:
    """Also of before failures had classes: then there is an `error` alone."""
    failure = record.get("failure")
    if failure is None and "error" in record:
        failure = {"kind": "error", "error": "Error", "message": record["error"]}
    return Attempt(
        started=record.get("started", 0.0),
        worker=record.get("worker", ""),
        ended=record.get("ended", record.get("started") if "error" in record else None),
        failure=None if failure is None else Failure(**failure),
    )
