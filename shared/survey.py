"""Walks over a store, reads what it passes, and writes down what is there.

In an order in which nothing is looked for before whoever names it was read: experiments, segments,
measurements, blobs. What looks missing afterwards may only be new: whoever uses this asks again.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from shared import names
from shared.chain import Manifest
from shared.errors import Corrupt, HubelError, NotFound
from shared.findings import DAMAGED, REMOVED, Finding, Mend, Report
from shared.ledger import Ledger
from shared.names import Parts
from shared.pace import Pace
from shared.plan import Plan
from shared.spec import ExperimentSpec
from shared.storage import Entry, Storage

PREFIXES = (names.ACTIVE, names.INDEX, names.CLAIMS, "tokens/", "webhooks/", names.DATASETS)
DAMAGED_PLAN = 2
"""In the column `plan`: 0 none, 1 whole."""

Handler = Callable[[Entry, Parts], Finding | None]


class Survey:
    def __init__(self, store: Storage, ledger: Ledger, report: Report, pace: Pace) -> None:
        self.store, self.ledger, self.report, self.pace = store, ledger, report, pace
        self._handlers: dict[str, Handler] = {
            "spec": self._spec,
            "plan": self._plan,
            "outcome": self._outcome,
            "link": self._link,
            "index": self._marked,
            "active": self._marked,
            "dataset use": self._marked,
            "claim": self._claim,
            "manifest": self._manifest,
            "within": self._within,
            "collected": self._collected,
            "attempt": self._attempt,
            "measurement": self._measurement,
            "blob": self._blob,
            "dataset file": lambda entry, parts: None,  # by the manifest that names it
        }
        self.quick = False

    def everything(self, quick: bool) -> Iterator[Finding]:
        self.quick = quick
        for prefix in (names.EXPERIMENTS, *PREFIXES, names.SEGMENTS, names.MEASUREMENTS):
            yield from self.walk(prefix)
        yield from self.walk(names.BLOBS)

    def walk(self, prefix: str) -> Iterator[Finding]:
        for entry in self.store.entries(prefix):
            self.report.tally.objects += 1
            parts = names.parts(entry.name)
            try:
                finding = self._handlers.get(parts.kind, self._other)(entry, parts)
            except NotFound:  # removed since it was listed
                continue
            if finding is not None:
                yield finding

    # --- reading ---

    def _json(self, entry: Entry) -> Any:
        value = self.store.read_json(entry.name)
        self.report.tally.bytes += entry.bytes
        self.pace.rest()
        return value

    def _damaged(
        self, entry: Entry, error: Exception, expected: str, mend: Mend | None = None
    ) -> Finding:
        return self.report.finding(
            DAMAGED, entry.name, _said(error), expected, mend, bytes=entry.bytes
        )

    def _removal(self, name: str) -> Mend:
        def mend() -> str:
            self.store.remove(name)
            return REMOVED

        return mend

    # --- experiments ---

    def _experiment(self, entry: Entry, parts: Parts, column: str, value: Any) -> None:
        self.ledger.do(
            "insert or ignore into experiment(id, spec, plan, modified) values(?, 0, 0, ?)",
            parts.id,
            entry.modified,
        )
        self.ledger.do(f"update experiment set {column} = ? where id = ?", value, parts.id)  # noqa: S608

    def _spec(self, entry: Entry, parts: Parts) -> Finding | None:
        self._experiment(entry, parts, "spec", 1)
        try:
            stored = self._json(entry)
            ExperimentSpec.model_validate(stored["given"])
            self._experiment(entry, parts, "measures", stored.get("measures"))
        except (Corrupt, ValidationError, KeyError, TypeError) as error:
            return self._damaged(
                entry, error, "the accepted spec: nothing else says what was asked. Restore it"
                " from a backup",
            )  # fmt: skip
        return None

    def _plan(self, entry: Entry, parts: Parts) -> Finding | None:
        """What is damaged is planned again once it is known what is stored."""
        self._experiment(entry, parts, "plan", 1)
        try:
            Plan.model_validate(self._json(entry))
        except (Corrupt, ValidationError) as error:
            self._experiment(entry, parts, "plan", DAMAGED_PLAN)
            self.ledger.add("marked", "damaged plan", parts.id, _said(error))
        return None

    def _outcome(self, entry: Entry, parts: Parts) -> Finding | None:
        self._experiment(entry, parts, "outcome", "damaged")
        try:
            self._experiment(entry, parts, "outcome", str(self._json(entry)["state"]))
        except (Corrupt, KeyError, TypeError) as error:
            return self._damaged(
                entry, error, "how it ended, which is written once: restore it from a backup"
            )
        return None

    def _link(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            self._json(entry)
            self.ledger.add("marked", "link", parts.id, parts.word)
        except Corrupt as error:
            mend = self._removal(entry.name)
            return self._damaged(entry, error, "a link to a measurement job: linked again", mend)
        return None

    def _marked(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("marked", parts.kind, parts.id, parts.key)
        return None

    def _claim(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            id = str(self._json(entry)["id"])
            self.ledger.add("marked", "claim", id, f"{parts.word} {entry.modified}")
        except (Corrupt, KeyError, TypeError) as error:
            return self._damaged(
                entry, error, "the body's digest and the id behind an Idempotency-Key. Removing"
                " it would let that key make a second experiment",
            )  # fmt: skip
        return None

    # --- segments ---

    def _manifest(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            found = Manifest.model_validate(self._json(entry))
            if found.key != parts.key:
                raise Corrupt(f"it is the manifest of state {found.key}")
            names.blob(found.checkpoint), names.blob(found.metrics)
        except (HubelError, ValidationError) as error:
            if isinstance(error, HubelError) and not isinstance(error, Corrupt):
                raise
            self.lost(entry, DAMAGED, _said(error), parts)
            return None
        self.ledger.add(
            "manifest", parts.scope, parts.key, found.parent, found.start, found.end,
            found.checkpoint, found.metrics,
        )  # fmt: skip
        return None

    def _within(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            target = str(self._json(entry)["segment"])
            self.ledger.add("pointer", parts.scope, parts.key, target, entry.modified)
        except (Corrupt, KeyError, TypeError) as error:
            mend = self._removal(entry.name)
            return self._damaged(entry, error, "a pointer to a segment: made again of plans", mend)
        return None

    def _collected(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("collected", parts.scope, parts.key)
        return None

    def _attempt(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("attempt", entry.name, parts.scope, parts.key, parts.id)
        try:
            self._json(entry)
        except Corrupt as error:
            return self._damaged(entry, error, "a failed try", self._removal(entry.name))
        return None

    def _measurement(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("measured", parts.scope, parts.key, parts.word)
        try:
            found = self._json(entry)
            if (found["key"], "values" in found) != (parts.key, True):
                raise Corrupt(f"it is of state {found['key']}")
        except (Corrupt, KeyError, TypeError) as error:
            self.lost(entry, DAMAGED, _said(error), parts, parts.word)
        return None

    # --- blobs ---

    def _blob(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("blob", parts.key, entry.bytes, entry.modified)
        if self.quick or (found := self._digest(entry)) == parts.key:
            return None
        named = "select scope, key from manifest where checkpoint = ? or metrics = ?"
        for scope, key in self.ledger.rows(named, parts.key, parts.key):
            said = f"{entry.bytes} bytes with the digest {found}"
            self.lost(entry, DAMAGED, said, Parts("blob", scope, key=key))
        return None

    def _digest(self, entry: Entry) -> str:
        digest = self.store.digest(entry.name)
        self.report.tally.bytes += entry.bytes
        self.pace.rest()
        return digest

    def _other(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            if entry.name.endswith(".json"):
                self._json(entry)
        except Corrupt as error:
            return self._damaged(entry, error, "a JSON object")
        return None

    def lost(self, entry: Entry, kind: str, found: str, parts: Parts, probe: str = "") -> None:
        """Only a worker can make it again: kept until it is known which plan names it."""
        self.ledger.do(
            "insert or ignore into lost(scope, key, probe, object, kind, found, bytes)"
            " values(?, ?, ?, ?, ?, ?, ?)",
            parts.scope, parts.key, probe, entry.name, kind, found, entry.bytes,
        )  # fmt: skip


def _said(error: Exception) -> str:
    if isinstance(error, HubelError):
        return error.detail
    return f"{type(error).__name__}: {error}"[:500]
