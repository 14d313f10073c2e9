"""What every part of a check works with: the store, what was written down of it, and findings."""

import secrets
import time
from typing import Any

from shared import names, sealed
from shared.errors import HubelError
from shared.findings import DAMAGED, REBUILT, REMOVED, Finding, Mend, Report
from shared.ledger import Ledger
from shared.pace import Pace
from shared.precious import Precious
from shared.storage import READS, Entry, Storage

GRACE_SECONDS = 3600.0
"""What is younger may belong to work under way: a segment's last object follows its first within
seconds, and an experiment's too; where the store is away in between, within
HUBEL_STORE_PATIENCE_SECONDS, which has to be less."""


class Inspection:
    def __init__(
        self,
        store: Storage,
        ledger: Ledger,
        report: Report,
        pace: Pace,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.store, self.ledger, self.report, self.pace = store, ledger, report, pace
        self.grace_seconds = grace_seconds
        self._clock = _clock(store) - time.monotonic()

    @property
    def now(self) -> float:
        """By the store's clock, which dates its objects: ours may be an hour off."""
        return self._clock + time.monotonic()

    def settled(self, modified: float) -> bool:
        return modified < self.now - self.grace_seconds

    def json(self, entry: Entry) -> Any:
        """Corrupt where it does not verify."""
        data = self.store.read(entry.name)
        self.report.tally.bytes += entry.bytes
        self.pace.rest()
        self.report.tally.unsigned += not sealed.is_sealed(data)
        try:
            return sealed.load(data)
        except ValueError:
            return self.store.read_json(entry.name)  # it may have been damaged on the way

    def digest(self, entry: Entry, expected: str) -> str:
        """Of its bytes; where it is not as expected, they may have been damaged on the way."""
        found = ""
        for _ in range(READS):
            found = self.store.digest(entry.name)
            self.report.tally.bytes += entry.bytes
            self.pace.rest()
            if found == expected:
                break
        return found

    def damaged(
        self, entry: Entry, error: Exception, expected: str, mend: Mend | None = None
    ) -> Finding:
        return self.report.finding(
            DAMAGED, entry.name, said(error), expected, mend, bytes=entry.bytes
        )

    def removal(self, name: str) -> Mend:
        def mend() -> str:
            self.store.remove(name)
            return REMOVED

        return mend

    def copying(self, name: str) -> Mend:
        def mend() -> str:
            Precious(self.store).copy(name)
            return REBUILT

        return mend

    def lost(self, entry: Entry, kind: str, found: str, parts: names.Parts) -> None:
        """Only a worker can make it again: kept until it is known which plan names it."""
        if parts.kind == "manifest":
            self.ledger.add("absent", parts.scope, parts.key)
        probe = parts.word if parts.kind == "measurement" else ""
        self.ledger.do(
            "insert or ignore into lost(scope, key, probe, object, kind, found, bytes)"
            " values(?, ?, ?, ?, ?, ?, ?)",
            parts.scope, parts.key, probe, entry.name, kind, found, entry.bytes,
        )  # fmt: skip

    def is_gone(self, name: str) -> bool:
        """A second look, at what may only have been new when its neighbours were listed."""
        return not self.store.exists(name)


def said(error: Exception) -> str:
    if isinstance(error, HubelError):
        return error.detail
    return f"{type(error).__name__}: {error}"[:500]


def _clock(store: Storage) -> float:
    name = names.probe(secrets.token_hex(8))
    try:
        store.write(name, b"")
        return store.entry(name).modified
    finally:
        store.remove(name)
