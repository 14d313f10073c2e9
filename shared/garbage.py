"""Checkpoints that nothing needs, by age and size; and blobs and data sets that nothing names.

Kept are, whatever their age: every state on the way of an experiment that has not ended (forks,
retries and measurement jobs are experiments), and the last stored state of each run. Blobs are
shared by content, so that one is kept while any manifest needs it. Kept is also, whatever is asked,
what was written within the grace before the collection began, or since: its manifest may be on its
way. First everything is marked; just before each removal is looked again, at experiments that came
meanwhile and at the blob's age: a worker that is about to use a blob has written it anew. What a
race between two processes still can lose is a checkpoint and never a result: whoever needs the
state trains it again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from shared import names
from shared.errors import Corrupt, NotFound
from shared.findings import DAMAGED, GARBAGE, NONE, ORPHAN, REMOVED, Finding, Report
from shared.inspection import GRACE_SECONDS, Inspection
from shared.ledger import Ledger
from shared.orphaned_data import OrphanedData
from shared.pace import Pace, Tick, nothing
from shared.records import Records
from shared.repairs import Repairs
from shared.settings import Settings
from shared.storage import Storage
from shared.survey import Survey

AT_ONCE = 256
"""Removals after one look at what has come meanwhile."""

UNREAD = frozenset({"link", "within", "attempt", "collected", "measurement", "tags"})
"""What cannot need a blob."""

_UNNEEDED = """
select b.sha, b.bytes, b.modified, exists(select 1 from manifest where checkpoint = b.sha)
    from blob b
    where b.modified < ?
    and not exists(select 1 from manifest where metrics = b.sha)
    and not exists(select 1 from manifest m join kept k on k.scope = m.scope and k.key = m.key
        where m.checkpoint = b.sha)
    order by b.modified, b.sha
"""
_CHECKPOINT_BYTES = """
select sum(bytes) from blob where exists(select 1 from manifest where checkpoint = sha)
"""
_STATES = "select scope, key from manifest where checkpoint = ?"

Candidate = tuple[str, int, float, bool]
"""(sha, bytes, modified, whether a manifest names it)"""


@dataclass(frozen=True)
class Policy:
    older_than: float
    """Seconds; nothing younger goes, and nothing within the grace."""
    max_bytes: int | None = None
    """Oldest first, until the store's checkpoints fit; None: all that are old enough go."""
    dry_run: bool = False


def collect(
    store: Storage,
    settings: Settings,
    report: Report,
    policy: Policy,
    tick: Tick = nothing,
    grace_seconds: float = GRACE_SECONDS,
) -> Iterator[Finding]:
    """Each object that goes, as it goes. Corrupt, and nothing removed, where something could not be
    read that may need one."""
    with Ledger(settings.scratch_dir) as ledger:
        pace = Pace(settings.check_share, tick)
        inspection = Inspection(store, ledger, report, pace, grace_seconds)
        yield from Collection(inspection, policy).findings()


