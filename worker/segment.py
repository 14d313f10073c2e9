"""One segment: load the parent state, train its epochs, measure on the way, store what came out.

No Celery and no Redis here: whoever calls says how to tick, and what to do after an epoch.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from shared import moments, names, numbers
from shared.chain import Manifest
from shared.errors import Corrupt, NotReady, Stopped
from shared.plan import Plan, Probed, Segment
from shared.probe import LINEAR_PATH, Probe
from worker import meters, probes
from worker.bench import Bench
from worker.snapshot import Snapshot
from worker.states import States, encoded
from worker.train import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Performed:
    """What was done of a segment, and what of it is still to be stored."""

    done: bool
    """Whether all of the segment is in the store once this is."""
    trainer: Trainer | None = None
    """In the state at the segment's end, where it was trained up to there."""
    store: Callable[[], bool] = lambda: True
    """In any thread. False where somebody was first to store other bytes: nothing that was built on
    ours may be stored."""


def execute(bench: Bench, plan: Plan, segment: Segment) -> bool:
    """Do what is left to do of a segment. True when all of it is in the store."""
    performed = perform(bench, plan, segment)
    performed.store()
    return performed.done


def perform(
    bench: Bench, plan: Plan, segment: Segment, trainer: Trainer | None = None
) -> Performed:
    """The same, and what was trained is not stored yet. A trainer, where there is one, is in the
    state at which the segment begins, whether that is stored or not."""
    missing = _missing(bench, segment)
    manifest = bench.records.manifest(segment.scope, segment.key)
    if manifest is not None and not missing:
        meters.SEGMENTS["reused"].inc()
        return Performed(True)
    if manifest is None:
        return _Work(bench, plan, segment, trainer).train(missing)
    _Work(bench, plan, segment).replay(manifest, missing)
    meters.SEGMENTS["measured"].inc()
    return Performed(True)


def mend(bench: Bench, plan: Plan, segment: Segment) -> bool:
    """Verify all that is stored of a segment, and compute again what is damaged or gone."""
    bench.records.forget()  # this process may have read it while it was whole
    whole = segment.model_copy(update={"probes": plan.probed(segment)})
    if bench.records.manifest(segment.scope, segment.key) is not None:
        _Work(bench, plan, whole).states.verify()
    return execute(bench, plan, whole)


def _missing(bench: Bench, segment: Segment) -> list[Probed]:
    return [
        (epoch, digest)
        for epoch, digest in segment.probes
        if not bench.records.measured(segment.scope, segment.state(epoch), digest)
    ]


