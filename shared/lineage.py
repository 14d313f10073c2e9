"""What manifests name: their blobs, their parents, and what points at them."""

from collections.abc import Iterator

from shared import names
from shared.findings import INCONSISTENT, MISSING, ORPHAN, Finding
from shared.inspection import Inspection
from shared.names import Parts
from shared.storage import Entry

_NO_BLOB = """
select m.scope, m.key, m.checkpoint from manifest m
    left join blob b on b.sha = m.checkpoint
    left join collected c
        on c.scope = m.scope and c.key = m.key and c.checkpoint = m.checkpoint
    where b.sha is null and c.key is null
union all
select m.scope, m.key, m.metrics from manifest m
    left join blob b on b.sha = m.metrics where b.sha is null
"""
_NO_PARENT = """
select distinct m.scope, m.parent from manifest m
    left join manifest p on p.scope = m.scope and p.key = m.parent
    where m.start > 0 and p.key is null
"""
_OTHER_EPOCH = """
select m.scope, m.key, m.start, p.end from manifest m
    join manifest p on p.scope = m.scope and p.key = m.parent where m.start <> p.end
"""
_NO_TARGET = """
select p.scope, p.key, p.target, p.modified from pointer p
    left join manifest m on m.scope = p.scope and m.key = p.target
    left join absent a on a.scope = p.scope and a.key = p.target
    where m.key is null and a.key is null
"""
_DONE_AND_TRIED = """
select a.name, a.id from attempt a
    join manifest m on m.scope = a.scope and m.key = a.key
    left join experiment e on e.id = a.id
    where e.id is null or e.outcome is not null
"""
_CAME_BACK = """
select c.scope, c.key, c.checkpoint from collected c join blob b on b.sha = c.checkpoint
    where c.modified < ?
"""
_UNNAMED = """
select sha, bytes from blob
    where not exists(select 1 from manifest where checkpoint = sha)
    and not exists(select 1 from manifest where metrics = sha) and modified < ?
"""


class Lineage:
    def __init__(self, inspection: Inspection) -> None:
        self.inspection = inspection
        self.store, self.ledger = inspection.store, inspection.ledger

    def lost(self) -> Iterator[Finding]:
        self._lost_blobs()
        self._lost_parents()
        yield from self._other_epochs()

    def orphans(self) -> Iterator[Finding]:
        """Once it is known which manifests there should be: theirs are none."""
        yield from self._pointers()
        yield from self._attempts()
        yield from self._came_back()
        if not self.ledger.has("select 1 from absent"):
            yield from self._unnamed()

    def _lost_blobs(self) -> None:
        for scope, key, sha in self.ledger.rows(_NO_BLOB):
            name = names.blob(sha)
            if self.inspection.is_gone(name):
                found = f"nothing; the manifest of state {key} names it"
                self._lost(name, found, Parts("blob", scope, key=key))

    def _lost_parents(self) -> None:
        for scope, key in self.ledger.rows(_NO_PARENT):
            name = names.manifest(scope, key)
            if self.inspection.is_gone(name):
                found = "nothing; the manifest of a later state names it as its parent"
                self._lost(name, found, Parts("manifest", scope, key=key))

    def _lost(self, name: str, found: str, parts: Parts) -> None:
        self.inspection.lost(Entry(name, 0, 0), MISSING, found, parts)

    def _other_epochs(self) -> Iterator[Finding]:
        for scope, key, start, end in self.ledger.rows(_OTHER_EPOCH):
            yield self.inspection.report.finding(
                INCONSISTENT, names.manifest(scope, key), f"it starts after epoch {start}",
                f"that it starts where its parent ends, after epoch {end}",
            )  # fmt: skip

    def _pointers(self) -> Iterator[Finding]:
        for scope, key, target, modified in self.ledger.rows(_NO_TARGET):
            if not self.inspection.settled(modified) or self.store.exists(
                names.manifest(scope, target)
            ):
                continue
            name = names.within(scope, key)
            yield self.inspection.report.finding(
                ORPHAN, name, f"it points at segment {target}, which is not stored",
                "a pointer at a stored segment, or none", self.inspection.removal(name),
            )  # fmt: skip
            self.ledger.do("delete from pointer where scope = ? and key = ?", scope, key)

    def _attempts(self) -> Iterator[Finding]:
        for name, id in self.ledger.rows(_DONE_AND_TRIED):
            yield self.inspection.report.finding(
                ORPHAN, name, f"a failed try for experiment {id}, which has ended or is none",
                "nothing: the segment is done", self.inspection.removal(name),
            )  # fmt: skip

    def _came_back(self) -> Iterator[Finding]:
        """Whose mark would hide that they were lost. Whoever trains a state again removes it; but
        bytes are shared, and another may have stored the same."""
        cutoff = self.inspection.now - self.inspection.grace_seconds
        for scope, key, sha in self.ledger.rows(_CAME_BACK, cutoff):
            name = names.collected(scope, key)
            if self.store.exists(names.blob(sha)):
                yield self.inspection.report.finding(
                    ORPHAN, name, f"it says that checkpoint {sha} was removed, which is there",
                    "a checkpoint that is not", self.inspection.removal(name),
                )  # fmt: skip

    def _unnamed(self) -> Iterator[Finding]:
        """Left where they are: removing them is the work of a collection."""
        cutoff = self.inspection.now - self.inspection.grace_seconds
        for sha, size in self.ledger.rows(_UNNAMED, cutoff):
            yield self.inspection.report.finding(
                ORPHAN, names.blob(sha), "no manifest names it",
                "that a collection removes it", bytes=size,
            )  # fmt: skip
