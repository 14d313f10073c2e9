"""Frees what only deleted experiments needed.

Of the states that their plans name, those that no other plan names go, with what was measured of
them; then the blobs that no manifest names any more; then what is left of the experiments. Their
plans go last: whoever is interrupted starts again from them. An experiment is taken up once it was
deleted a grace ago, so that whoever was being accepted at that moment is accepted by now, and what
it wrote last is old; and just before each removal is looked again at what has been accepted since.
What a race can still lose is a state that an acceptance counted on within the same second: it is
trained again, as any that is lost.
"""

import secrets
from collections.abc import Iterator
from itertools import chain, islice

from shared import garbage, names
from shared.deletion import Deletions
from shared.errors import NotFound
from shared.findings import Report
from shared.inspection import GRACE_SECONDS, Inspection
from shared.ledger import Ledger
from shared.pace import Pace, Tick, nothing
from shared.plan import Plan
from shared.records import Records
from shared.settings import Settings
from shared.storage import Storage

AT_ONCE = 256
"""Removals after one look at what has come meanwhile."""
EVERYTHING = 1 << 62
"""Bytes of checkpoints that may stay: those that a manifest names are not this file's."""
OF_A_STATE = frozenset({"manifest", "within", "collected", "attempt", "measurement"})

_UNNEEDED = """
select 1 from marked where kind = 'doomed' and id = ? and other = ?
    and not exists(select 1 from kept where scope = ? and key = ?)
"""


def due(store: Storage, now: float, grace_seconds: float = GRACE_SECONDS) -> list[str]:
    """By the store's clock."""
    deletions = Deletions(store)
    old = [id for id, entry in deletions.pending() if entry.modified < now - grace_seconds]
    return [id for id in old if deletions.has(id)]


def remove(
    store: Storage,
    settings: Settings,
    tick: Tick = nothing,
    grace_seconds: float = GRACE_SECONDS,
) -> list[str]:
    """The experiments of which nothing is left. Corrupt, and nothing more removed, where something
    cannot be read that may need any of it."""
    with Ledger(settings.scratch_dir) as ledger:
        pace = Pace(settings.check_share, tick)
        inspection = Inspection(store, ledger, Report(repair=True), pace, grace_seconds)
        found = due(store, inspection.now, grace_seconds)
        if found:
            Removal(inspection, found).states()
            policy = garbage.Policy(older_than=0, max_bytes=EVERYTHING)
            for _ in garbage.collect(store, settings, Report(), policy, tick, grace_seconds):
                pass
    for id in found:
        _remove_own(store, id)
    return found


class Removal:
    def __init__(self, inspection: Inspection, doomed: list[str]) -> None:
        self.inspection, self.doomed = inspection, frozenset(doomed)
        self.store, self.ledger = inspection.store, inspection.ledger
        self.records = Records(self.store)
        self._since = inspection.now - max(GRACE_SECONDS, inspection.grace_seconds)
        self._planned: set[str] = set()

    def states(self) -> None:
        for id in self.doomed:
            for scope, keys in self._states(id):
                for key in keys:
                    self.ledger.add("marked", "doomed", scope, key)
        known = self._accepted()
        waiting = [id for id in known if not self._keep(id)]
        objects = self._objects()
        while some := list(islice(objects, AT_ONCE)):
            waiting = [id for id in waiting if not self._keep(id)]
            for id in self._new():
                self._keep(id)
            for name in some:
                if self._is_unneeded(name):
                    self.store.remove(name)
            self.store.write(names.FREED, secrets.token_bytes(16))
            self.inspection.pace.rest()

    def _objects(self) -> Iterator[str]:
        """Of unneeded states, as far as is known."""
        prefixes = (names.SEGMENTS, names.EXPERIMENTS, names.MEASUREMENTS)
        for entry in chain.from_iterable(map(self.store.entries, prefixes)):
            if self._is_unneeded(entry.name):
                yield entry.name

    def _is_unneeded(self, name: str) -> bool:
        parts = names.parts(name)
        state = (parts.scope, parts.key)
        return parts.kind in OF_A_STATE and self.ledger.has(_UNNEEDED, *state, *state)

    # --- what others need ---

    def _accepted(self) -> list[str]:
        """All experiments but those that go. Also one of which only a part is written."""
        found = (names.parts(entry.name) for entry in self.store.entries(names.EXPERIMENTS))
        ids = {parts.id for parts in found if parts.kind in ("spec", "plan")}
        return sorted(ids - self.doomed)

    def _new(self) -> Iterator[str]:
        """Under way, or accepted of late and perhaps ended already."""
        yield from map(names.experiment_of, self.store.names(names.ACTIVE))
        for id in map(names.experiment_of, self.store.names(names.INDEX)):
            if names.created(id) < self._since:
                return
            yield id

    def _keep(self, id: str) -> bool:
        """False while there is no plan."""
        if id in self._planned or id in self.doomed:
            return True
        found = list(self._states(id))
        for scope, keys in found:
            for key in keys:
                self.ledger.add("kept", scope, key)
        self.inspection.pace.rest()
        if found:
            self._planned.add(id)
        return bool(found)

    def _states(self, id: str) -> Iterator[tuple[str, list[str]]]:
        try:
            plan: Plan = self.records.plan(id)
        except NotFound:
            return
        for run in plan.runs:
            yield plan.scope(run), plan.keys(run)


def _remove_own(store: Storage, id: str) -> None:
    """Copies first: what is found in its copy comes back."""
    own = f"{names.EXPERIMENTS}{id}/"
    for entry in list(store.entries(names.copy(own[:-1]) + "/")):
        store.remove(entry.name)
    for entry in list(store.entries(own)):
        if not names.parts(entry.name).scope:  # a retry may need what was trained without reuse
            store.remove(entry.name)
    for entry in list(store.entries("repair-attempts/")):
        if entry.name.startswith(f"repair-attempts/{id}-"):
            store.remove(entry.name)
    store.remove(names.deleting(id))
