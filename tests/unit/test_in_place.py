"""A segment that is trained where the one before it ended, which is stored only afterwards: to the
bit what a worker makes that loads it from the store."""

import pytest
import shelf
from test_changed_training import ADAM, DATA, carried_out, ignore, path_of
from test_pruned_training import KINDS, PRUNED
from test_pruned_training import paths as pruned

from shared import tree
from shared.records import Records
from worker.bench import Bench
from worker.segment import perform
from worker.train import Trainer

pytestmark = pytest.mark.services

EACH = {"checkpoints": {"epochs": [1, 2, 3]}}
MOMENTUM = [{"at": 1, "set": {"optimizer": {"momentum": 0.0}}},
            {"at": 3, "set": {"optimizer": {"momentum": 0.5}}}]  # fmt: skip
RESTARTS = [{"at": 2, "set": {"optimizer_restart": True, "learning_rate_restart": True}}]
CASES = {
    "momentum that goes and comes": lambda scope: path_of({}, scope, changes=MOMENTUM, **EACH),
    "adam": lambda scope: path_of({"batch_size": 12}, scope, optimizer=ADAM, **EACH),
    "restarts": lambda scope: path_of({}, scope, changes=RESTARTS, **EACH),
    "pruned in steps": lambda scope: pruned(scope, PRUNED | KINDS["in steps"], **EACH),
    "pruned by an earlier state": lambda scope: pruned(
        scope, PRUNED | KINDS["by an earlier state"], **EACH
    ),
    "measured on the way": lambda scope: pruned(
        scope, PRUNED, optimizer=ADAM, fisher={"every": 1, "samples": 8}, **EACH
    ),
}


def bench_of(storage):
    return Bench(Records(storage), lambda _: DATA, "cpu", {"numerics": "here"}, ignore, ignore)


def in_place(storage, paths):
    """All on one trainer, and nothing is stored before all is trained."""
    bench, trainer, stores = bench_of(storage), None, []
    made = tree.make(paths, bench.records)
    for segment in made.segments:
        performed = perform(bench, made, segment, trainer)
        assert performed.done
        trainer = performed.trainer
        stores.append(performed.store)
    assert all(store() for store in stores)
    found = [bench.records.manifest(segment.scope, segment.key) for segment in made.segments]
    rows = [row for manifest in found for row in bench.records.metrics(manifest)]
    return {manifest.end: manifest.checkpoint for manifest in found}, rows


@pytest.mark.parametrize("case", CASES)
def test_what_is_trained_in_place_is_what_is_trained_from_the_store(storage, case):
    loaded, there = (CASES[case](scope) for scope in ("loaded/", "in-place/"))
    expected = carried_out(storage, loaded)
    assert len(expected[0]) == 4
    assert in_place(storage, there) == expected


def test_where_another_was_first_to_store_other_bytes_nothing_may_be_built_on_ours(storage):
    bench = bench_of(storage)
    made = tree.make(path_of({}, **EACH), bench.records)
    first = made.segments[0]
    elsewhere = Trainer(made.configs[first.config], DATA)
    elsewhere.model[0][0].weight.data.mul_(1 + 1e-6)  # as on another kind of device
    ours, theirs = perform(bench, made, first), perform(bench, made, first, elsewhere)
    assert theirs.store()
    assert not ours.store()
    assert perform(bench, made, first).store(), "theirs stands"


def test_seconds_of_a_segment_are_those_of_its_own_training(storage):
    bench = bench_of(storage)
    made = tree.make(path_of({}, **EACH), bench.records)
    performed = perform(bench, made, made.segments[0])
    following = perform(bench, made, made.segments[1], performed.trainer)
    assert performed.store()
    assert following.store()
    first, second = (bench.records.manifest(s.scope, s.key).provenance for s in made.segments[:2])
    assert first["finished"] <= second["started"]
    assert first["epoch_times"] < second["epoch_times"]


def test_a_state_that_two_runs_reach_is_one_blob(storage):
    """Checkpoints are named by their content: whole states are stored once."""
    run = shelf.body(
        dataset={"name": "gratings", "train_samples": 48, "test_samples": 16},
        model={"name": "all_cnn", "width": 0.05},
        training={"epochs": 2, "batch_size": 16},
        deficit=None,
    )
    digests = {carried_out(storage, shelf.paths(run, lambda run, scope=scope: scope))[0][2]
               for scope in ("one/", "two/")}  # fmt: skip
    assert len(digests) == 1
    assert sum(1 for _ in storage.names("blobs/")) == 2  # and the metrics
