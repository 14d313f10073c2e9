"""One segment: load the parent state, train its epochs, measure on the way, store what came out.

No Celery and no Redis here: whoever calls says how to tick, and what to do after an epoch.
"""

import hashlib
import json
import logging
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

from shared import names, numbers
from shared.chain import Manifest
from shared.errors import Corrupt, NotFound, NotReady
from shared.plan import Plan, Probed, Segment
from shared.schedule import learning_rate
from worker import probes
from worker.bench import Bench
from worker.train import Trainer

log = logging.getLogger(__name__)


def execute(bench: Bench, plan: Plan, segment: Segment) -> bool:
    """Do what is left to do of a segment. True when all of it is in the store."""
    missing = _missing(bench, segment)
    manifest = bench.records.manifest(segment.scope, segment.key)
    if manifest is not None and not missing:
        return True
    work = _Work(bench, plan, segment)
    if manifest is None:
        return work.train(missing)
    work.replay(manifest, missing)
    return True


def mend(bench: Bench, plan: Plan, segment: Segment) -> bool:
    """Verify all that is stored of a segment, and compute again what is damaged or gone."""
    bench.records.forget()  # this process may have read it while it was whole
    whole = segment.model_copy(update={"probes": plan.probed(segment)})
    if bench.records.manifest(segment.scope, segment.key) is not None:
        _Work(bench, plan, whole).verify()
    return execute(bench, plan, whole)


def _missing(bench: Bench, segment: Segment) -> list[Probed]:
    return [
        (epoch, digest)
        for epoch, digest in segment.probes
        if not bench.records.measured(segment.scope, segment.state(epoch), digest)
    ]


