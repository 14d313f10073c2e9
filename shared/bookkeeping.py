"""Whether an experiment's objects, markers, entries and links agree with one another."""

from collections.abc import Iterator

from shared import names
from shared.errors import Corrupt, NotFound, TooNew
from shared.findings import (
    INCONSISTENT,
    MISSING,
    ORPHAN,
    REBUILT,
    UNFINISHED,
    Finding,
    Mend,
)
from shared.inspection import Inspection
from shared.records import Records

_WITHOUT = """
select id from experiment e where spec = 1 and {state}
    and not exists(select 1 from marked where kind = '{kind}' and id = e.id)
"""
_ACCEPTED = """(outcome is not null
    or exists(select 1 from marked where kind = 'active' and id = e.id))"""
_INDEXED = """outcome is null and exists(select 1 from marked where kind = 'index' and id = e.id)"""
_UNFINISHED = """
select id, modified from experiment e where spec = 1 and outcome is null
    and not exists(select 1 from marked where kind in ('active', 'index') and id = e.id)
"""
_NO_SPEC = """
select id from experiment where spec = 0
union select m.id from marked m left join experiment e on e.id = m.id
    where e.id is null and m.kind in ('index', 'active', 'tagged', 'dataset use', 'mirror')
"""
_STALE = """
select e.id from experiment e join marked m on m.kind = 'active' and m.id = e.id
    where e.outcome is not null
"""
_UNLINKED = """
select e.id, e.measures from experiment e where e.measures is not null
    and not exists(select 1 from marked where kind = 'deleted' and id = e.measures) and not exists(
    select 1 from marked where kind = 'link' and id = e.measures and other = e.id)
"""
_LINKED_TO_NONE = """
select m.id, m.other from marked m left join experiment e on e.id = m.other
    where m.kind = 'link' and e.id is null
"""
_FORK_UNLINKED = """
select m.id, m.other from marked m join experiment e on e.id = m.other and e.spec = 1
    where m.kind = 'forks' and not exists(
    select 1 from marked l where l.kind = 'fork' and l.id = m.other and l.other = m.id)
"""
_FORK_OF_NONE = """
select m.id, m.other from marked m left join experiment e on e.id = m.other
    where m.kind = 'fork' and e.id is null
"""
_CLAIMED = """
select m.id, m.other from marked m where m.kind = 'claim'
    and not exists(select 1 from marked where kind = 'deleted' and id = m.id) and not exists(
    select 1 from marked i where i.kind = 'index' and i.id = m.id)
"""

_UNMARKED = """
select t.id from marked t where t.kind = 'tags' and not exists(
    select 1 from marked m where m.kind = 'tagged' and m.id = t.id)
"""
_TOLD = """
select m.id, m.other from marked m where m.kind = 'told' and not exists(
    select 1 from marked w where w.kind = 'webhook' and w.id = substr(m.other, 1, 20))
"""
_KEPT_ONCE = """
select m.id, m.other from marked m where m.kind = 'kept twice' and not exists(
    select 1 from marked c where c.kind = 'copy' and c.id = m.id)
"""


