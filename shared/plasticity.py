"""Information plasticity: how the Fisher information that a network holds when a deficit is removed
is spread over its layers, and how far it moves until the end."""

import math
from collections.abc import Mapping
from typing import Any

from shared.partners import curve, points, span
from shared.plan import RunPlan
from shared.results import Results, Row
from shared.score import spread
from shared.ways import Ways, lines, planned, ways

Shares = dict[str, float]
"""Layer -> its share; they sum to 1."""


def plasticity(results: Results) -> list[dict[str, Any]]:
    """Of each point of the sweep that has a deficit, and each way of measuring (`series`): the
    layers' shares of the trace at the removal of the last window and at the end.

        p_l = trace of layer l / sum of all layers' traces
        moved = 1/2 sum_l |p_l(end) - p_l(removal)|          (total variation: 0 none, 1 all)

    each run by itself, then over its seeds. `epoch` is the measured epoch nearest to the removal,
    the earlier of two, and `end` the last one; a point at which these are the same is left out. A
    run counts once both are measured, and where all traces are finite. Errors of the estimates do
    not cancel in `moved`: it is biased upwards by about their size.
    """
    of = ways(results)
    found = []
    for runs in points(results.plan):
        there = span(runs[0])
        if there is None:
            continue
        by_run = [(run, lines(results, run, of)) for run in runs]
        for way, (epoch, end) in _looks(results, runs[0], of, there[1]).items():
            pairs = [_pair(by_way.get(way, []), epoch, end) for _, by_way in by_run]
            moves = [pair for pair in pairs if pair is not None]
            head = {**curve(runs[0]), "point": runs[0].point, "series": way}
            where = {"removal": there[1], "epoch": epoch, "end": end}
            found.append(head | where | _moved(moves))
    return found


def total_variation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """1/2 sum |p - q| of two distributions over names; a name that one lacks has 0 there."""
    return sum(abs(one.get(n, 0.0) - other.get(n, 0.0)) for n in {**one, **other}) / 2


def shares(row: Row) -> Shares | None:
    """Of a measurement; None where a trace is not finite, or they sum to nothing."""
    traces = {layer["name"]: layer["trace"] for layer in row["layers"]}
    if any(trace is None or not math.isfinite(trace) for trace in traces.values()):
        return None
    total = math.fsum(traces.values())
    return {name: trace / total for name, trace in traces.items()} if total > 0 else None


def _looks(results: Results, run: RunPlan, of: Ways, removal: int) -> dict[str, tuple[int, int]]:
    """Label of a way -> (measured epoch nearest to the removal, last one), where these differ."""
    looks = {
        way: (min(epochs, key=lambda epoch: (abs(epoch - removal), epoch)), epochs[-1])
        for way, epochs in planned(results, run, of).items()
    }
    return {way: (epoch, end) for way, (epoch, end) in looks.items() if epoch < end}


def _pair(line: list[Row], epoch: int, end: int) -> tuple[Shares, Shares] | None:
    at = {row["epoch"]: shares(row) for row in line if row["epoch"] in (epoch, end)}
    removed, ended = at.get(epoch), at.get(end)
    return (removed, ended) if removed is not None and ended is not None else None


def _moved(moves: list[tuple[Shares, Shares]]) -> Row:
    names = list(moves[0][0]) if moves else []
    return {
        "n": len(moves),
        "moved": spread(total_variation(removed, ended) for removed, ended in moves),
        "layers": [
            {
                "name": name,
                "at_removal": spread(removed[name] for removed, _ in moves),
                "at_end": spread(ended[name] for _, ended in moves),
                "change": spread(ended[name] - removed[name] for removed, ended in moves),
            }
            for name in names
        ],
    }
