"""Arrays in the store that no name means and no experiment uses: their name was deleted, or given
to other arrays, or an upload broke off."""

from collections.abc import Iterator
from itertools import groupby

from shared import dataset_store, names
from shared.errors import Corrupt, NotFound
from shared.findings import NONE, ORPHAN, REMOVED, Finding
from shared.inspection import Inspection
from shared.storage import Entry

FOUND = "no name means these arrays, and no experiment uses them"
OWN = frozenset({"dataset manifest", "dataset file"})


class OrphanedData:
    """Asked once all plans were read: the ledger knows what they are made on."""

    def __init__(self, inspection: Inspection) -> None:
        self.inspection = inspection
        self.store, self.ledger = inspection.store, inspection.ledger

    def findings(self) -> Iterator[Finding]:
        """Left where they are: removing them is the work of a collection."""
        cutoff = self.inspection.now - self.inspection.grace_seconds
        for own in self._found(cutoff):
            for entry in own:
                yield self.inspection.report.finding(
                    ORPHAN, entry.name, FOUND, "that a collection removes it", bytes=entry.bytes
                )

    def removed(self, cutoff: float, dry_run: bool) -> Iterator[Finding]:
        """All of a data set before the first is told of: whoever reads that may take their time,
        and a PUT meanwhile would find the rest whole."""
        for own in self._found(cutoff):
            for entry in [] if dry_run else own:
                self.store.remove(entry.name)
            for entry in own:
                yield self.inspection.report.noted(
                    ORPHAN, entry.name, FOUND, "nothing that needs it",
                    NONE if dry_run else REMOVED, entry.bytes,
                )  # fmt: skip

    def _found(self, cutoff: float) -> Iterator[list[Entry]]:
        """Of each data set the manifest first: without it, it counts as not stored."""
        for digest, objects in groupby(self.store.entries(names.BY_DIGEST), _digest):
            own = self._unused(objects)
            is_old = all(entry.modified < cutoff for entry in own)
            if own and is_old and self._is_orphaned(digest, own):
                yield sorted(own, key=_after_manifest)

    def _unused(self, objects: Iterator[Entry]) -> list[Entry]:
        """All of a data set; nothing where there is a mark of an experiment, or what is unknown."""
        own: list[Entry] = []
        is_used = False
        for entry in objects:
            if names.parts(entry.name).kind in OWN:
                own.append(entry)
            else:
                is_used = True
        return [] if is_used else own

    def _is_orphaned(self, digest: str, own: list[Entry]) -> bool:
        """Looks again, just before."""
        planned = "select 1 from marked where kind = 'data' and id = ?"
        if self.ledger.has(planned, digest) or self._is_named(digest):
            return False
        if next(self.store.names(names.dataset_uses(digest), limit=1), None) is not None:
            return False
        return all(self._is_as_it_was(entry) for entry in own)

    def _is_named(self, digest: str) -> bool:
        """Also while a name cannot be read, which may mean any."""
        for name in dataset_store.stored_names(self.store):
            try:
                if dataset_store.pointed(name, self.store)[0] == digest:
                    return True
            except Corrupt:
                return True
            except NotFound:
                continue
        return False

    def _is_as_it_was(self, entry: Entry) -> bool:
        """Whoever stores a data set again writes its manifest anew, and then the name."""
        try:
            return self.store.entry(entry.name).modified <= entry.modified
        except NotFound:
            return False


def _digest(entry: Entry) -> str:
    return entry.name.removeprefix(names.BY_DIGEST).partition("/")[0]


def _after_manifest(entry: Entry) -> bool:
    return names.parts(entry.name).kind != "dataset manifest"
