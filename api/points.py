"""What an experiment has trained and measured so far, as a stream that can be taken up anywhere.

A position says how much of each segment was sent. It travels with the client, so that any process,
also one that was started since, goes on without a gap and without a repetition.
"""

import base64
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from shared import numbers
from shared.ahead import answers
from shared.errors import Corrupt
from shared.live import Live
from shared.plan import Plan, Probed, Segment
from shared.probe import FISHER
from shared.results import METRICS, Results, Row
from shared.rows import words
from shared.work import work_name

if TYPE_CHECKING:
    from api.service import Service

SEGMENTS = 64
"""Of which one event tells, at most."""
ASKED = 256
"""Epochs and measurements of one segment that Redis is asked about at a time."""
LONGEST = 60_000
"""Characters of a position, at most; ten thousand segments in disorder take 4,000."""

Askers = dict[tuple[str, str], dict[str, set[int]]]
"""(scope, key) -> probe digest -> runs."""
Event = tuple[str, str, str]
"""(event, data, position after it)"""


@dataclass
class Sent:
    """How many epochs, and Fisher measurements, of one segment."""

    epochs: int = 0
    measured: int = 0


class Wanted(NamedTuple):
    """A Fisher measurement, and the runs that it is of."""

    probed: Probed
    runs: list[int]


class Points:
    """Of one experiment: what there is to send. Thread-safe."""

    def __init__(self, id: str, service: "Service") -> None:
        self.id, self._service = id, service
        self.plan: Plan | None = None
        self.there: list[Sent] = []
        """Of each segment, as of the last look."""
        self.wanted: list[list[Wanted]] = []
        """Fisher measurements of each segment."""
        self.runs: list[list[int]] = []
        self._told: dict[int, list[Row]] = {}
        """Epochs of segments under way."""
        self._name = ""
        """The plan's, as positions hold it."""
        self._lock = Lock()

    def look(self) -> bool:
        """Whether there is more than before."""
        with self._lock:
            return self._look()

    def is_known(self) -> bool:
        """Whether it was looked at, now if not before; not while a data set is being prepared."""
        with self._lock:
            if self.plan is None:
                self._look()
            return self.plan is not None

    def _look(self) -> bool:
        if self.plan is None and not self._begin():
            return False
        assert self.plan is not None
        tracker = self._service.tracker(self.id)
        done = self._service.done_segments(self.id)
        before = sum(one.epochs + one.measured for one in self.there)
        if self._service.outcome(self.id) is not None:  # what was under way was not kept
            self._told.clear()
            self.there = self._before()
        else:
            for index in tracker.running(self._service.live).keys() - done:
                self._under_way(index, self.plan.segments[index], self._service.live)
        for index in done:
            self._whole(index, self.plan.segments[index])
        return sum(one.epochs + one.measured for one in self.there) > before

    def _begin(self) -> bool:
        plan = self._service.plan_left(self.id)
        if plan is None:
            return False
        self.runs = [[] for _ in plan.segments]
        for run in plan.runs:
            for index in run.segments:
                self.runs[index].append(run.index)
        askers, self._name = _askers(plan), plan.cut
        self.wanted = [
            _of_segment(segment, runs, askers)
            for segment, runs in zip(plan.segments, self.runs, strict=True)
        ]
        self.plan = plan
        self.there = self._before()
        return True

    def _before(self) -> list[Sent]:
        """What was stored when it was planned."""
        assert self.plan is not None
        return [
            Sent(
                segment.end - segment.start if segment.stored else 0,
                sum(one.probed not in segment.probes for one in wanted),
            )
            for segment, wanted in zip(self.plan.segments, self.wanted, strict=True)
        ]

    def _whole(self, index: int, segment: Segment) -> None:
        here = self.there[index]
        here.epochs, here.measured = segment.end - segment.start, len(self.wanted[index])
        self._told.pop(index, None)

    def _under_way(self, index: int, segment: Segment, live: Live) -> None:
        here = self.there[index]
        first = segment.start + here.epochs + 1
        epochs = range(first, min(first + ASKED, segment.end + 1))
        next_ones = self.wanted[index][here.measured : here.measured + ASKED]
        measured = [one.probed for one in next_ones]
        rows, count = live.told(work_name(segment), epochs, measured)
        if not segment.stored:
            self._told.setdefault(index, []).extend(rows)
            here.epochs += len(rows)
        here.measured += count

    # --- reading: in any thread ---

    def next(self, sent: list[Sent]) -> Event | None:
        """What comes after what was `sent`, which is brought forward; None: nothing more yet."""
        assert self.plan is not None
        there = [Sent(one.epochs, one.measured) for one in self.there]
        behind = [i for i, one in enumerate(there) if sent[i].epochs < one.epochs][:SEGMENTS]
        if behind:
            found = list(answers(self._rows, behind))  # all, before any counts as sent
            data = [block for i, rows in found for block in self._blocks(i, rows, there, sent)]
            return "points", json.dumps(data), self.position(sent)
        behind = [i for i, one in enumerate(there) if sent[i].measured < one.measured][:SEGMENTS]
        if behind:
            wanted = [
                (i, one)
                for i in behind
                for one in self.wanted[i][sent[i].measured : there[i].measured]
            ]
            measured = [one for _, one in list(answers(self._measurement, wanted)) if one]
            for i in behind:
                sent[i].measured = there[i].measured
            return "fisher", json.dumps(measured), self.position(sent)
        return None

    def _blocks(
        self, index: int, rows: list[Row] | None, there: list[Sent], sent: list[Sent]
    ) -> Iterator[Row]:
        part = (rows or [])[sent[index].epochs : there[index].epochs]
        sent[index].epochs += len(part)
        if part:
            columns = {name: [numbers.shown(row[name]) for row in part] for name in METRICS}
            epochs = [row["epoch"] for row in part]
            yield {"segment": index, "runs": self.runs[index], "epochs": epochs} | columns

    def _rows(self, index: int) -> list[Row]:
        """Epochs of a segment as they are stored, or else as its worker told them."""
        assert self.plan is not None
        told = self._told.get(index)
        if told is not None:
            return list(told)
        segment, records = self.plan.segments[index], self._service.records
        found = Results.read(self.plan, records, self.id).trained(segment)
        if found is None:
            raise Corrupt(f"the manifest of state {segment.key} is gone")
        return found

    def _measurement(self, of: tuple[int, Wanted]) -> Row | None:
        assert self.plan is not None
        index, wanted = of
        epoch, digest = wanted.probed
        segment = self.plan.segments[index]
        key = segment.state(epoch)
        found = self._service.records.measurement(segment.scope, key, digest)
        if found is None:
            return None
        probe, values = found["probe"], found["values"]
        return {
            "segment": index,
            "runs": wanted.runs,
            "epoch": epoch,
            "probe": digest,
            "estimator": probe["estimator"],
            "name": f"{probe['split']}, {words(probe['stimulus'])}, {probe['estimator']}",
            "total": numbers.shown(values["trace"]),
            "standard_error": numbers.shown(values.get("standard_error")),
            "layers": {one["name"]: numbers.shown(one["trace"]) for one in values["layers"]},
        }

    # --- positions ---

    def position(self, sent: list[Sent]) -> str:
        """As text: counts, of which 0 is none and 1 all, in runs of equal ones."""
        assert self.plan is not None
        lengths = [segment.end - segment.start for segment in self.plan.segments]
        epochs = (_code(s.epochs, n) for s, n in zip(sent, lengths, strict=True))
        measured = (_code(s.measured, len(w)) for s, w in zip(sent, self.wanted, strict=True))
        text = f"{self._name}|{_packed(epochs)}|{_packed(measured)}"
        return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("=")

    def sent_at(self, position: str) -> list[Sent]:
        """What a position says; nothing was sent where it is none of this plan's."""
        assert self.plan is not None
        nothing = [Sent() for _ in self.plan.segments]
        try:
            name, epochs, measured = _unpacked(position)
        except (ValueError, zlib.error):
            return nothing
        if name != self._name or not len(epochs) == len(measured) == len(nothing):
            return nothing
        return [
            Sent(_count(e, s.end - s.start), _count(m, len(w)))
            for e, m, s, w in zip(epochs, measured, self.plan.segments, self.wanted, strict=True)
        ]


