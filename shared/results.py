"""An experiment's results: what the store holds of its segments, joined into runs.

Every epoch number is a number of epochs trained so far: metrics run from 1, measurements from 0.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from shared.ahead import answers
from shared.chain import Manifest
from shared.plan import Plan, Probed, RunPlan, Segment
from shared.records import Records

Row = dict[str, Any]

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate")
"""What every epoch of a segment records; accuracies are in 0..1."""


@dataclass(frozen=True)
class Results:
    """What is there of a plan's runs, while they are trained and afterwards."""

    plan: Plan
    experiment: str
    trained: Callable[[Segment], list[Row] | None]
    """The epochs of a segment as `joined` gives them; None while it is not done."""
    measured: Callable[[str, str, str], Row | None]
    """(scope, state key, probe digest) -> the stored measurement."""
    name: str = ""
    jobs: frozenset[str] = frozenset()
    """Of the measurement jobs whose measurements are among the plan's."""
    is_done: Callable[[Segment], bool] | None = None
    """The same as whether `trained` finds something, without reading it."""
    whole: frozenset[int] | None = None
    """Indices of the segments that are trained and measured; None: nobody has counted."""
    later: frozenset[tuple[int, int, str]] = frozenset()
    """(run, epoch, probe digest) of what jobs have measured."""
    measures: str | None = None
    """The experiment that this one only measures: it trains nothing that it could score."""

    @classmethod
    def read(
        cls,
        plan: Plan,
        records: Records,
        experiment: str,
        name: str = "",
        done: set[int] | None = None,
    ) -> "Results":
        """From the store. `done` (segment indices) saves asking it for what is not there."""
        ended = {(plan.segments[i].scope, plan.segments[i].key) for i in done or ()}

        def is_done(segment: Segment) -> bool:
            if segment.end == 0:  # an initial state that is only measured
                return True
            if done is not None:
                return segment.stored or (segment.scope, segment.key) in ended
            return records.manifest(segment.scope, segment.key) is not None

        def trained(segment: Segment) -> list[Row] | None:
            if segment.end == 0:
                return []
            if not is_done(segment):
                return None
            manifests = records.spanning(segment.scope, segment.key, segment.start)
            return joined(manifests, records.metrics, segment.start, experiment)

        whole = None if done is None else frozenset(done)
        read = records.measurement
        return cls(plan, experiment, trained, read, name, is_done=is_done, whole=whole)

    def remembering(self) -> "Results":
        """The same, with what has been read kept: several numbers are made of the same epochs."""
        rows: dict[tuple[str, str, int], list[Row] | None] = {}
        found: dict[tuple[str, str, str], Row | None] = {}

        def trained(segment: Segment) -> list[Row] | None:
            name = (segment.scope, segment.key, segment.start)
            if name not in rows:
                rows[name] = self.trained(segment)
            return rows[name]

        def measured(*name: str) -> Row | None:
            scope, key, probe = name
            if (scope, key, probe) not in found:
                found[scope, key, probe] = self.measured(scope, key, probe)
            return found[scope, key, probe]

        return replace(self, trained=trained, measured=measured)

    def is_own(self, found: Row) -> bool:
        """Whether a measurement was made for this experiment."""
        maker = found["provenance"]["experiment"]
        return maker == self.experiment or maker in self.jobs

    def about(self, found: Row) -> Row:
        """Of which state a measurement is, and where it comes from."""
        provenance = found["provenance"]
        return {
            "epoch": found["epoch"],
            "time": provenance["time"],
            "key": found["key"],
            "reused": not self.is_own(found),
            "numerics": provenance["numerics"],
        }

    @property
    def paths(self) -> list[str]:
        """The sweep's axes: a column each."""
        return list(dict.fromkeys(path for run in self.plan.runs for path in run.point))

    def epochs(self, run: RunPlan) -> Iterator[Row]:
        """What a run has trained so far, epoch by epoch, without a gap."""
        for index in run.segments:
            rows = self.trained(self.plan.segments[index])
            if rows is None:
                return
            yield from rows

    def last_epochs(self, run: RunPlan, n: int) -> list[Row] | None:
        """A run's last `n` epochs (all, if it has fewer); None until it has ended."""
        last: list[Row] = []
        for index in reversed(run.segments):
            rows = self.trained(self.plan.segments[index])
            if rows is None:
                return None
            last = rows + last
            if len(last) >= n:
                break
        return last[-n:]

    def diverged(self, run: RunPlan) -> Row | None:
        """Where a run that has ended diverged for good: the epoch, and in it the step, from 1, with
        the first loss that was not finite. None for one that has not."""
        last = self.last_epochs(run, 1)
        if not last or not _lost(last[0]):
            return None
        row = next(row for row in self.epochs(run) if _lost(row))
        return {"epoch": row["epoch"], "step": row.get("diverged_at_step")}

    def measurements(self, run: RunPlan, kinds: set[str]) -> Iterator[Row]:
        """A run's stored measurements of these kinds of probe, in the order of the plan. Of states
        within a segment that is not done there may be some already: they count when it is. What
        this experiment has not measured in time is not taken from one that did it later."""
        scope, probes = self.plan.scope(run), self.plan.probes
        wanted = [one for one in run.probes if probes[one[2]]["kind"] in kinds]
        reached, awaited = (self.reached(run), self._awaited(run)) if wanted else (0, set())
        wanted = [(e, k, d) for e, k, d in wanted if e <= reached and (e, d) not in awaited]
        for _, found in answers(lambda one: self.measured(scope, *one[1:]), wanted):
            if found is not None:
                yield found

    def numerics(self, runs: Iterable[RunPlan] | None = None) -> list[str]:
        """The numerics classes that trained these runs; more than one is a mixture."""
        runs = self.plan.runs if runs is None else runs
        indices = {index for run in runs for index in run.segments}
        parts = (self.trained(self.plan.segments[index]) for index in sorted(indices))
        return sorted({row["numerics"] for part in parts for row in part or []})

    def _awaited(self, run: RunPlan) -> set[Probed]:
        """What segments that are not whole are to measure, and no job has measured since."""
        left = set() if self.whole is None else {*run.segments} - self.whole
        probed = {one for index in left for one in self.plan.segments[index].probes}
        return {(e, d) for e, d in probed if (run.index, e, d) not in self.later}

    def reached(self, run: RunPlan) -> int:
        """Epochs that a run has trained."""
        is_done = self.is_done or (lambda segment: self.trained(segment) is not None)
        ended = 0
        for index in run.segments:
            if not is_done(self.plan.segments[index]):
                break
            ended = self.plan.segments[index].end
        return ended


def _lost(row: Row) -> bool:
    return isinstance(row["train_loss"], str)  # as JSON has no word for it


def joined(
    manifests: list[Manifest],
    metrics: Callable[[Manifest], list[Row]],
    start: int,
    experiment: str,
) -> list[Row]:
    """The epochs after `start`, each with when, in which numerics class, and whether for another
    experiment it was trained. The first manifest may begin before `start`."""
    rows: list[Row] = []
    for manifest in manifests:
        provenance = manifest.provenance
        facts = {
            "numerics": provenance["numerics"],
            "reused": provenance["experiment"] != experiment,
        }
        times = provenance["epoch_times"]
        for row, time in zip(metrics(manifest), times, strict=True):
            if row["epoch"] > start:
                rows.append(row | facts | {"time": time})
    return rows


def identity(run: RunPlan) -> Row:
    """A run's columns in every table: its index, variant, seed and place in the sweep."""
    point = {path: flat(value) for path, value in run.point.items()}
    return {"run": run.index, "variant": run.variant, "seed": run.seed} | point


def flat(value: Any) -> Any:
    """A swept value as one cell: an object or a list becomes words."""
    if isinstance(value, dict):
        return " ".join(f"{key}={flat(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(str(flat(item)) for item in value)
    return value