class Collection:
    def __init__(self, inspection: Inspection, policy: Policy) -> None:
        self.inspection, self.policy = inspection, policy
        self.store, self.ledger = inspection.store, inspection.ledger
        # Before anything is listed: whoever wrote a blob since may not have named it yet.
        self.cutoff = inspection.now - max(policy.older_than, inspection.grace_seconds)

    def findings(self) -> Iterator[Finding]:
        self._look()
        self._keep()
        yield from self._blobs()
        yield from OrphanedData(self.inspection).removed(self.cutoff, self.policy.dry_run)

    def _blobs(self) -> Iterator[Finding]:
        total = self.ledger.number(_CHECKPOINT_BYTES)
        for number, candidate in enumerate(self.ledger.rows(_UNNEEDED, self.cutoff)):
            if number % AT_ONCE == 0:
                self._keep_new()
            _, size, _, is_named = candidate
            if is_named and self._fits(total):
                continue
            if self._is_still_unneeded(candidate):
                yield self._removed(candidate)
                total -= size if is_named else 0

    def _fits(self, total: int) -> bool:
        return self.policy.max_bytes is not None and total <= self.policy.max_bytes

    # --- mark ---

    def _look(self) -> None:
        """Blobs first: one that is written after its manifest was read is none of these."""
        survey = Survey(self.inspection, quick=True, unread=UNREAD)
        for prefix in (names.BLOBS, names.SEGMENTS, names.EXPERIMENTS):
            for _ in survey.walk(prefix):
                pass  # an outcome that cannot be read: the experiment counts as live
        for name, found in self.ledger.rows("select object, found from lost"):
            raise _unreadable(name, found)
        damaged = "select id, other from marked where kind = 'damaged plan'"
        for id, found in list(self.ledger.rows(damaged)):
            self._find_plan(id, found)

    def _find_plan(self, id: str, found: str) -> None:
        """In its copy."""
        try:
            Records(self.store).plan(id)
        except Corrupt:
            raise _unreadable(names.experiment_object(id, "plan.json"), found) from None

    def _keep(self) -> None:
        question = "select id, outcome from experiment"
        for id, outcome in self.ledger.rows(question):
            self._keep_for(id, is_live=outcome in (None, DAMAGED))
        self._keep_new()

    def _keep_new(self) -> None:
        """Experiments that were accepted, planned, or asked to be mended since."""
        for marker in self.store.names(names.ACTIVE):
            self._keep_live(names.experiment_of(marker))
        for id, _ in Repairs(self.store).wanted():
            self._keep_live(id)

    def _keep_live(self, id: str) -> None:
        if not self.ledger.has("select 1 from marked where kind = 'kept' and id = ?", id):
            self._keep_for(id, is_live=True)

    def _keep_for(self, id: str, is_live: bool) -> None:
        try:
            plan = Records(self.store).plan(id)
        except NotFound:  # it is being prepared, and will be planned on what is there then
            return
        self.inspection.pace.rest()
        if is_live:
            self.ledger.add("marked", "kept", id, "")
        for config in plan.configs:
            self.ledger.add("marked", "data", config["dataset"]["digest"], "")
        for run in plan.runs:
            scope, keys = plan.scope(run), plan.keys(run)
            self._keep_states(scope, keys if is_live else self._last(scope, keys))

    def _last(self, scope: str, keys: list[str]) -> list[str]:
        """The furthest stored state of a run."""
        stored = "select 1 from manifest where scope = ? and key = ?"
        there = (key for key in reversed(keys) if self.ledger.has(stored, scope, key))
        return list(islice(there, 1))

    def _keep_states(self, scope: str, keys: Iterable[str]) -> None:
        for key in keys:
            self.ledger.add("kept", scope, key)

    # --- sweep ---

    def _is_still_unneeded(self, candidate: Candidate) -> bool:
        sha, _, modified, _ = candidate
        kept = (
            "select 1 from manifest m join kept k on k.scope = m.scope and k.key = m.key"
            " where m.checkpoint = ?"
        )
        if self.ledger.has(kept, sha):
            return False
        try:
            return self.store.entry(names.blob(sha)).modified <= modified
        except NotFound:
            return False

    def _removed(self, candidate: Candidate) -> Finding:
        sha, size, modified, is_named = candidate
        since = datetime.fromtimestamp(modified, UTC).isoformat(timespec="seconds")
        states = list(self.ledger.rows(_STATES, sha))
        if not self.policy.dry_run:
            self._remove(sha, states)
        found = f"the checkpoint of {len(states)} states" if is_named else "no manifest names it"
        return self.inspection.report.noted(
            GARBAGE if is_named else ORPHAN, names.blob(sha), f"{found}, written {since}",
            "nothing that needs it", NONE if self.policy.dry_run else REMOVED, size,
        )  # fmt: skip

    def _remove(self, sha: str, states: Sequence[tuple[str, ...]]) -> None:
        """Its manifests say so before it is gone."""
        now = datetime.fromtimestamp(self.inspection.now, UTC).isoformat(timespec="seconds")
        for scope, key in states:
            self.store.write_json(names.collected(scope, key), {"checkpoint": sha, "at": now})
        self.store.remove(names.blob(sha))


def _unreadable(name: str, found: str) -> Corrupt:
    return Corrupt(
        f"Nothing was collected: {name!r} cannot be read ({found}), and may need any of the"
        " checkpoints. Run `hubel fsck --repair` first"
    )
