"""Walks over a store, reads what it passes, and writes down what is there.

In an order in which nothing is looked for before whoever names it was read: experiments, segments,
measurements, blobs. What looks missing afterwards may only be new: whoever uses this asks again.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any

from pydantic import ValidationError

from shared import names, stored_spec
from shared.chain import Manifest
from shared.errors import Corrupt, Invalid, NotFound, TooNew
from shared.findings import DAMAGED, INCONSISTENT, MISSING, REBUILT, Finding, Mend
from shared.inspection import Inspection, said
from shared.names import Parts
from shared.plan import Plan
from shared.precious import Precious
from shared.repairs import Repairs
from shared.storage import Entry

PREFIXES = (
    names.ACTIVE, names.INDEX, names.TAGGED, names.CLAIMS, names.COPIES, names.REPAIRS,
    names.DELETING, "repair-attempts/", "tokens/", "webhooks/", names.MIRRORS, names.DATASETS,
)  # fmt: skip
KEPT_TWICE = frozenset({"spec", "plan", "outcome", "token", "claim", "tags", "webhook"})
OWN = frozenset({
    "spec", "plan", "outcome", "tags", "link", "fork", "mirror", "index", "active", "tagged",
    "repair", "dataset use",
})  # fmt: skip
"""Kinds of objects that are one experiment's alone."""
DAMAGED_PLAN = 2
"""In the column `plan`: 0 none, 1 whole."""

Handler = Callable[[Entry, Parts], Finding | None]


