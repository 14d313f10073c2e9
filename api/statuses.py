"""Statuses as pollers get them: made at most once a second for one experiment, however many ask."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

from api.lifecycle import ENDED
from api.outcomes import Outcomes
from shared.cache import Cache
from shared.errors import HubelError, StoreUnavailable

FRESH_SECONDS, OLD_SECONDS = 0.75, 1.5
"""After the first a status is made again when it is asked for, after the second it is not shown."""
BYTES = 32 << 20
STATUS_BYTES = 6000
"""Of one in memory, without failures."""
AT_ONCE, AT_ONCE_FOR_LISTS = 16, 3
"""Fifty statuses of a page made by sixteen threads would hold up those who poll one."""
PATIENCE_SECONDS = 30.0

Status = dict[str, Any]


@dataclass(frozen=True)
class Made:
    status: Status
    ended: bool
    at: float


class Statuses:
    """Made by threads of their own: a store that hangs holds up those who ask for a status, and not
    every other request. Thread-safe."""

    def __init__(
        self,
        make: Callable[[str], Status],
        outcomes: Outcomes,
        changed_since: Callable[[str, float], bool],
    ) -> None:
        self._make, self._outcomes, self._changed_since = make, outcomes, changed_since
        self._made: Cache[Made] = Cache(BYTES)
        self._making: dict[str, Future[Made]] = {}
        self._lock = Lock()
        self._makers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="status")
        self._list_makers = ThreadPoolExecutor(AT_ONCE_FOR_LISTS, thread_name_prefix="statuses")

    def of(self, id: str) -> Status:
        while True:
            made = self._kept(id) or self._result(self._ask(id))
            if self._stands(id, made):
                return made.status

    def many(self, ids: list[str], but: tuple[type[HubelError], ...]) -> list[Status | HubelError]:
        """In order; what has to be made is made at the same time. Errors of one alone, those of
        `but`, stand in its place."""
        for id in ids:
            if self._kept(id, self._list_makers) is None:
                self._ask(id, self._list_makers)
        return [self._tried(id, but) for id in ids]

    def _tried(self, id: str, but: tuple[type[HubelError], ...]) -> Status | HubelError:
        try:
            return self.of(id)
        except but as error:
            return error

    async def polled(self, id: str) -> Status:
        """The same as `of`, and whoever waits for another's status takes no thread."""
        while True:
            made = self._kept(id)
            if made is None:
                asked = asyncio.wrap_future(self._ask(id))
                # Others may wait for it too: a client that goes away does not end it.
                made = await asyncio.shield(asked)
            if self._stands(id, made):
                return made.status

    def _kept(self, id: str, makers: ThreadPoolExecutor | None = None) -> Made | None:
        """None once it is OLD. Before that it is made again behind the answer: of a hundred clients
        that poll as fast as they can none waits."""
        made = self._made.get(id)
        age = float("inf") if made is None else time.monotonic() - made.at
        if made is None or age >= OLD_SECONDS or not self._stands(id, made):
            return None
        if age >= FRESH_SECONDS:
            self._ask(id, makers)
        return made

    def _stands(self, id: str, made: Made) -> bool:
        """Not where this process has seen an outcome since it was begun: once cancelled, always.
        Nor where it has changed tags or notes since."""
        if self._changed_since(id, made.at):
            return False
        return made.ended or self._outcomes.seen(id) is None

    def _ask(self, id: str, makers: ThreadPoolExecutor | None = None) -> "Future[Made]":
        with self._lock:
            if (future := self._making.get(id)) is None:
                future = self._making[id] = (makers or self._makers).submit(self._work, id)
            return future

    def _work(self, id: str) -> Made:
        begun = time.monotonic()
        try:
            status = self._make(id)
            made = Made(status, status["state"] in ENDED, begun)
            size = STATUS_BYTES * (1 + len(status["failures"]) // 8) + len(status["notes"])
            self._made.replace(id, made, size)
            return made
        finally:
            with self._lock:
                del self._making[id]

    def _result(self, future: "Future[Made]") -> Made:
        try:
            return future.result(PATIENCE_SECONDS)
        except TimeoutError:
            raise StoreUnavailable(
                "The object store takes too long to say how far this is"
            ) from None
