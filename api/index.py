"""The list of experiments, newest first.

Its beginning is read from the store once a second at most, however many look at it."""

import time
from collections.abc import Iterator
from itertools import chain
from threading import Lock

from shared import names
from shared.storage import Storage

FRESH_SECONDS = 1.0
BEGINNING = 201
"""Entries of it: the largest page, and one more."""
OWN_SECONDS = 30.0
"""For how long an entry of ours is put into what the store says: it may have been asked before."""


class Index:
    def __init__(self, store: Storage) -> None:
        self.store = store
        self._beginning: list[str] = []
        self._is_whole = False
        self._read_at = float("-inf")
        self._own: dict[str, float] = {}
        self._lock, self._reading = Lock(), Lock()

    def write(self, id: str) -> None:
        """Says that an experiment was accepted whole; it is listed here at once."""
        entry = names.index_entry(id)
        self.store.write(entry, b"")
        with self._lock:
            self._own[entry] = time.monotonic()

    def mend(self, id: str) -> None:
        """Whoever accepted the experiment may have died just before its entry."""
        entry = names.index_entry(id)
        if entry not in self._own and entry not in self._beginning:
            self.store.write(entry, b"")

    def entries(self, after: str | None = None) -> Iterator[str]:
        """Names after `after`, newest first."""
        with self._reading:
            if time.monotonic() - self._read_at >= FRESH_SECONDS:
                self._read()
            beginning, is_whole = self._beginning, self._is_whole
        own = (e for e in self._recent() if is_whole or e < beginning[-1])
        listed = sorted(set(chain(beginning, own)))
        yield from (entry for entry in listed if after is None or entry > after)
        if not is_whole:
            last = beginning[-1] if after is None else max(beginning[-1], after)
            yield from self.store.names(names.INDEX, after=last)

    def _read(self) -> None:
        begun = time.monotonic()
        self._beginning = list(self.store.names(names.INDEX, limit=BEGINNING))
        self._is_whole = len(self._beginning) < BEGINNING
        self._read_at = begun

    def _recent(self) -> list[str]:
        now = time.monotonic()
        with self._lock:
            self._own = {e: at for e, at in self._own.items() if now - at < OWN_SECONDS}
            return list(self._own)
