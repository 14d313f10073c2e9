"""How long an experiment still takes, from what its segments took: the rest of its plan, done by
the workers that are there, the most urgent first."""

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from shared import cost
from shared.makespan import Precedence, makespan, precedence, schedule
from shared.plan import Plan, Segment

KEPT = 256
"""Segments that are believed, the last ones: machines change."""
SHARE = 0.02
"""Of the time, at most, goes into looking ahead: 0.12 to 0.16 s for 42,504 segments (n = 2, one
of 2 shared x86-64 cores, Python 3.11)."""
WORKERS_SECONDS = 15.0
"""Over which the number of workers is smoothed: an experiment may share them with others."""
LEAST = 0.25
"""Workers of an experiment that has not been seen to get more."""

Kind = tuple[Any, ...]
Parts = dict[Kind, float]
"""Device seconds by the spec, by what costs them: each size of network, each kind of probe."""


class Took(NamedTuple):
    parts: Parts
    seconds: float


class TimeLeft:
    """Of one experiment. Used by one thread at a time."""

    def __init__(self, plan: Plan, urgency: list[float]) -> None:
        self.plan, self.urgency = plan, urgency
        self._an_epoch = [cost.device_seconds(config, 1) for config in plan.configs]
        self._took: deque[Took] = deque(maxlen=KEPT)
        self._workers: tuple[float, float] | None = None
        """How many, and when that was."""
        self._said: tuple[float, float, float] | None = None
        """What was said, when, and how long it took to find out."""

    def note(self, index: int, epochs: int, seconds: float) -> None:
        """So many epochs of a segment, with what was measured on the way, took so long."""
        segment = self.plan.segments[index]
        share = epochs / segment.planned if segment.planned else 1.0
        parts = {kind: share * part for kind, part in self._parts(segment).items()}
        if any(parts.values()):
            self._took.append(Took(parts, seconds))

    def of(
        self, todo: list[int], done: list[int], running: Mapping[int, Any], workers: int | None
    ) -> float | None:
        """None without any basis: nothing was done yet, or nothing like what is left. `todo` and
        what is `done` of what was to do; `running`: what is under way, with what its worker last
        said; `workers`: how many there are for it, where somebody can say."""
        now = time.monotonic()
        # What has just been done is still among what runs, until the store was asked.
        busy = sum(not said.get("done") for said in running.values())
        # Also by workers of another experiment, which needs the same.
        several = self._smoothed(max(busy, 1 if workers is None else workers), now)
        if self._said is not None:
            left, at, took = self._said
            if now - at < took / SHARE:
                return max(0.0, left - (now - at))
        if (rates := self._rates(running)) is None:
            return None
        begun = {i: _seconds(self._parts_left(i, said), rates) for i, said in running.items()}
        each = self._table @ [rates.get(kind, 0.0) for kind in self._kinds]
        if todo and not any(each[i] for i in todo):
            return None
        now = time.monotonic()  # what is imported, or made once, is not counted
        left = self._look_ahead(todo, done, each.tolist(), begun, max(LEAST, several))
        self._said = left, now, time.monotonic() - now
        return left

    def _smoothed(self, workers: float, now: float) -> float:
        before, at = self._workers or (workers, now)
        new = workers + (before - workers) * math.exp(-(now - at) / WORKERS_SECONDS)
        self._workers = new, now
        return new

    def _look_ahead(
        self, todo: list[int], done: list[int], each: list[float], begun: dict[int, float],
        workers: float,
    ) -> float:  # fmt: skip
        several = max(1, round(workers))
        rest = schedule(self._order, each, several, self.urgency, todo, done, begun)
        return makespan(rest) * several / workers

    # --- what a segment consists of ---

    def _parts(self, segment: Segment, after: int = -1) -> Parts:
        """Of its epochs, and its measurements, after an epoch."""
        an_epoch = self._an_epoch[segment.config]
        begin = max(segment.start, after)
        parts: Parts = {
            ("train", an_epoch): an_epoch * max(0, segment.start + segment.planned - begin)
        }
        for epoch, digest in segment.probes:
            if epoch >= after:
                kind = _kind(self.plan.probes[digest])
                parts[kind] = parts.get(kind, 0.0) + an_epoch
        return parts

    def _parts_left(self, index: int, said: Mapping[str, Any]) -> Parts:
        segment = self.plan.segments[index]
        return self._parts(segment, max(segment.start, int(said.get("epoch", segment.start))))

    @cached_property
    def _order(self) -> Precedence:
        return precedence(self.plan)

    @cached_property
    def _kinds(self) -> list[Kind]:
        trained = {("train", an_epoch) for an_epoch in self._an_epoch}
        return [*sorted(trained), *{_kind(probe): None for probe in self.plan.probes.values()}]

    @cached_property
    def _table(self) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """(segments, kinds)"""
        columns = {kind: column for column, kind in enumerate(self._kinds)}
        table = np.zeros((len(self.plan.segments), len(columns)))
        for row, segment in enumerate(self.plan.segments):
            for kind, part in self._parts(segment).items():
                table[row, columns[kind]] = part
        return table

    # --- what each part takes ---

    def _rates(self, running: Mapping[int, Any]) -> Parts | None:
        """Measured seconds of a device second by the spec, for each kind: least squares with
        errors in proportion to what the spec says, none negative. A size of network that nothing
        was seen of takes what the others do on average."""
        seen = [*self._took, *self._epochs(running)]
        if not seen:
            return None
        from scipy.optimize import nnls  # slow to import: not when the API starts

        kinds = [kind for kind in self._kinds if any(took.parts.get(kind) for took in seen)]
        parts = np.array([[took.parts.get(kind, 0.0) for kind in kinds] for took in seen])
        took = np.array([took.seconds for took in seen])
        size = parts.sum(1)
        rates, _ = nnls(parts / size[:, None], took / size)
        found = dict(zip(kinds, map(float, rates), strict=True))
        trained = [i for i, kind in enumerate(kinds) if kind[0] == "train"]
        known = parts[:, trained].sum(0)
        average = float(known @ rates[trained] / known.sum()) if trained else 0.0
        return {kind: average for kind in self._kinds if kind[0] == "train"} | found

    def _epochs(self, running: Mapping[int, Any]) -> Iterable[Took]:
        """Those under way, without what is measured beside them."""
        for index, said in running.items():
            if (seconds := said.get("seconds_per_epoch", 0.0)) > 0:
                an_epoch = self._an_epoch[self.plan.segments[index].config]
                yield Took({("train", an_epoch): an_epoch}, seconds)


def _kind(probe: Mapping[str, Any]) -> Kind:
    return "measure", probe["kind"], str(probe.get("estimator")), str(probe.get("samples"))


def _seconds(parts: Parts, rates: Parts) -> float:
    return sum(part * rates.get(kind, 0.0) for kind, part in parts.items())