class Survey:
    def __init__(
        self, inspection: Inspection, quick: bool = False, unread: Collection[str] = ()
    ) -> None:
        """`quick`: the contents of blobs are not read. `unread`: kinds of objects that are passed
        by."""
        self.inspection, self.quick, self.unread = inspection, quick, unread
        self.store, self.ledger = inspection.store, inspection.ledger
        self._deleted: set[str] = set()
        self._handlers: dict[str, Handler] = {
            "spec": self._spec,
            "plan": self._plan,
            "outcome": self._outcome,
            "copy": self._copy,
            "token": self._token,
            "tags": self._tags,
            "webhook": self._webhook,
            "webhook end": self._webhook_end,
            "due": self._of_webhook,
            "delivery": self._delivery,
            "link": self._link,
            "fork": self._fork,
            "repair": self._repair,
            "index": self._marked,
            "active": self._marked,
            "tagged": self._marked,
            "deleted": self._buried,
            "dataset use": self._marked,
            "claim": self._claim,
            "mirror": self._mirror,
            "mirror position": self._mirror,
            "manifest": self._manifest,
            "within": self._within,
            "collected": self._collected,
            "attempt": self._attempt,
            "measurement": self._measurement,
            "blob": self._blob,
            "dataset": _elsewhere,
            "dataset manifest": _elsewhere,
            "dataset file": _elsewhere,
        }

    def everything(self) -> Iterator[Finding]:
        first, last = (names.DELETED, names.EXPERIMENTS), (names.SEGMENTS, names.MEASUREMENTS)
        for prefix in (*first, *PREFIXES, *last):
            yield from self.walk(prefix)
        yield from self.walk(names.BLOBS)

    def walk(self, prefix: str) -> Iterator[Finding]:
        for entry in self.store.entries(prefix):
            parts = names.parts(entry.name)
            if parts.kind in self.unread or self._is_on_its_way_out(parts):
                continue
            self.inspection.report.tally.objects += 1
            if parts.kind in KEPT_TWICE:
                self.ledger.add("marked", "kept twice", entry.name, str(entry.modified))
            try:
                finding = self._handlers.get(parts.kind, self._other)(entry, parts)
            except NotFound:  # removed since it was listed
                continue
            if finding is not None:
                yield finding

    def _is_on_its_way_out(self, parts: Parts) -> bool:
        """What is left of an experiment that was deleted."""
        own = names.parts(parts.word) if parts.kind == "copy" else parts
        return own.kind in OWN and own.id in self._deleted

    def _buried(self, entry: Entry, parts: Parts) -> Finding | None:
        self._deleted.add(parts.id)
        return self._marked(entry, parts)

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
            stored = self.inspection.json(entry)
            stored_spec.read(parts.id, stored)
            self._experiment(entry, parts, "measures", stored.get("measures"))
            if (forked := stored.get("forks")) is not None:
                self.ledger.add("marked", "forks", parts.id, forked)
        except (Corrupt, TooNew, ValidationError, KeyError, TypeError) as error:
            return self.inspection.damaged(
                entry, error, "the accepted spec: only its copy says it, too. Else restore it from"
                " a backup", self._from_copy(entry.name),
            )  # fmt: skip
        return None

    def _plan(self, entry: Entry, parts: Parts) -> Finding | None:
        """What is damaged is planned again once it is known what is stored."""
        self._experiment(entry, parts, "plan", 1)
        try:
            Plan.model_validate(self.inspection.json(entry))
        except (Corrupt, ValidationError) as error:
            self._experiment(entry, parts, "plan", DAMAGED_PLAN)
            self.ledger.add("marked", "damaged plan", parts.id, said(error))
        return None

    def _outcome(self, entry: Entry, parts: Parts) -> Finding | None:
        self._experiment(entry, parts, "outcome", DAMAGED)
        try:
            self._experiment(entry, parts, "outcome", str(self.inspection.json(entry)["state"]))
        except (Corrupt, KeyError, TypeError) as error:
            return self.inspection.damaged(
                entry, error, "how it ended, which is written once: only its copy says it, too."
                " Else restore it from a backup", self._from_copy(entry.name),
            )  # fmt: skip
        return None

    def _tags(self, entry: Entry, parts: Parts) -> Finding | None:
        self._marked(entry, parts)
        try:
            found = self.inspection.json(entry)
            if not (isinstance(found["tags"], dict) and isinstance(found["notes"], str)):
                raise Corrupt("they are no tags and no notes")
        except (Corrupt, KeyError) as error:
            return self.inspection.damaged(
                entry, error, "tags and notes: only their copy says them, too. Else set them again",
                self._from_copy(entry.name),
            )  # fmt: skip
        return None

    def _link(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            self.inspection.json(entry)
            self.ledger.add("marked", "link", parts.id, parts.word)
        except Corrupt as error:
            mend = self.inspection.removal(entry.name)
            return self.inspection.damaged(
                entry, error, "a link to a measurement job: linked again", mend
            )
        return None

    def _fork(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("marked", "fork", parts.id, parts.word)
        return None

    def _marked(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("marked", parts.kind, parts.id, parts.key)
        return None

    def _mirror(self, entry: Entry, parts: Parts) -> Finding | None:
        if parts.id:
            self.ledger.add("marked", parts.kind, parts.id, "")
        try:
            self.inspection.json(entry)
        except Corrupt as error:
            return self.inspection.damaged(
                entry, error, "how far the mirror to MLflow is: that server is asked again",
                self.inspection.removal(entry.name),
            )  # fmt: skip
        return None

    def _repair(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("marked", "repair", parts.id, parts.word)
        try:
            self.inspection.json(entry)
        except Corrupt as error:
            return self.inspection.damaged(
                entry, error, "when a repair was asked for: asked for again",
                self._asking(parts.id, int(parts.word)),
            )  # fmt: skip
        return None

    def _asking(self, id: str, index: int) -> Mend:
        def mend() -> str:
            Repairs(self.store).ask_anew(id, index)
            return REBUILT

        return mend

    def _claim(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            id = str(self.inspection.json(entry)["id"])
            self.ledger.add("marked", "claim", id, f"{parts.word} {entry.modified}")
        except (Corrupt, KeyError, TypeError) as error:
            return self.inspection.damaged(
                entry, error, "the body's digest and the id behind an Idempotency-Key: only its"
                " copy says them, too. Removing it would let that key make a second experiment",
                self._from_copy(entry.name),
            )  # fmt: skip
        return None

    def _token(self, entry: Entry, parts: Parts) -> Finding | None:
        """A token, its end, or what it was charged with."""
        try:
            self.inspection.json(entry)
        except Corrupt as error:
            return self.inspection.damaged(
                entry, error, "part of a token: only its copy says it, too. Else revoke it",
                self._from_copy(entry.name),
            )  # fmt: skip
        return None

    def _webhook(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("marked", "webhook", parts.word, "")
        try:
            self.inspection.json(entry)
        except Corrupt as error:
            return self.inspection.damaged(
                entry, error, "a webhook's URL and its secret: only its copy says them, too. Else"
                " delete it and make another", self._from_copy(entry.name),
            )  # fmt: skip
        return None

    def _webhook_end(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            self.inspection.json(entry)
        except Corrupt as error:
            removal = self.inspection.removal(entry.name)
            expected = "why a webhook is disabled or deleted: whoever wants it so says it again"
            return self.inspection.damaged(entry, error, expected, removal)
        return None

    def _delivery(self, entry: Entry, parts: Parts) -> Finding | None:
        self._of_webhook(entry, parts)
        try:
            self.inspection.json(entry)
        except Corrupt as error:
            return self.inspection.damaged(
                entry, error, "how a message was told at a webhook",
                self.inspection.removal(entry.name),
            )  # fmt: skip
        return None

    def _of_webhook(self, entry: Entry, parts: Parts) -> None:
        self.ledger.add("marked", "told", entry.name, f"{parts.word} {entry.modified}")

    def _from_copy(self, name: str) -> Mend:
        def mend() -> str:
            Precious(self.store).restore(name)
            return REBUILT

        return mend

    def _copy(self, entry: Entry, parts: Parts) -> Finding | None:
        """It says what `parts.word` says, which was written once, before it."""
        name, finding = parts.word, self.inspection.report.finding
        try:
            copied = self.inspection.json(entry)
            self.ledger.add("marked", "copy", name, "")
        except Corrupt as error:
            if self._is_planned_again(name):
                return None
            return self.inspection.damaged(
                entry, error, f"a copy of {name}", self.inspection.copying(name)
            )
        try:
            original = self.store.read_json(name)
        except Corrupt:  # found at its own place, and mended from here
            return None
        except NotFound:
            return finding(
                MISSING, name, f"nothing, and yet there is {entry.name}", "what was copied there",
                self._from_copy(name),
            )  # fmt: skip
        if copied == original or self._is_changing(name):
            return None
        return finding(
            INCONSISTENT, entry.name, f"it does not say what {name} says", "a copy of it",
            self.inspection.copying(name), entry.bytes,
        )  # fmt: skip

    def _is_changing(self, name: str) -> bool:
        """Between a change and its copy the two differ."""
        if names.parts(name).kind != "tags":
            return False
        return not self.inspection.settled(self.store.entry(name).modified)

    def _is_planned_again(self, name: str) -> bool:
        """Its copy then comes with the plan."""
        damaged = "select 1 from marked where kind = 'damaged plan' and id = ?"
        return self.ledger.has(damaged, names.parts(name).id)

    # --- segments ---

    def _manifest(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            found = Manifest.model_validate(self.inspection.json(entry))
            if found.key != parts.key:
                raise Corrupt(f"it is the manifest of state {found.key}")
            names.blob(found.checkpoint), names.blob(found.metrics)
        except (Corrupt, Invalid, ValidationError) as error:
            self.inspection.lost(entry, DAMAGED, said(error), parts)
            return None
        self.ledger.add(
            "manifest", parts.scope, parts.key, found.parent, found.start, found.end,
            found.checkpoint, found.metrics,
        )  # fmt: skip
        return None

    def _within(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            target = str(self.inspection.json(entry)["segment"])
            self.ledger.add("pointer", parts.scope, parts.key, target, entry.modified)
        except (Corrupt, KeyError, TypeError) as error:
            mend = self.inspection.removal(entry.name)
            return self.inspection.damaged(
                entry, error, "a pointer to a segment: made again of plans", mend
            )
        return None

    def _collected(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            checkpoint = str(self.inspection.json(entry)["checkpoint"])
            self.ledger.add("collected", parts.scope, parts.key, checkpoint, entry.modified)
        except (Corrupt, KeyError, TypeError) as error:
            mend = self.inspection.removal(entry.name)
            return self.inspection.damaged(entry, error, "what was collected, and when", mend)
        return None

    def _attempt(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("attempt", entry.name, parts.scope, parts.key, parts.id)
        try:
            self.inspection.json(entry)
        except Corrupt as error:
            return self.inspection.damaged(
                entry, error, "a failed try", self.inspection.removal(entry.name)
            )
        return None

    def _measurement(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("measured", parts.scope, parts.key, parts.word)
        try:
            found = self.inspection.json(entry)
            if (found["key"], "values" in found) != (parts.key, True):
                raise Corrupt(f"it is of state {found['key']}")
        except (Corrupt, KeyError, TypeError) as error:
            self.inspection.lost(entry, DAMAGED, said(error), parts)
        return None

    # --- blobs ---

    def _blob(self, entry: Entry, parts: Parts) -> Finding | None:
        self.ledger.add("blob", parts.key, entry.bytes, entry.modified)
        if self.quick or (found := self.inspection.digest(entry, parts.key)) == parts.key:
            return None
        named = "select scope, key from manifest where checkpoint = ? or metrics = ?"
        for scope, key in self.ledger.rows(named, parts.key, parts.key):
            said = f"{entry.bytes} bytes with the digest {found}"
            self.inspection.lost(entry, DAMAGED, said, Parts("blob", scope, key=key))
        return None

    def _other(self, entry: Entry, parts: Parts) -> Finding | None:
        try:
            if entry.name.endswith(".json"):
                self.inspection.json(entry)
        except Corrupt as error:
            return self.inspection.damaged(entry, error, "a JSON object")
        return None


def _elsewhere(entry: Entry, parts: Parts) -> None:
    """Looked at by `dataset_check.py`."""