class Bookkeeping:
    def __init__(self, inspection: Inspection) -> None:
        self.inspection = inspection
        self.store, self.ledger = inspection.store, inspection.ledger
        self._finding = inspection.report.finding

    def findings(self) -> Iterator[Finding]:
        yield from self._without_spec()
        yield from self._ended_and_active()
        yield from self._missing("active", _INDEXED, "it has neither ended nor a marker")
        yield from self._missing("index", _ACCEPTED, "it is not in the list of experiments")
        yield from self._unfinished()
        yield from self._unmarked()
        yield from self._unlinked()
        yield from self._linked_to_none()
        yield from self._forks()
        yield from self._claims()
        yield from self._kept_once()
        yield from self._repairs()
        yield from self._told_nobody()

    def _without_spec(self) -> Iterator[Finding]:
        for (id,) in self.ledger.rows(_NO_SPEC):
            spec = names.experiment_object(id, "spec.json")
            if self.store.exists(spec):
                continue
            left = next(self.store.names(f"{names.EXPERIMENTS}{id}/"), None)
            if left is not None:
                yield self._finding(
                    MISSING, spec, f"nothing, and yet there is {left}",
                    "what was asked: nothing else says it. Restore it from a backup",
                )  # fmt: skip
            else:
                yield from self._left_behind(id)

    def _left_behind(self, id: str) -> Iterator[Finding]:
        marks = {
            "index": names.index_entry(id),
            "active": names.active_marker(id),
            "tagged": names.tagged(id),
            "mirror": names.mirror(id),
        }
        for kind, key in list(
            self.ledger.rows("select kind, other from marked where id = ? order by kind", id)
        ):
            name = names.dataset_use(key, id) if kind == "dataset use" else marks.get(kind)
            if name is not None:
                yield self._finding(
                    ORPHAN, name, f"there is nothing else of experiment {id}",
                    "an experiment", self.inspection.removal(name),
                )  # fmt: skip

    def _ended_and_active(self) -> Iterator[Finding]:
        for (id,) in self.ledger.rows(_STALE):
            name = names.active_marker(id)
            if self.store.exists(name):
                yield self._finding(
                    ORPHAN, name, "the experiment has ended", "no marker",
                    self.inspection.removal(name),
                )  # fmt: skip

    def _missing(self, kind: str, state: str, found: str) -> Iterator[Finding]:
        named = {"active": names.active_marker, "index": names.index_entry}[kind]
        for (id,) in self.ledger.rows(_WITHOUT.format(kind=kind, state=state)):
            ended = self.store.exists(names.experiment_object(id, "outcome.json"))
            if self.store.exists(named(id)) or (kind == "active" and ended):
                continue
            yield self._finding(
                MISSING, named(id), f"nothing: {found}", "a marker", self._marker(named(id))
            )

    def _marker(self, name: str) -> Mend:
        def mend() -> str:
            self.store.write(name, b"")
            return REBUILT

        return mend

    def _unfinished(self) -> Iterator[Finding]:
        """Nobody was told that it was accepted, and nobody works at it."""
        for id, modified in self.ledger.rows(_UNFINISHED):
            if self.inspection.settled(modified) and self.inspection.is_gone(names.index_entry(id)):
                yield self._finding(
                    UNFINISHED, names.experiment_object(id, "spec.json"),
                    "a spec with neither marker, nor index entry, nor outcome",
                    "an accepted experiment: submitting broke off, and has to be done again",
                )  # fmt: skip

    def _unmarked(self) -> Iterator[Finding]:
        for (id,) in self.ledger.rows(_UNMARKED):
            if self.inspection.is_gone(name := names.tagged(id)):
                yield self._finding(
                    MISSING, name, "nothing, and so its tags and notes are not shown", "a marker",
                    self._marker(name),
                )  # fmt: skip

    def _unlinked(self) -> Iterator[Finding]:
        for job, id in self.ledger.rows(_UNLINKED):
            if not self.ledger.has("select 1 from experiment where id = ? and spec = 1", id):
                yield self._finding(
                    INCONSISTENT, names.experiment_object(job, "spec.json"),
                    f"it measures experiment {id}, of which there is no spec", "an experiment",
                )  # fmt: skip
            elif self.inspection.is_gone(link := names.measurement_job(id, job)):
                yield self._finding(
                    MISSING, link, f"nothing, although job {job} measures this experiment",
                    "a link", self._link(id, job),
                )  # fmt: skip

    def _link(self, id: str, job: str) -> Mend:
        def mend() -> str:
            accepted = self.store.read_json(names.experiment_object(job, "spec.json"))["accepted"]
            link = {"id": job, "asked": accepted}
            self.store.create_json(names.measurement_job(id, job), link)
            return REBUILT

        return mend

    def _linked_to_none(self) -> Iterator[Finding]:
        for id, job in self.ledger.rows(_LINKED_TO_NONE):
            if self.inspection.is_gone(names.experiment_object(job, "spec.json")):
                name = names.measurement_job(id, job)
                yield self._finding(
                    ORPHAN, name, f"there is no job {job}", "a link to a job",
                    self.inspection.removal(name),
                )  # fmt: skip

    def _forks(self) -> Iterator[Finding]:
        """A fork of what was deleted is linked nowhere, and needs it no more."""
        for made, old in self.ledger.rows(_FORK_UNLINKED):
            if self.inspection.is_gone(name := names.fork(old, made)):
                yield self._finding(
                    MISSING, name, f"nothing, although {made} goes on from this experiment",
                    "a link", self._marker(name),
                )  # fmt: skip
        for old, made in self.ledger.rows(_FORK_OF_NONE):
            if self.inspection.is_gone(names.experiment_object(made, "spec.json")):
                name = names.fork(old, made)
                yield self._finding(
                    ORPHAN, name, f"there is no experiment {made}", "a link to a fork",
                    self.inspection.removal(name),
                )  # fmt: skip

    def _claims(self) -> Iterator[Finding]:
        for id, other in self.ledger.rows(_CLAIMED):
            word, modified = other.split(" ")
            if self.inspection.settled(float(modified)) and self._is_unused(id):
                yield self._finding(
                    UNFINISHED, f"{names.CLAIMS}{word}.json",
                    f"it claims experiment {id}, which was never accepted",
                    "an experiment: whoever sends the request again completes it",
                )  # fmt: skip

    def _kept_once(self) -> Iterator[Finding]:
        """By a version that kept one of it, or by a process that died before it made the other."""
        for name, modified in self.ledger.rows(_KEPT_ONCE):
            copy = names.copy(name)
            if self.inspection.settled(float(modified)) and self.inspection.is_gone(copy):
                yield self._finding(
                    UNFINISHED, copy, f"nothing: {name} is there once", "a copy of it",
                    self.inspection.copying(name),
                )  # fmt: skip

    def _repairs(self) -> Iterator[Finding]:
        for id, word in self.ledger.rows("select id, other from marked where kind = 'repair'"):
            said, name = self._repairs_nothing(id, int(word)), names.repair(id, int(word))
            if said is not None and not self.inspection.is_gone(name):
                yield self._finding(
                    ORPHAN, name, said, "a segment to be computed again",
                    self.inspection.removal(name),
                )  # fmt: skip

    def _told_nobody(self) -> Iterator[Finding]:
        """What comes of a webhook that is being deleted is removed by the service."""
        for name, other in self.ledger.rows(_TOLD):
            webhook, modified = other.split(" ")
            if (
                self.inspection.settled(float(modified))
                and self.inspection.is_gone(names.webhook(webhook))
                and self.inspection.is_gone(names.webhook_deleted(webhook))
            ):
                yield self._finding(
                    ORPHAN, name, f"there is no webhook {webhook}", "a webhook to be told",
                    self.inspection.removal(name),
                )  # fmt: skip

    def _repairs_nothing(self, id: str, index: int) -> str | None:
        """Why nobody can do it."""
        if self.inspection.is_gone(names.experiment_object(id, "spec.json")):
            return f"there is no experiment {id}"
        try:
            segments = len(Records(self.store).plan(id).segments)
        except (Corrupt, NotFound, TooNew):  # it is planned again first
            return None
        return None if index < segments else f"the plan of {id} has {segments} segments"

    def _is_unused(self, id: str) -> bool:
        try:
            return self.inspection.is_gone(names.index_entry(id))
        except NotFound:  # it is no id
            return True
