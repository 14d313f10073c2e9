"""Which experiments have a mark of some kind, of which there are few: by listing the marks."""

import time
from threading import Lock

from shared import names
from shared.errors import StoreUnavailable
from shared.storage import Storage

FRESH_SECONDS = 2.0
"""After so long a mark that another process made shows here."""
LISTED_SHARE = 0.1
"""Of the time, at most, goes into listing."""


class Marked:
    """Thread-safe. While the store is away, and while another thread asks it, what was known is
    believed."""

    def __init__(self, store: Storage, prefix: str) -> None:
        self.store, self.prefix = store, prefix
        self._found: frozenset[str] | None = None
        self._own: set[str] = set()
        self._list_at = float("-inf")
        self._listing = Lock()

    def __contains__(self, id: str) -> bool:
        if time.monotonic() >= self._list_at and self._listing.acquire(blocking=not self._found):
            try:
                self._list()
            finally:
                self._listing.release()
        return id in self._own or id in (self._found or ())

    def add(self, id: str) -> None:
        """One that this process has made."""
        self._own.add(id)

    def _list(self) -> None:
        if (begun := time.monotonic()) < self._list_at:
            return
        try:
            listed = self.store.names(self.prefix)
            self._found = frozenset(map(names.experiment_of, listed))
        except StoreUnavailable:
            if self._found is None:
                raise
        took = time.monotonic() - begun
        self._list_at = begun + max(FRESH_SECONDS, took / LISTED_SHARE)
