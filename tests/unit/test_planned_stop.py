"""A segment whose worker is asked to stop, at every step at which that can be noticed."""

import pytest
import shelf

from shared import tree
from shared.errors import Stopped
from shared.records import Records
from worker import gratings, meters
from worker.bench import Bench
from worker.segment import execute

pytestmark = pytest.mark.services

BODY = shelf.body(
    dataset={"name": "gratings", "train_samples": 48, "test_samples": 16},
    model={"name": "all_cnn", "width": 0.05},
    training={"epochs": 4, "batch_size": 16, "augmentation": {"shift": 2}},
    deficit=None,
    fisher={"epochs": [0, 2, 4], "samples": 8},
)
EPOCHS = 4


class Stop:
    """A tick that raises from the given one on, as a worker's does when there is no more time."""

    def __init__(self, at=None):
        self.at, self.ticks, self.epochs = at, 0, 0

    def __call__(self):
        self.ticks += 1
        if self.is_due():
            raise Stopped("asked to stop")

    def is_due(self):
        return self.at is not None and self.ticks >= self.at

    def after_epoch(self, *_):
        self.epochs += 1


def tried(storage, scope, stop):
    """Whether the only segment is done, its plan, and the store's records as a new process has
    them."""
    records, data = Records(storage), gratings.generate(48, 16)
    made = tree.make(shelf.paths(BODY, lambda run: scope), records)
    provenance = {"numerics": "here", "experiment": "one"}
    bench = Bench(
        records, lambda _: data, "cpu", provenance, stop, stop.after_epoch, stopping=stop.is_due
    )
    first = tree.make(shelf.paths(BODY, lambda run: scope), shelf.Shelf()).segments[0]
    try:
        return execute(bench, made, first), first
    except Stopped:
        return False, first


def found(storage, segment):
    """All that is to be seen of it, from any number of parts."""
    records = Records(storage)
    parts = records.spanning(segment.scope, segment.key, 0)
    for part in parts:
        for epoch, digest in part.measured:
            assert records.measured(segment.scope, segment.state(epoch), digest)
    values = [records.measurement(segment.scope, segment.state(e), d)["values"]
              for e, d in segment.probes]  # fmt: skip
    return [row for part in parts for row in records.metrics(part)], parts[-1].checkpoint, values


def test_whenever_it_is_stopped_whole_epochs_are_kept_and_the_rest_is_the_same(storage):
    whole = Stop()
    done, segment = tried(storage, "whole/", whole)
    assert done
    expected = found(storage, segment)
    assert whole.epochs == EPOCHS
    assert whole.ticks > 20
    for at in range(1, whole.ticks + 1):
        scope, first, second = f"stopped-{at}/", Stop(at), Stop()
        done, segment = tried(storage, scope, first)
        assert not done
        kept = [key for key in segment.keys
                if Records(storage).manifest(scope, key) is not None]  # fmt: skip
        assert len(kept) == (first.epochs > 0), at
        assert tried(storage, scope, second)[0]
        assert found(storage, segment) == expected, at
        assert first.epochs + second.epochs == EPOCHS, at


def test_what_is_stopped_between_two_epochs_counts_as_given_back(storage):
    def counted():
        return {outcome: meter._value.get() for outcome, meter in meters.SEGMENTS.items()}

    whole, before = Stop(), counted()
    tried(storage, "counted/", whole)
    between = counted()
    assert between == before | {"trained": before["trained"] + 1}
    assert not tried(storage, "given-back/", Stop(whole.ticks - 1))[0]
    assert counted() == between | {"given_back": between["given_back"] + 1}
