"""What plans say there should be, against what is there; and which plan can have made again what
was lost."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from shared import names, replanning, schedule
from shared.errors import Corrupt, HubelError, NotFound
from shared.findings import (
    ASKED,
    DAMAGED,
    INCONSISTENT,
    MISSING,
    REBUILT,
    Finding,
    Mend,
)
from shared.inspection import Inspection
from shared.plan import Plan, RunPlan, Segment
from shared.records import Records
from shared.settings import Settings
from shared.survey import DAMAGED_PLAN

Ask = Callable[[str, int], bool]
"""(experiment, segment of its plan): have a worker train, or measure, it again."""

_LOST = "select object, kind, found, bytes from lost where scope = ? and key = ? and probe = ?"


class Wanted:
    def __init__(self, inspection: Inspection, settings: Settings, ask: Ask) -> None:
        self.inspection, self.settings, self.ask = inspection, settings, ask
        self.store, self.ledger = inspection.store, inspection.ledger
        self._finding = inspection.report.finding

    def findings(self) -> Iterator[Finding]:
        yield from self._plans_gone()
        question = "select id, outcome from experiment where spec = 1 and plan = 1"
        for id, outcome in self.ledger.rows(question):
            yield from self._plan(id, outcome)
        yield from self._named_by_none()

    # --- plans themselves ---

    def _plans_gone(self) -> Iterator[Finding]:
        question = (
            "select e.id, e.outcome, e.plan, m.other from experiment e"
            " left join marked m on m.kind = 'damaged plan' and m.id = e.id"
            " where e.spec = 1 and (e.plan = ? or (e.plan = 0 and e.outcome = 'succeeded'"
            " and not exists(select 1 from marked c where c.kind = 'copy'"
            " and c.id = 'experiments/' || e.id || '/plan.json')))"
        )
        for id, outcome, plan, damage in list(self.ledger.rows(question, DAMAGED_PLAN)):
            yield self._finding(
                DAMAGED if plan else MISSING, names.experiment_object(id, "plan.json"),
                damage or "nothing", "a plan: its copy says it, too. Else it is made again from the"
                " spec where that gives the same one", self._finding_again(id, outcome),
            )  # fmt: skip

    def _finding_again(self, id: str, outcome: str | None) -> Mend:
        """In its copy; or somebody who wanted to read it has by now."""

        def mend() -> str:
            try:
                Records(self.store).plan(id)
            except (Corrupt, NotFound):
                return self._replanning(id, outcome)()
            self.ledger.do("update experiment set plan = 1 where id = ?", id)
            return REBUILT

        return mend

    def _replanning(self, id: str, outcome: str | None) -> Mend:
        def mend() -> str:
            replanning.replace(id, outcome, Records(self.store), self.settings)
            self.ledger.do("update experiment set plan = 1 where id = ?", id)
            return REBUILT

        return mend

    def _plan(self, id: str, outcome: str | None) -> Iterator[Finding]:
        name = names.experiment_object(id, "plan.json")
        plan = Plan.model_validate(self.store.read_json(name))
        self.inspection.pace.rest()
        for run in plan.runs:
            if not _holds(plan, run):
                yield self._finding(
                    INCONSISTENT, name, f"run {run.index} has other keys than its timeline gives",
                    "keys of its own config and stimuli", self._replanning(id, outcome),
                )  # fmt: skip
                return
        yield from self._uses(id, plan)
        any_lost = self.ledger.has("select 1 from lost")
        for index, segment in enumerate(plan.segments):
            if any_lost:
                yield from self._lost(id, index, segment)
            if outcome == "succeeded" or segment.stored:
                yield from self._manifest(id, index, segment)
            if outcome == "succeeded":
                yield from self._measurements(id, index, segment)
        for run in plan.runs:
            yield from self._pointers(plan, run)

    def _uses(self, id: str, plan: Plan) -> Iterator[Finding]:
        for digest in sorted({config["dataset"]["digest"] for config in plan.configs}):
            self.ledger.add("marked", "data", digest, "")
            marked = "select 1 from marked where kind = 'dataset use' and id = ? and other = ?"
            if self.ledger.has(marked, id, digest):
                continue
            name = names.dataset_use(digest, id)
            if self.inspection.is_gone(name):
                yield self._finding(
                    MISSING, name, "nothing, although a plan is made on this data", "a marker",
                    self._writing(partial(self.store.write, name, b"")),
                )  # fmt: skip

    # --- what a plan's segments made ---

    def _manifest(self, id: str, index: int, segment: Segment) -> Iterator[Finding]:
        there = "select 1 from manifest where scope = ? and key = ?"
        if segment.end == 0 or self.ledger.has(there, segment.scope, segment.key):
            return
        name = names.manifest(segment.scope, segment.key)
        if self.inspection.is_gone(name):
            self.ledger.add("absent", segment.scope, segment.key)
            yield self._finding(
                MISSING, name, f"nothing, although segment {index} of experiment {id} is done",
                "its manifest: a worker trains it again", self._asking(id, index),
            )  # fmt: skip

    def _measurements(self, id: str, index: int, segment: Segment) -> Iterator[Finding]:
        there = "select 1 from measured where scope = ? and key = ? and probe = ?"
        for epoch, digest in segment.probes:
            key = segment.state(epoch)
            if self.ledger.has(there, segment.scope, key, digest):
                continue
            name = names.measurement(segment.scope, key, digest)
            if self.inspection.is_gone(name):
                yield self._finding(
                    MISSING, name, f"nothing, although experiment {id} has measured it",
                    "a measurement: a worker makes it again", self._asking(id, index),
                )  # fmt: skip

    def _lost(self, id: str, index: int, segment: Segment) -> Iterator[Finding]:
        """What was found damaged or missing and is this segment's to make."""
        scope = segment.scope
        for found in list(self.ledger.rows(_LOST, scope, segment.key, "")):
            yield self._again(found, self._asking(id, index), id, index)
        for epoch, digest in segment.probes:
            for found in list(self.ledger.rows(_LOST, scope, segment.state(epoch), digest)):
                mend = self._measuring(found[0], id, index)
                yield self._again(found, mend, id, index)
        for key in segment.keys[:-1]:  # stored under another cut
            self.ledger.do(
                "update lost set id = ?, segment = ?"
                " where scope = ? and key = ? and probe = '' and id is null",
                id, index, scope, key,
            )  # fmt: skip

    def _again(self, lost: tuple[Any, ...], mend: Mend, id: str, index: int) -> Finding:
        name, kind, found, size = lost
        self.ledger.do("delete from lost where object = ?", name)
        expected = f"what segment {index} of experiment {id} gives: a worker makes it again"
        return self._finding(kind, name, found, expected, mend, size)

    def _named_by_none(self) -> Iterator[Finding]:
        question = (
            "select object, kind, found, bytes, max(id), max(segment) from lost group by object"
        )
        for name, kind, found, size, id, index in list(self.ledger.rows(question)):
            if id is not None:
                lost = (name, kind, found, size)
                yield self._again(lost, self._asking(id, index), id, index)
            else:
                yield self._of_no_use(name, kind, found, size)

    def _of_no_use(self, name: str, kind: str, found: str, size: int) -> Finding:
        """A manifest or measurement that cannot be read is in the way of whoever comes to that
        state; a blob is not."""
        is_in_the_way = kind == DAMAGED and names.parts(name).kind != "blob"
        return self._finding(
            kind, name, found, "what it held: no plan names it, and so nothing makes it again",
            self.inspection.removal(name) if is_in_the_way else None, bytes=size,
        )  # fmt: skip

    def _asking(self, id: str, index: int) -> Mend:
        def mend() -> str:
            self.ask(id, index)
            return ASKED

        return mend

    def _measuring(self, name: str, id: str, index: int) -> Mend:
        """A worker measures what is not there: the damaged one goes first. Should this end in
        between, the next check finds a measurement missing, and asks for it."""

        def mend() -> str:
            self.store.remove(name)
            self.ask(id, index)
            return ASKED

        return mend

    # --- pointers from the epochs inside a segment ---

    def _pointers(self, plan: Plan, run: RunPlan) -> Iterator[Finding]:
        scope, keys = plan.scope(run), plan.keys(run)
        for end, key in enumerate(keys):
            there = "select start from manifest where scope = ? and key = ?"
            for (start,) in list(self.ledger.rows(there, scope, key)):
                for epoch in range(start + 1, end) or [end]:
                    yield from self._pointer(scope, keys[epoch], key)

    def _pointer(self, scope: str, key: str, segment: str) -> Iterator[Finding]:
        if self.ledger.has("select 1 from pointer where scope = ? and key = ?", scope, key):
            return
        self.ledger.add("pointer", scope, key, segment, self.inspection.now)
        name = names.within(scope, key)
        if self.inspection.is_gone(name):
            yield self._finding(
                MISSING, name, f"nothing, although segment {segment} passes through here",
                "a pointer at it", self._writing(
                    partial(self.store.write_json, name, {"segment": segment})
                ),
            )  # fmt: skip

    def _writing(self, write: Callable[[], Any]) -> Mend:
        def mend() -> str:
            write()
            return REBUILT

        return mend


def _holds(plan: Plan, run: RunPlan) -> bool:
    """Whether keys are those of config and timeline, and segments stand end to end."""
    segments = [plan.segments[i] for i in run.segments]
    if any(a.end != b.start or a.key != b.parent for a, b in pairwise(segments)):
        return False
    stretches = [stretch for segment in segments for stretch in segment.stretches]
    try:
        return not segments or plan.keys(run) == schedule.keys(plan.configs[run.config], stretches)
    except (HubelError, IndexError):
        return False
