"""The stored states of a segment and of what leads to it: load one, verify, train what is damaged
again.

Every blob that is shown or built on verifies: where one does not, the state is reached by training.
"""

import hashlib
import json
import logging
import time
from functools import partial
from typing import Any

from shared import moments, names, numbers
from shared.chain import Manifest
from shared.errors import Corrupt, NotFound, NotReady
from shared.plan import Plan, Segment
from shared.schedule import Stretch, keys, learning_rate, under
from worker import meters
from worker.bench import Bench
from worker.pruning import step as pruning
from worker.train import Trainer

log = logging.getLogger(__name__)


class States:
    """Brings `trainer` to them."""

    def __init__(self, bench: Bench, plan: Plan, segment: Segment, trainer: Trainer) -> None:
        self.bench, self.plan, self.segment, self.trainer = bench, plan, segment, trainer
        self.records, self.store = bench.records, bench.records.store
        self.config = plan.configs[segment.config]
        self.stretches = plan.leading_to(segment)
        self.numerics = bench.provenance["numerics"]
        trainer.earlier = partial(_earlier, bench, plan, segment)

    def verify(self) -> None:
        """Train again what leads through this segment and has lost one of its blobs."""
        scope, segment = self.segment.scope, self.segment
        for manifest in self.records.spanning(scope, segment.key, segment.start):
            blobs = (manifest.checkpoint, manifest.metrics)
            if not all(self.store.verifies(digest) for digest in blobs):
                log.error("state %s is trained again: a blob of it is damaged", manifest.key)
                self._replace(manifest)

    def load(self, key: str, epoch: int) -> None:
        if epoch == 0:
            self._load(None, 0)
        else:
            self.restore(self._stored(key, epoch))

    def _stored(self, key: str, epoch: int) -> Manifest:
        manifest = self.records.manifest(self.segment.scope, key)
        if manifest is None:
            raise NotReady(f"state {key} (epoch {epoch}) is not stored yet")
        return manifest

    def restore(self, manifest: Manifest) -> None:
        """Go to a stored state; train it again where its checkpoint is gone or does not verify,
        from the nearest whole one. In a loop: hundreds of checkpoints may have been collected."""
        lost: list[Manifest] = []
        while not self._loaded(manifest):
            lost.append(manifest)
            if manifest.start == 0:
                self._load(None, 0)
                break
            manifest = self._stored(manifest.parent, manifest.start)
        for manifest in reversed(lost):
            was_collected = self.records.is_collected(self.segment.scope, manifest)
            blobs = self._train_on(manifest)
            # Where only the checkpoint was collected, what is shown of the state is whole, and
            # stays also when another kind of device goes on from there.
            if manifest.provenance["numerics"] == self.numerics or not was_collected:
                self._accept(manifest, blobs)

    def _loaded(self, manifest: Manifest) -> bool:
        try:
            checkpoint = self.store.read_blob(manifest.checkpoint)
            self._load(checkpoint, manifest.end)
            meters.CHECKPOINTS["read"].inc(len(checkpoint))
        except (Corrupt, NotFound) as error:
            log.error("state %s is trained again: %s", manifest.key, error)
            return False
        return True

    def _load(self, checkpoint: bytes | None, epoch: int) -> None:
        """Under the settings that led to the state: those of its last epoch, and not of the next,
        which may be others for every run that goes on from here."""
        self.trainer.adopt(under(self.config, self._stretch(epoch - 1)) if epoch else self.config)
        self.trainer.load(checkpoint)

    def go_to(self, epoch: int) -> None:
        """The run's state after so many epochs: from the last stored state before it, however the
        run is cut by now."""
        path = keys(self.config, self.stretches)
        start, manifest = self._last_stored(path, epoch)
        if manifest is None:
            self._load(None, 0)
        else:
            self.restore(manifest)
        for between in range(start, epoch):
            self.train_epoch(between)
        meters.EPOCHS["replayed"].inc(epoch - start)

    def _last_stored(self, path: list[str], epoch: int) -> tuple[int, Manifest | None]:
        for at in range(epoch, 0, -1):
            if (found := self.records.manifest(self.segment.scope, path[at])) is not None:
                return at, found
        return 0, None

    def _stretch(self, epoch: int) -> Stretch:
        return next(s for s in self.stretches if s.start <= epoch < s.end)

    def mend_metrics(self, epoch: int) -> None:
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
                | {"replaces": before, "replaced": moments.now()},
            }
        )
        self.store.write_json(
            names.manifest(self.segment.scope, manifest.key), renewed.model_dump()
        )
        self.records.forget()

    def _train_again(self, manifest: Manifest) -> dict[str, bytes]:
        """Go to a stored state by training: its checkpoint and its metrics by their digests."""
        self.load(manifest.parent, manifest.start)
        return self._train_on(manifest)

    def _train_on(self, manifest: Manifest) -> dict[str, bytes]:
        """From the state before it. Blobs that came out as they were are written again."""
        rows = [self.train_epoch(epoch) for epoch in range(manifest.start, manifest.end)]
        meters.EPOCHS["replayed"].inc(len(rows))
        blobs = {_digest(data): data for data in (self.trainer.checkpoint(), encoded(rows))}
        if manifest.checkpoint in blobs:
            # Before it is stored: should this end in between, it counts as lost and not as
            # collected, and is made again.
            self.store.remove(names.collected(self.segment.scope, manifest.key))
        for digest in blobs.keys() & {manifest.checkpoint, manifest.metrics}:
            self.store.write_blob(blobs[digest])
        return blobs

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        stretch = self._stretch(epoch)
        settings = under(self.config, stretch)
        began = time.monotonic()
        rate = learning_rate(settings, epoch - stretch.restart)
        self.trainer.adopt(settings)
        if 0 < epoch == stretch.optimizer_restart:
            self.trainer.forget_momentum()
        pruning.begin(self.trainer, stretch.pruning, epoch, self.bench.tick)
        metrics = self.trainer.train_epoch(epoch, stretch.stimulus, rate, self.bench.tick)
        took = time.monotonic() - began
        meters.SECONDS["training"].inc(took)
        row = {"epoch": epoch + 1, "stimulus": stretch.stimulus, **metrics}
        self.bench.after_epoch(row, took)
        return row


def _earlier(bench: Bench, plan: Plan, segment: Segment, trainer: Trainer, epoch: int) -> Trainer:
    """A trainer beside this one, in the run's state after fewer epochs. No method: with a trainer
    that holds what holds it, its images stay in memory until a collector comes by."""
    beside = trainer.beside()
    States(bench, plan, segment, beside).go_to(epoch)
    return beside


def encoded(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(numbers.storable(rows), sort_keys=True, separators=(",", ":")).encode()


def _idle_since(plan: Plan, segment: Segment) -> int:
    """Where the stored stretch above a segment begins that is no other task's to look at."""
    idle = {(s.scope, s.key): s for s in plan.segments if s.stored and not s.probes}
    while (above := idle.get((segment.scope, segment.parent))) is not None:
        segment = above
    return segment.start


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
