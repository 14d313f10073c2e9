"""Where a run stands on its way through the bottleneck: it memorises while its Fisher trace climbs,
crosses at the peak, and forgets once the trace has fallen to half of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Literal

from shared.partners import curve, points, span
from shared.phases import accuracies, plateau
from shared.plan import RunPlan
from shared.results import Results, Row
from shared.score import spread
from shared.ways import lines, ways

Stage = Literal["memorising", "crossing", "forgetting"]
STAGES: tuple[Stage, ...] = ("memorising", "crossing", "forgetting")
HALF = 1 / 2


def stands(line: Sequence[tuple[int, float]], until: int) -> dict[str, Any] | None:
    """Where a run stood after `until` epochs, by (epoch, trace) of one way of measuring, in order.

        memorising:  the last value is the largest so far
        crossing:    it lies below the peak so far, and above half of it
        forgetting:  at or below half of the peak so far

    `epoch` and `trace` are of the last measurement by then, `peak_epoch` and `peak_trace` of the
    largest. Only what was measured by then counts: a run that stands at a peak may climb to another
    one later. None where fewer than two epochs were measured. The noise of a trace makes a stage
    come a little early or late; nothing is smoothed.
    """
    seen = list(takewhile(lambda one: one[0] <= until, line))
    if len(seen) < 2:
        return None
    epoch, trace = seen[-1]
    peak_epoch, peak = max(seen, key=lambda one: one[1])
    stage: Stage = "memorising"
    if trace < peak:
        stage = "crossing" if trace > HALF * peak else "forgetting"
    where = {"stage": stage, "epoch": epoch, "trace": trace}
    over = trace / peak if peak > 0 else None
    return where | {"peak_epoch": peak_epoch, "peak_trace": peak, "trace_over_peak": over}


def of_run(
    line: Sequence[tuple[int, float]], removal: int | None, accuracy: Mapping[int, float]
) -> dict[str, Any]:
    """`stands` at the removal of the deficit and at the end, each with the test accuracy (0..1)
    there and whether that had reached its plateau (`phases.plateau`) by then.

    `rise_after_removal`: the largest trace after the removal over the last one until then. Above 1
    the network took up information once more; None without both.
    """
    reached = plateau(accuracy)
    last = line[-1][0] if line else 0
    before = [trace for epoch, trace in line if removal is not None and epoch <= removal]
    after = [trace for epoch, trace in line if removal is not None and epoch > removal]
    rise = max(after) / before[-1] if before and after and before[-1] > 0 else None
    return {
        "at_removal": None if removal is None else _with_accuracy(line, removal, accuracy, reached),
        "at_end": _with_accuracy(line, last, accuracy, reached),
        "plateau_epoch": reached,
        "rise_after_removal": rise,
    }


def stages(results: Results) -> list[dict[str, Any]]:
    """`of_run` of each run, by point of the sweep and way of measuring (`series`), with how many
    runs stand where."""
    of = ways(results)
    found = []
    for runs in points(results.plan):
        by_way: dict[str, list[Row]] = {}
        for run in runs:
            for way, line in lines(results, run, of).items():
                by_way.setdefault(way, []).append(_row(results, run, line))
        found += [_point(runs[0], way, each) for way, each in by_way.items()]
    return found


def counted(each: Iterable[Row | None]) -> dict[str, int]:
    """How many stand at each stage."""
    counts = Counter(one["stage"] for one in each if one is not None)
    return {stage: counts[stage] for stage in STAGES}


def _with_accuracy(
    line: Sequence[tuple[int, float]],
    until: int,
    accuracy: Mapping[int, float],
    reached: int | None,
) -> dict[str, Any] | None:
    found = stands(line, until)
    if found is None:
        return None
    at = found["epoch"]
    has = None if reached is None else at >= reached
    return found | {"test_accuracy": accuracy.get(at), "at_plateau": has}


def _row(results: Results, run: RunPlan, line: list[Row]) -> Row:
    there = span(run)
    measured = [(row["epoch"], row["trace"]) for row in line]
    found = of_run(measured, there[1] if there else None, accuracies(results, run))
    return {"run": run.index, "seed": run.seed, **found}


def _point(run: RunPlan, way: str, each: list[Row]) -> Row:
    there = span(run)
    rises = [one["rise_after_removal"] for one in each]
    return {
        **curve(run),
        "point": run.point,
        "series": way,
        "removal": there[1] if there else None,
        "n": len(each),
        "at_removal": counted(one["at_removal"] for one in each),
        "at_end": counted(one["at_end"] for one in each),
        "rise_after_removal": spread(rise for rise in rises if rise is not None),
        "runs": each,
    }