def _askers(plan: Plan) -> Askers:
    """Who wants which Fisher measurement: two runs may share a state and not what they look at."""
    found: Askers = {}
    for run in plan.runs:
        for _, key, digest in run.probes:
            if plan.probes[digest]["kind"] == FISHER:
                found.setdefault((plan.scope(run), key), {}).setdefault(digest, set()).add(
                    run.index
                )
    return found


def _of_segment(segment: Segment, runs: list[int], askers: Askers) -> list[Wanted]:
    """What the runs that go through a segment want of its states: first what was stored before,
    then in the order in which it is measured."""
    first = segment.start if segment.start == 0 else segment.start + 1
    found = [
        Wanted((epoch, digest), [run for run in runs if run in who])
        for epoch in range(first, segment.end + 1)
        for digest, who in askers.get((segment.scope, segment.state(epoch)), {}).items()
    ]
    place = {one: i for i, one in enumerate(segment.probes)}
    return sorted((w for w in found if w.runs), key=lambda w: place.get(w.probed, -1))


def _code(count: int, whole: int) -> int:
    return 1 if count >= whole else count and count + 1


def _count(code: int, whole: int) -> int:
    return whole if code == 1 else max(0, min(code - 1, whole))


def _packed(codes: Iterator[int]) -> str:
    return ".".join(f"{code}x{sum(1 for _ in equal)}" for code, equal in groupby(codes))


def _unpacked(position: str) -> tuple[str, list[int], list[int]]:
    """ValueError for what `position` did not write; it may have come from anybody."""
    if len(position) > LONGEST:
        raise ValueError("too long")
    data = base64.b64decode(position + "=" * (-len(position) % 4), b"-_", validate=True)
    reader = zlib.decompressobj()
    text = reader.decompress(data, LONGEST * 20)
    name, epochs, measured = text.decode().split("|")
    return name, _codes(epochs), _codes(measured)


def _codes(text: str) -> list[int]:
    out: list[int] = []
    for part in text.split(".") if text else []:
        code, times = map(int, part.split("x"))
        if not 0 <= times <= 1_000_000 or len(out) > 1_000_000:
            raise ValueError("too many")
        out += [code] * times
    return out