class _Work:
    def __init__(
        self, bench: Bench, plan: Plan, segment: Segment, trainer: Trainer | None = None
    ) -> None:
        self.bench, self.plan, self.segment = bench, plan, segment
        self.records, self.store = bench.records, bench.records.store
        config = plan.configs[segment.config]
        self.is_there = trainer is not None
        self.trainer = trainer or Trainer(config, bench.arrays(config), bench.device, bench.record)
        self.states = States(bench, plan, segment, self.trainer)
        self.started = time.time()
        self.rows: list[dict[str, Any]] = []
        self.times: list[str] = []
        self.unmeasured: set[Probed] = set()
        self.snapshot: Snapshot | None = None

    def train(self, missing: list[Probed]) -> Performed:
        """From the parent state, or from the furthest stored state inside, to the end; or as far as
        there is time for."""
        start = self._furthest(missing)
        if not (self.is_there and start == self.segment.start):
            self.states.mend_metrics(start)
            self.states.load(self.segment.state(start), start)
        self.unmeasured = set(missing)
        end = self._train_from(start, missing)
        done = end == self.segment.end and not self.unmeasured
        trainer = self.trainer if done else None
        if end == start < self.segment.end:
            meters.SEGMENTS["given_back"].inc()
            return Performed(done)
        self.snapshot = self.snapshot or self.trainer.remember()
        return Performed(done, trainer, partial(self._finish, start, end, time.time()))

    def _train_from(self, start: int, missing: list[Probed]) -> int:
        """To which epoch. Asked to stop, it is the one under way, or, where that takes too long,
        the one before."""
        try:
            self._measure(start, missing)
            for epoch in range(start, self.segment.end):
                self._epoch(epoch)
                meters.EPOCHS["trained"].inc()
                self.snapshot = None  # not two of them at once
                self.snapshot = self.trainer.remember()
                self._measure(epoch + 1, missing)
                if self.bench.stopping():
                    break
        except Stopped:
            log.info("what was begun of epoch %d is given up", start + len(self.rows) + 1)
        return start + len(self.rows)

    def replay(self, manifest: Manifest, missing: list[Probed]) -> None:
        """Reach states inside a stored segment once more, to measure them."""
        self.states.mend_metrics(self.segment.end)
        inside = self.segment.replay_end(missing)
        if any(epoch < self.segment.end for epoch, _ in missing):
            self.states.load(self.segment.parent, self.segment.start)
            self._measure(self.segment.start, missing)
            for epoch in range(self.segment.start, inside):
                self._epoch(epoch)
                meters.EPOCHS["replayed"].inc()
                self._measure(epoch + 1, missing, replayed=True)
        if any(epoch == self.segment.end for epoch, _ in missing):
            self.states.restore(manifest)
            self._measure(self.segment.end, missing)

    def _furthest(self, missing: list[Probed]) -> int:
        """The epoch of the last stored state that misses no measurement before it."""
        first = min((e for e, _ in missing), default=self.segment.end)
        for epoch in range(min(first, self.segment.end - 1), self.segment.start, -1):
            if self.records.manifest(self.segment.scope, self.segment.state(epoch)) is not None:
                return epoch
        return self.segment.start

    def _epoch(self, epoch: int) -> None:
        self.rows.append(self.states.train_epoch(epoch))
        self.times.append(moments.now())

    def _measure(self, epoch: int, missing: list[Probed], replayed: bool = False) -> None:
        for digest in [digest for at, digest in missing if at == epoch]:
            probe = self.plan.probes[digest]
            began = time.monotonic()
            values = self._values(probe, epoch)
            meters.SECONDS["measuring"].inc(time.monotonic() - began)
            key = self.segment.state(epoch)
            record = {
                "probe": probe,
                "key": key,
                "epoch": epoch,
                "values": numbers.storable(values),
                "provenance": self.bench.provenance | {"time": moments.now()},
            }
            if replayed:
                matches = self.bench.patiently(self._replay_matches)
                record["provenance"]["replay_matches"] = matches
            self.bench.patiently(partial(self._keep, key, digest, record))
            self.unmeasured.discard((epoch, digest))
            self.bench.after_measuring(epoch, digest)

    def _values(self, probe: Probe, epoch: int) -> dict[str, Any]:
        if probe["kind"] != LINEAR_PATH:
            return probes.measure(self.trainer, probe, epoch, self.bench.tick)
        there = self._other(probe["other"])
        return probes.measure_between(there, self.trainer, probe, epoch, self.bench.tick)

    def _other(self, state: dict[str, Any]) -> nn.Module:
        """The network of another run of this plan, at its end."""
        ends = [s for s in self.plan.segments if s.key == state["key"] and not s.only_measures]
        needed = [s for s in ends if (s.scope, s.key) in self.segment.needs] or ends
        if not needed:
            raise NotReady(f"state {state['key']} is of no run of this plan")
        beside = self.trainer.beside()
        States(self.bench, self.plan, needed[0], beside).load(state["key"], state["epoch"])
        return beside.model

    def _keep(self, key: str, digest: str, record: dict[str, Any]) -> None:
        """A measurement, unless there is one that verifies."""
        scope = self.segment.scope
        name = names.measurement(scope, key, digest)
        if not self.store.create_json(name, record) and not self.records.measured(
            scope, key, digest
        ):
            self.store.write_json(name, record)

    def _replay_matches(self) -> bool | None:
        """Whether the epochs trained again gave the numbers that are stored; None where those are
        damaged."""
        scope, segment = self.segment.scope, self.segment
        manifests = self.records.spanning(scope, segment.key, segment.start)
        try:
            stored = {row["epoch"]: row for m in manifests for row in self.records.metrics(m)}
        except Corrupt:
            return None
        return all(stored[row["epoch"]] == numbers.storable(row) for row in self.rows)

    def _finish(self, start: int, end: int, finished: float) -> bool:
        assert self.snapshot is not None, "a segment ends in a state"
        checkpoint = self.snapshot.dump()
        self.snapshot = None  # its memory is the device's
        is_ours = self.bench.patiently(lambda: self._store(start, end, checkpoint, finished))
        meters.CHECKPOINTS["written"].inc(len(checkpoint))
        is_done = end == self.segment.end and not self.unmeasured
        meters.SEGMENTS["trained" if is_done else "given_back"].inc()
        log.info("trained epochs %d to %d", start + 1, end)
        return is_ours

    def _store(self, start: int, end: int, checkpoint: bytes, finished: float) -> bool:
        """Blobs first, then the pointers of the epochs inside, the manifest last. False where
        another checkpoint stands."""
        scope, key = self.segment.scope, self.segment.state(end)
        manifest = Manifest(
            key=key,
            parent=self.segment.state(start),
            start=start,
            end=end,
            checkpoint=self.store.write_blob(checkpoint),
            metrics=self.store.write_blob(encoded(self.rows)),
            provenance=self.bench.provenance
            | {
                "started": moments.at(self.started),
                "finished": moments.at(finished),
                "wall_seconds": finished - self.started,
                "epoch_times": self.times,
            },
            measured=[
                one for one in self.segment.probes if one[0] <= end and one not in self.unmeasured
            ],
        )
        # The first epoch always has a pointer: planning asks there whether anything is stored.
        for epoch in range(start + 1, end) or [end]:
            self.store.write_json(names.within(scope, self.segment.state(epoch)), {"segment": key})
        if self.store.create_json(names.manifest(scope, key), manifest.model_dump()):
            return True
        return self._adopt(manifest)

    def _adopt(self, ours: Manifest) -> bool:
        """Somebody stored this segment first. Theirs stands, where it verifies; a difference is
        worth a line."""
        scope = self.segment.scope
        theirs = self.records.manifest(scope, ours.key)
        if theirs is None:
            self.store.write_json(names.manifest(scope, ours.key), ours.model_dump())
        elif theirs.checkpoint != ours.checkpoint:
            log.error(
                "state %s was stored with other bytes: theirs %s, ours %s",
                ours.key, theirs.provenance.get("numerics"), ours.provenance.get("numerics"),
            )  # fmt: skip
            return False
        return True
