"""Runs that are pruned on the way: what is 0 stays 0, and the state is that of the run trained
alone, wherever it is cut."""

import pytest
import shelf
import torch
from test_changed_training import DATA, carried_out, ignore

from shared import tree
from shared.records import Records
from worker import checkpoint
from worker.bench import Bench
from worker.segment import execute

pytestmark = pytest.mark.services

END = 4
PRUNED = {"at": 1, "sparsity": 0.6, "samples": 16}
ADAM = {"name": "adam", "weight_decay": 0.01}
KINDS = {
    "weights": {},
    "channels": {"granularity": "channels", "criterion": "theis"},
    "in steps": {"steps": 2, "every": 2, "criterion": "fisher"},
    "by an earlier state": {"at": 3, "scored_at": 2, "criterion": "fisher", "ranking": "layer"},
    "at the start": {"at": 0, "criterion": "snip", "granularity": "channels"},
}


def paths(scope="", pruning=PRUNED, optimizer=None, model=None, **more):
    training = {"epochs": END, "batch_size": 16, "augmentation": {"shift": 2}}
    body = shelf.body(
        dataset={"name": "gratings", "train_samples": 48, "test_samples": 16},
        model=model or {"name": "all_cnn", "width": 0.05},
        training=training | ({"optimizer": optimizer} if optimizer else {}),
        deficit={"name": "blur", "resolution": 4, "end": 2},
        pruning=pruning,
        **more,
    )
    return shelf.paths(body, lambda run: scope)


def weights(storage, digest):
    tensors, _ = checkpoint.load(storage.read_blob(digest))
    return tensors


@pytest.mark.parametrize(
    ("kind", "optimizer"), list(zip(KINDS, [None, ADAM, None, ADAM, ADAM], strict=True))
)
def test_a_resumed_pruned_run_equals_the_run_trained_alone(storage, kind, optimizer):
    pruning = PRUNED | KINDS[kind]
    whole, rows = carried_out(storage, paths("whole/", pruning, optimizer))
    cut, again = carried_out(
        storage, paths("cut/", pruning, optimizer, checkpoints={"epochs": [1, 2, 3]})
    )
    assert {epoch: cut[epoch] for epoch in whole} == whole
    assert rows == again


@pytest.mark.parametrize(
    ("model", "optimizer"), [(None, ADAM), ({"name": "mlp", "width": 0.01}, None)]
)
def test_what_is_pruned_stays_at_exactly_zero_and_the_optimiser_remembers_nothing_of_it(
    storage, optimizer, model
):
    for granularity in ("weights", "channels"):
        pruning = PRUNED | {"granularity": granularity}
        found, _ = carried_out(
            storage,
            paths(f"{granularity}/", pruning, optimizer, model, checkpoints={"epochs": [2]}),
        )
        first, last = (weights(storage, found[epoch]) for epoch in (2, END))
        inner = [
            name for name, value in last.items()
            if name.startswith("model/") and name.endswith("weight") and value.dim() > 1
        ]  # fmt: skip
        if granularity == "channels":
            inner = inner[:-1]
        gone = {name: last[name] == 0 for name in inner}
        assert all(torch.equal(first[name] == 0, mask) for name, mask in gone.items())
        if granularity == "weights":
            places = sum(mask.numel() for mask in gone.values())
            assert sum(int(mask.sum()) for mask in gone.values()) == round(0.6 * places)
        for name, mask in gone.items():
            place = name.removeprefix("model/")
            slots = [n for n in last if n.startswith(f"optimizer/{place}/") and "step" not in n]
            assert slots
            assert not any(last[slot][mask].any() for slot in slots)


def test_the_probe_of_what_is_left_is_the_state_that_training_begins_with(storage):
    """Pruned at the very end, the accuracy of the probe is that of the pruned weights."""
    [path] = paths("end/", PRUNED | {"at": END})
    carried_out(storage, [path])
    [(epoch, probe, digest)] = [one for one in path.probes if one[1]["kind"] == "pruned"]
    assert epoch == END
    found = Records(storage).measurement(path.scope, path.keys[END], digest)["values"]
    assert found["weights"] - found["weights_left"] == round(0.6 * found["weights"])
    assert 0 <= found["running"]["accuracy"] <= 1
    assert found["reestimated"]["statistics_samples"] == 48
    assert probe["prune"]["sparsity"] == 0.6


def test_an_earlier_state_that_is_damaged_is_made_again_to_score_by(storage):
    pruning = PRUNED | {"at": 3, "scored_at": 2}
    whole, _ = carried_out(storage, paths("whole/", pruning))
    [path] = paths("mended/", pruning, checkpoints={"epochs": [2]})
    records = Records(storage)
    made = tree.make([path], records)
    bench = Bench(records, lambda _: DATA, "cpu", {"numerics": "here"}, ignore, ignore)
    for segment in made.segments:
        assert execute(bench, made, segment)
        if segment.end == 2:
            held = records.manifest(segment.scope, segment.key).checkpoint
        if segment.end == 3:
            storage.remove(f"blobs/{held}")
            records.forget()
    assert records.manifest(path.scope, path.keys[END]).checkpoint == whole[END]