class _Work:
    def __init__(self, bench: Bench, plan: Plan, segment: Segment) -> None:
        self.bench, self.plan, self.segment = bench, plan, segment
        self.records, self.store = bench.records, bench.records.store
        self.config = plan.configs[segment.config]
        self.trainer = Trainer(self.config, bench.arrays(self.config), bench.device)
        self.stretches = plan.leading_to(segment)
        self.numerics = bench.provenance["numerics"]
        self.started = time.time()
        self.rows: list[dict[str, Any]] = []
        self.times: list[str] = []

    def train(self, missing: list[Probed]) -> bool:
        """From the parent state, or from the furthest stored state inside, to the end."""
        start = self._furthest(missing)
        self._mend_metrics(start)
        self._load(self.segment.state(start), start)
        self._measure(start, missing)
        for epoch in range(start, self.segment.end):
            self._epoch(epoch)
            self._measure(epoch + 1, missing)
            if self.bench.stopping():
                self._finish(start, epoch + 1)
                return epoch + 1 == self.segment.end
        self._finish(start, self.segment.end)
        return True

    def replay(self, manifest: Manifest, missing: list[Probed]) -> None:
        """Reach states inside a stored segment once more, to measure them."""
        self._mend_metrics(self.segment.end)
        inside = self.segment.replay_end(missing)
        if any(epoch < self.segment.end for epoch, _ in missing):
            self._load(self.segment.parent, self.segment.start)
            self._measure(self.segment.start, missing)
            for epoch in range(self.segment.start, inside):
                self._epoch(epoch)
                self._measure(epoch + 1, missing, replayed=True)
        if any(epoch == self.segment.end for epoch, _ in missing):
            self._restore(manifest)
            self._measure(self.segment.end, missing)

    def verify(self) -> None:
        """Train again what leads through this segment and has lost one of its blobs."""
        scope, segment = self.segment.scope, self.segment
        for manifest in self.records.spanning(scope, segment.key, segment.start):
            blobs = (manifest.checkpoint, manifest.metrics)
            if not all(self.store.verifies(digest) for digest in blobs):
                log.error("state %s is trained again: a blob of it is damaged", manifest.key)
                self._replace(manifest)

    def _furthest(self, missing: list[Probed]) -> int:
        """The epoch of the last stored state that misses no measurement before it."""
        first = min((e for e, _ in missing), default=self.segment.end)
        for epoch in range(min(first, self.segment.end - 1), self.segment.start, -1):
            if self.records.manifest(self.segment.scope, self.segment.state(epoch)) is not None:
                return epoch
        return self.segment.start

    def _load(self, key: str, epoch: int) -> None:
        if epoch == 0:
            self.trainer.load(None)
        else:
            self._restore(self._stored(key, epoch))

    def _stored(self, key: str, epoch: int) -> Manifest:
        manifest = self.records.manifest(self.segment.scope, key)
        if manifest is None:
            raise NotReady(f"state {key} (epoch {epoch}) is not stored yet")
        return manifest

    def _restore(self, manifest: Manifest) -> None:
        """Go to a stored state; train it again where its checkpoint is gone or does not verify,
        from the nearest whole one. In a loop: hundreds of checkpoints may have been collected."""
        lost: list[Manifest] = []
        while not self._loaded(manifest):
            lost.append(manifest)
            if manifest.start == 0:
                self.trainer.load(None)
                break
            manifest = self._stored(manifest.parent, manifest.start)
        for manifest in reversed(lost):
            blobs = self._train_on(manifest)
            # Where only the checkpoint was collected, what is shown of the state is whole, and
            # stays also when another kind of device goes on from there.
            if manifest.provenance["numerics"] == self.numerics or not self._is_collected(manifest):
                self._accept(manifest, blobs)

    def _loaded(self, manifest: Manifest) -> bool:
        try:
            self.trainer.load(self.store.read_blob(manifest.checkpoint))
        except (Corrupt, NotFound) as error:
            log.error("state %s is trained again: %s", manifest.key, error)
            return False
        return True

    def _is_collected(self, manifest: Manifest) -> bool:
        return self.store.exists(names.collected(self.segment.scope, manifest.key))

    def _mend_metrics(self, epoch: int) -> None:
        """Train again what leads to the state after `epoch` and has lost its metrics. Nothing is
        built on those: where other bytes come out, the damage stays and is only said."""
        if epoch == 0:
            return
        key = self._stored(self.segment.state(epoch), epoch).key
        since = _idle_since(self.plan, self.segment)
        for manifest in self.records.spanning(self.segment.scope, key, since):
            if not self.store.verifies(manifest.metrics) and not self._metrics_again(manifest):
                log.error(
                    "the metrics of state %s are damaged; %s gave them, not %s",
                    manifest.key, manifest.provenance["numerics"], self.numerics,
                )  # fmt: skip

    def _metrics_again(self, manifest: Manifest) -> bool:
        if manifest.provenance["numerics"] != self.numerics:
            return False
        log.error("state %s is trained again: its metrics are damaged", manifest.key)
        return manifest.metrics in self._train_again(manifest)

    def _replace(self, manifest: Manifest) -> None:
        """Train a stored state again. The same numerics class has to give the same bytes; another
        one makes a new generation of the manifest, and what was built on the old stays."""
        self._accept(manifest, self._train_again(manifest))

    def _accept(self, manifest: Manifest, blobs: dict[str, bytes]) -> None:
        expected = {manifest.checkpoint, manifest.metrics}
        if manifest.provenance["numerics"] != self.numerics:
            self._new_generation(manifest, blobs)
        elif not expected <= blobs.keys():
            raise Corrupt(
                f"State {manifest.key} is damaged, and training it again gives other bytes than it"
                f" had, on the same kind of device ({self.numerics}): look for a changed library or"
                " a faulty machine"
            )

    def _new_generation(self, manifest: Manifest, blobs: dict[str, bytes]) -> None:
        checkpoint, metrics = (self.store.write_blob(data) for data in blobs.values())
        before = {"numerics": manifest.provenance["numerics"]}
        before |= {"checkpoint": manifest.checkpoint, "metrics": manifest.metrics}
        renewed = manifest.model_copy(
            update={
                "checkpoint": checkpoint,
                "metrics": metrics,
                "provenance": manifest.provenance
                | {name: self.bench.provenance[name] for name in ("worker", "numerics", "device")}
                | {"generation": manifest.provenance.get("generation", 1) + 1}
                | {"replaces": before, "replaced": _now()},
            }
        )
        self.store.write_json(
            names.manifest(self.segment.scope, manifest.key), renewed.model_dump()
        )
        self.records.forget()

    def _train_again(self, manifest: Manifest) -> dict[str, bytes]:
        """Go to a stored state by training: its checkpoint and its metrics by their digests."""
        self._load(manifest.parent, manifest.start)
        return self._train_on(manifest)

    def _train_on(self, manifest: Manifest) -> dict[str, bytes]:
        """From the state before it. Blobs that came out as they were are written again."""
        rows = [self._train(epoch) for epoch in range(manifest.start, manifest.end)]
        blobs = {_digest(data): data for data in (self.trainer.checkpoint(), _encoded(rows))}
        for digest in blobs.keys() & {manifest.checkpoint, manifest.metrics}:
            self.store.write_blob(blobs[digest])
        return blobs

    def _epoch(self, epoch: int) -> None:
        self.rows.append(self._train(epoch))
        self.times.append(_now())

    def _train(self, epoch: int) -> dict[str, Any]:
        stretch = next(s for s in self.stretches if s.start <= epoch < s.end)
        began = time.monotonic()
        rate = learning_rate(self.config, epoch - stretch.restart)
        if 0 < epoch == stretch.optimizer_restart:
            self.trainer.forget_momentum()
        metrics = self.trainer.train_epoch(epoch, stretch.stimulus, rate, self.bench.tick)
        self.bench.after_epoch(epoch + 1, time.monotonic() - began)
        return {"epoch": epoch + 1, "stimulus": stretch.stimulus, **metrics}

    def _measure(self, epoch: int, missing: list[Probed], replayed: bool = False) -> None:
        for digest in [digest for at, digest in missing if at == epoch]:
            probe = self.plan.probes[digest]
            values = probes.measure(self.trainer, probe, epoch, self.bench.tick)
            key = self.segment.state(epoch)
            record = {
                "probe": probe,
                "key": key,
                "epoch": epoch,
                "values": numbers.storable(values),
                "provenance": self.bench.provenance | {"time": _now()},
            }
            if replayed:
                matches = self.bench.patiently(self._replay_matches)
                record["provenance"]["replay_matches"] = matches
            self.bench.patiently(partial(self._keep, key, digest, record))

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

    def _finish(self, start: int, end: int) -> None:
        checkpoint = self.trainer.checkpoint()
        self.bench.patiently(lambda: self._store(start, end, checkpoint))

    def _store(self, start: int, end: int, checkpoint: bytes) -> None:
        """Blobs first, then the pointers of the epochs inside, the manifest last."""
        scope, key = self.segment.scope, self.segment.state(end)
        manifest = Manifest(
            key=key,
            parent=self.segment.state(start),
            start=start,
            end=end,
            checkpoint=self.store.write_blob(checkpoint),
            metrics=self.store.write_blob(_encoded(self.rows)),
            provenance=self.bench.provenance
            | {
                "started": _now(self.started),
                "finished": _now(),
                "wall_seconds": time.time() - self.started,
                "epoch_times": self.times,
            },
            measured=[one for one in self.segment.probes if one[0] <= end],
        )
        # The first epoch always has a pointer: planning asks there whether anything is stored.
        for epoch in range(start + 1, end) or [end]:
            self.store.write_json(names.within(scope, self.segment.state(epoch)), {"segment": key})
        if not self.store.create_json(names.manifest(scope, key), manifest.model_dump()):
            self._adopt(manifest)

    def _adopt(self, ours: Manifest) -> None:
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


def _idle_since(plan: Plan, segment: Segment) -> int:
    """Where the stored stretch above a segment begins that is no other task's to look at."""
    idle = {(s.scope, s.key): s for s in plan.segments if s.stored and not s.probes}
    while (above := idle.get((segment.scope, segment.parent))) is not None:
        segment = above
    return segment.start


def _encoded(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(numbers.storable(rows), sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _now(seconds: float | None = None) -> str:
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
