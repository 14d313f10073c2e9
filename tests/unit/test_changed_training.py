"""Training in which something is other from an epoch on: the state is that of a run which goes on
from there under a config with these values, however the run is cut."""

import hashlib

import pytest
import shelf
from test_changes import CHANGES

from shared import tree
from shared.records import Records
from shared.schedule import learning_rate, under
from worker import gratings
from worker.bench import Bench
from worker.segment import execute
from worker.train import Trainer

pytestmark = pytest.mark.services

AT, END = 2, 4
DATA = gratings.generate(48, 16)
ADAM = {"name": "adam"}


def ignore(*_):
    pass


def path_of(to, scope="", optimizer=None, changes=None, **more):
    asked = {
        "epochs": END,
        "batch_size": 16,
        "augmentation": {"shift": 2},
        "changes": changes or [{"at": AT, "set": to}],
    }
    body = shelf.body(
        dataset={"name": "gratings", "train_samples": 48, "test_samples": 16},
        model={"name": "all_cnn", "width": 0.05},
        training=asked | ({"optimizer": optimizer} if optimizer else {}),
        deficit=None,
        **more,
    )
    return shelf.paths(body, lambda run: scope)


def carried_out(storage, paths):
    """The checkpoint of each stored state by epoch, and all epochs; every segment has a worker of
    its own."""
    records = Records(storage)
    made = tree.make(paths, records)
    bench = Bench(records, lambda _: DATA, "cpu", {"numerics": "here"}, ignore, ignore)
    for segment in made.segments:
        assert execute(bench, made, segment)
    found = [records.manifest(segment.scope, segment.key) for segment in made.segments]
    rows = [row for manifest in found for row in records.metrics(manifest)]
    return {m.end: m.checkpoint for m in found}, rows


def by_hand(path):
    """The last checkpoint's digest, from a trainer that was made for the changed config and brought
    to the state in which the change finds the run."""
    before, after = Trainer(path.config, DATA), None
    for epoch in range(END):
        stretch = next(s for s in path.stretches if s.start <= epoch < s.end)
        settings = under(path.config, stretch)
        if epoch == AT:
            after = Trainer(settings, DATA)
            after.load(before.checkpoint())
            if stretch.optimizer_restart or settings["optimizer"].get("momentum") == 0:
                after.forget_momentum()
        rate = learning_rate(settings, epoch - stretch.restart)
        (after or before).train_epoch(epoch, [], rate, ignore)
    return hashlib.sha256(after.checkpoint()).hexdigest()


KINDS = [(to, None) for to in CHANGES.values()]
KINDS += [(CHANGES["optimizer.learning_rate"], ADAM), (CHANGES["optimizer_restart"], ADAM)]
NAMES = [*CHANGES, "rate of adam", "restart of adam"]


@pytest.mark.parametrize(("to", "optimizer"), KINDS, ids=NAMES)
def test_the_change_acts_at_its_epoch_wherever_the_run_is_cut(storage, to, optimizer):
    [plain] = path_of({}, "plain/", optimizer)
    whole, rows = carried_out(storage, path_of(to, "whole/", optimizer))
    cut, _ = carried_out(storage, path_of(to, "cut/", optimizer, checkpoints={"epochs": [1, 3]}))
    usual, _ = carried_out(storage, [plain])
    assert {epoch: cut[epoch] for epoch in whole} == whole
    assert whole[END] == by_hand(path_of(to, optimizer=optimizer)[0])
    assert whole[END] != usual[END]
    [path] = path_of(to, optimizer=optimizer)
    assert [row["learning_rate"] for row in rows] == [
        learning_rate(under(path.config, s), e - s.restart)
        for s in path.stretches
        for e in range(s.start, s.end)
    ]


def test_a_change_inside_a_stored_segment_is_reached_by_replay(storage):
    carried_out(storage, path_of({}))
    paths = path_of(CHANGES["batch_size"])
    made = tree.make(paths, Records(storage))
    assert (made.epochs.stored, made.epochs.new, made.epochs.replayed) == (AT, END - AT, AT)
    found, _ = carried_out(storage, paths)
    alone, _ = carried_out(storage, path_of(CHANGES["batch_size"], "alone/"))
    assert found == alone


def test_a_state_at_which_something_changes_is_measured_as_it_was_trained(storage):
    """BatchNorm is re-estimated in batches of the size that the state was trained with."""
    scoring = {"scoring": {"batchnorm_statistics": "reestimated"}}
    changed = path_of({"batch_size": 5}, "changed/", **scoring)
    [whole] = path_of({}, "plain/", **scoring)
    for paths in (changed, [whole]):
        carried_out(storage, paths)
    values = []
    for [path] in (changed, [whole]):
        _, _, digest = next(one for one in path.probes if one[0] == AT)
        found = Records(storage).measurement(path.scope, path.keys[AT], digest)
        values.append(found["values"])
    assert values[0] == values[1]


def test_momentum_that_was_off_starts_from_nothing(storage):
    off, on = ({"optimizer": {"momentum": momentum}} for momentum in (0.0, 0.9))
    [path] = path_of({}, changes=[{"at": 1, "set": off}, {"at": 3, "set": on}])
    found, _ = carried_out(storage, [path])
    trainer = Trainer(path.config, DATA)
    for epoch in range(END):
        if epoch in (1, 3):
            trainer.forget_momentum()
        for group in trainer.optimizer.param_groups:
            group["momentum"] = 0.0 if epoch in (1, 2) else 0.9
        trainer.train_epoch(epoch, [], learning_rate(path.config, epoch), ignore)
    assert found[END] == hashlib.sha256(trainer.checkpoint()).hexdigest()
