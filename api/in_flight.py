"""Idempotency-Keys that this process is at work on: one of many equal requests does the work."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from shared.errors import Conflict


class InFlight:
    def __init__(self) -> None:
        self._keys: set[tuple[str, str]] = set()
        self._lock = Lock()

    @contextmanager
    def only(self, principal: str, key: str) -> Iterator[None]:
        """Conflict where another thread is inside for this key."""
        with self._lock:
            if (principal, key) in self._keys:
                raise refused()
            self._keys.add((principal, key))
        try:
            yield
        finally:
            with self._lock:
                self._keys.remove((principal, key))


def refused() -> Conflict:
    error = Conflict("A request with this Idempotency-Key is still in flight: ask again")
    error.retry_after = 1
    return error
