"""Late removals and the valley a run ends in: over a removal sweep, the trace at the end, the
layers' shares of it, and the barrier between the weights with a deficit and without."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from shared.critical import curve_name, removal
from shared.partners import curve, elsewhere, grouped, partners, span
from shared.plan import RunPlan
from shared.plasticity import shares
from shared.probe import LINEAR_PATH
from shared.results import Results, Row
from shared.score import spread
from shared.stages import counted, stands
from shared.ways import Ways, lines, ways

SPLITS = ("train", "test")


def bottleneck(results: Results) -> list[dict[str, Any]]:
    """Of each removal curve, and each way in which the trace was measured (`series`; null where it
    was not), a point for each removal epoch. The first point, `removal` null, are the runs without
    a deficit that the others are compared with.

    `trace_at_end`: at the end of the run. `trace_over_clean`: over that of the partner of the same
    seed, a geometric mean. `shares`: of the trace at the end, by layer. `stage_at_removal`: how
    many runs stood where (`stages.stands`). `barrier`, in nats, `distance`, `relative_distance` and
    `line` (mean loss over seeds at each point a): from the run without a deficit, a = 0, to the one
    with it, a = 1 (`worker/linear_path.py`). Numbers are means over seeds with 95 % Student t
    intervals, of the runs that have them: `n` says how many.
    """
    once = results.remembering()
    of, clean = ways(once), partners(once)
    with_deficit = [run for run in once.plan.runs if span(run)]
    curves = (_Curve(once, of, clean, group) for group in grouped(with_deficit, curve_name))
    return [row for one in curves for row in one.rows()]


class _Curve:
    def __init__(
        self, results: Results, of: Ways, clean: dict[int, RunPlan], runs: list[RunPlan]
    ) -> None:
        self.results, self.of, self.clean, self.runs = results, of, clean, runs
        found = {clean[run.index].index: clean[run.index] for run in runs if run.index in clean}
        self.without = list(found.values())
        self.lines = {run.index: lines(results, run, of) for run in [*runs, *self.without]}

    def rows(self) -> Iterable[Row]:
        there = dict.fromkeys(way for by_way in self.lines.values() for way in by_way)
        crossed = [self._crossed(run) for run in self.runs]
        for way in there or [None] if any(crossed) else there:
            yield self._row(way)

    def _row(self, way: str | None) -> Row:
        epochs = sorted({removal(run) for run in self.runs})
        at = {epoch: [run for run in self.runs if removal(run) == epoch] for epoch in epochs}
        points = [self._point(None, self.without, way)] if self.without else []
        points += [self._point(epoch, runs, way) for epoch, runs in at.items()]
        head = {**curve(self.runs[0]), "point": elsewhere(self.runs[0]), "series": way}
        return head | {"points": points}

    def _point(self, epoch: int | None, runs: list[RunPlan], way: str | None) -> Row:
        ends = {run.index: end for run in runs if (end := self._end(run, way)) is not None}
        there = [held for end in ends.values() if (held := shares(end)) is not None]
        return {
            "removal": epoch,
            "runs": [run.index for run in runs],
            "trace_at_end": spread(end["trace"] for end in ends.values()),
            "trace_over_clean": _geometric(self._ratios(runs, ends, way) if epoch else []),
            "shares": _shares(there),
            "stage_at_removal": counted(self._stand(run, epoch, way) for run in runs),
            **_barriers([found for run in runs if (found := self._crossed(run)) is not None]),
        }

    def _end(self, run: RunPlan, way: str | None) -> Row | None:
        """The measurement after a run's last epoch."""
        line = self.lines[run.index].get(way or "", [])
        return line[-1] if line and line[-1]["epoch"] == run.epochs else None

    def _ratios(self, runs: list[RunPlan], ends: dict[int, Row], way: str | None) -> list[float]:
        pairs = [
            (ends[run.index], self._end(self.clean[run.index], way))
            for run in runs
            if run.index in ends and run.index in self.clean
        ]
        both = [(end["trace"], other["trace"]) for end, other in pairs if other is not None]
        return [trace / other for trace, other in both if trace > 0 and other > 0]

    def _stand(self, run: RunPlan, epoch: int | None, way: str | None) -> Row | None:
        line = [(row["epoch"], row["trace"]) for row in self.lines[run.index].get(way or "", [])]
        return None if epoch is None else stands(line, epoch)

    def _crossed(self, run: RunPlan) -> Row | None:
        """The line to its partner, of several that with most points."""
        found = self.results.measurements(run, {LINEAR_PATH})
        values: list[Row] = [one["values"] for one in found]
        return max(values, key=lambda one: len(one["points"]), default=None)


def _shares(there: Sequence[dict[str, float]]) -> list[Row]:
    names = list(there[0]) if there else []
    return [{"name": name, "share": spread(held[name] for held in there)} for name in names]


def _barriers(found: list[Row]) -> Row:
    points = max((len(one["points"]) for one in found), default=0)
    found = [one for one in found if len(one["points"]) == points]
    return {
        "barrier": {split: _spread(one["barrier"][split] for one in found) for split in SPLITS},
        "distance": _spread(one["distance"] for one in found),
        "relative_distance": _spread(one["relative_distance"] for one in found),
        "line": [
            {"a": at[0]["a"]}
            | {split: _spread(one[split]["loss"] for one in at) for split in SPLITS}
            | {f"{split}_accuracy": _spread(one[split]["accuracy"] for one in at)
               for split in SPLITS}
            for at in zip(*(one["points"] for one in found), strict=True)
        ],
    }  # fmt: skip


def _spread(values: Iterable[float | str]) -> Row:
    """Of those that are finite: a run that diverged has no barrier."""
    return spread(value for value in map(float, values) if math.isfinite(value))


def _geometric(ratios: list[float]) -> Row:
    over = spread(math.log(ratio) for ratio in ratios)
    interval = over["interval"] and [math.exp(end) for end in over["interval"]]
    mean = None if over["mean"] is None else math.exp(over["mean"])
    return {"n": over["n"], "mean": mean, "interval": interval}
