import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shelf
import torch
import torch.nn.functional as F

from shared import tree
from shared.arrays import Arrays
from shared.records import Records
from worker import gratings
from worker.bench import Bench
from worker.models import MODELS, build
from worker.segment import execute
from worker.train import EVALUATION_BATCH, Trainer

SGD = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.001}
PLAIN_SGD = {**SGD, "momentum": 0.0}
ADAM = {
    "name": "adam",
    "learning_rate": 0.001,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "weight_decay": 0.0001,
}
BLUR = [{"name": "blur", "resolution": 4}]
NOISE = [{"name": "noise", "redraw": "every_epoch"}]
PERMUTED = [{"name": "label_permutation"}]
MODEL_FIELDS = {"depth_cnn": {"n": 2}, "deep_linear": {"depth": 3, "initial_scale": 0.5}}
TIMELINE = [BLUR, [*BLUR, {"name": "vertical_flip"}, *PERMUTED], NOISE, []]


def arrays(train=70, test=30, shape=(12, 12, 3)):
    draw = np.random.default_rng(0)
    return Arrays(
        draw.integers(0, 256, (train, *shape), dtype=np.uint8),
        draw.integers(0, 4, train),
        draw.integers(0, 256, (test, *shape), dtype=np.uint8),
        draw.integers(0, 4, test),
    )


def config(data=None, model="all_cnn", optimizer=SGD, shift=2, batch_size=16, seed=0,
           precision="float32"):  # fmt: skip
    data = data or arrays()
    return {
        "dataset": {
            "train_samples": len(data.train_labels),
            "test_samples": len(data.test_labels),
            "shape": list(data.train_images.shape[1:]),
            "classes": 4,
            "mean": [0.49, 0.48, 0.45],
            "std": [0.2, 0.2, 0.2],
        },
        "model": {"name": model, "width": 0.05, **MODEL_FIELDS.get(model, {})},
        "optimizer": optimizer,
        "batch_size": batch_size,
        "precision": precision,
        "augmentation": {"shift": shift, "horizontal_flip": shift > 0},
        "seed": seed,
    }


def ignore():
    pass


def run(trainer, epochs, tick=ignore):
    return [trainer.train_epoch(e, TIMELINE[e], 0.05 * 0.9**e, tick) for e in epochs]


def trained(epochs=range(4), **kind):
    trainer = Trainer(config(**kind), arrays())
    return trainer, run(trainer, epochs)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", [SGD, PLAIN_SGD, ADAM], ids=["sgd", "plain", "adam"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_equals_the_run_trained_alone(model, optimizer, precision):
    kind = {"model": model, "optimizer": optimizer, "precision": precision}
    alone, metrics = trained(**kind)
    for cut in (0, 1, 3):
        first, before = trained(range(cut), **kind)
        second = Trainer(config(**kind), arrays())
        second.load(first.checkpoint())
        assert before + run(second, range(cut, 4)) == metrics
        assert second.checkpoint() == alone.checkpoint()


def test_a_run_resumed_in_another_process_equals_the_run_trained_alone(tmp_path):
    alone, _ = trained()
    half, _ = trained(range(2))
    (tmp_path / "half").write_bytes(half.checkpoint())
    script = (
        "import hashlib, pathlib, sys, torch; torch.set_num_threads(int(sys.argv[2]));"
        "from test_train import *;"
        "t = Trainer(config(), arrays()); t.load(pathlib.Path(sys.argv[1]).read_bytes());"
        "run(t, range(2, 4)); print(hashlib.sha256(t.checkpoint()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "half"), str(torch.get_num_threads())],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == hashlib.sha256(alone.checkpoint()).hexdigest()


def test_measuring_between_and_within_epochs_does_not_change_training():
    alone, metrics = trained()
    trainer, seen = Trainer(config(), arrays()), []
    for epoch in range(4):
        seen += run(trainer, [epoch])
        torch.manual_seed(epoch)
        torch.rand(3)
        trainer.evaluate(ignore)
        images, labels = trainer.show("train", torch.arange(9), BLUR, epoch)
        trainer.model.eval()
        F.cross_entropy(trainer.model(images), labels).backward()
    assert seen == metrics
    assert trainer.checkpoint() == alone.checkpoint()


def test_an_epoch_abandoned_and_begun_again_leaves_no_trace():
    alone, metrics = trained()
    trainer = Trainer(config(), arrays())
    state = trainer.checkpoint()
    calls = iter(range(100))

    def cancel_at_the_third_step():
        if next(calls) == 2:
            raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        run(trainer, [0], cancel_at_the_third_step)
    trainer.load(state)
    assert run(trainer, range(4)) == metrics
    assert trainer.checkpoint() == alone.checkpoint()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", [SGD, PLAIN_SGD, ADAM], ids=["sgd", "plain", "adam"])
def test_what_is_remembered_is_the_checkpoint_of_then_however_training_goes_on(model, optimizer):
    trainer, _ = trained(range(2), model=model, optimizer=optimizer)
    state, kept = trainer.checkpoint(), trainer.remember()
    calls = iter(range(100))

    def stop_at_the_third_step():
        if next(calls) == 2:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        run(trainer, [2], stop_at_the_third_step)
    assert trainer.checkpoint() != state
    trainer.adopt(config(model=model, optimizer=optimizer, batch_size=8))
    assert kept.dump() == state


def test_seeds_differ_from_the_initial_state_on():
    one, two = (Trainer(config(seed=seed), arrays()) for seed in (0, 1))
    assert one.checkpoint() != two.checkpoint()
    one.load(None)
    assert one.checkpoint() == Trainer(config(), arrays()).checkpoint()


def test_training_is_torchs_own_sgd_on_the_same_batches():
    data = arrays()
    settings = config(shift=0)
    trainer = Trainer(settings, data)
    batches = [indices for indices, _ in trainer._batches(0, trainer._usual)]
    reference = build(settings["model"], (12, 12, 3), 4, seed=0)
    optimizer = torch.optim.SGD(
        reference.parameters(), 0.02, momentum=0.9, weight_decay=0.001, foreach=False
    )
    mean, std = (torch.tensor(settings["dataset"][k]).view(3, 1, 1) for k in ("mean", "std"))
    for indices in batches:
        pixels = torch.from_numpy(data.train_images[indices]).permute(0, 3, 1, 2)
        logits = reference((pixels / 255 - mean) / std)
        optimizer.zero_grad()
        F.cross_entropy(logits, torch.from_numpy(data.train_labels[indices])).backward()
        optimizer.step()
    trainer.train_epoch(0, [], 0.02, ignore)
    for found, expected in zip(trainer.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_every_image_is_seen_once_an_epoch_in_an_order_of_its_own():
    trainer = Trainer(config(), arrays())
    orders = [
        torch.cat([b for b, _ in trainer._batches(epoch, trainer._usual)]).tolist()
        for epoch in (0, 0, 1)
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert all(sorted(order) == list(range(70)) for order in orders)


@pytest.mark.parametrize(
    ("images", "size", "expected"),
    [(70, 16, [16] * 4 + [6]), (65, 16, [16] * 4), (16, 16, [16]), (5, 16, [5]), (3, 1, [1] * 3)],
)
def test_a_last_batch_is_kept_unless_it_is_a_single_image(images, size, expected):
    data = arrays(train=images)
    trainer = Trainer(config(data, batch_size=size), data)
    assert [len(indices) for indices, _ in trainer._batches(0, trainer._usual)] == expected


def test_a_left_out_image_does_not_stop_a_network_with_batchnorm_on_vectors():
    data = arrays(train=17)
    trainer = Trainer(config(data, model="mlp"), data)
    assert math.isfinite(trainer.train_epoch(0, [], 0.05, ignore)["train_loss"])


def test_metrics_are_those_of_the_clean_test_images():
    trainer, metrics = trained([0])
    images, labels = trainer.show("test", torch.arange(30), [], 0)
    trainer.model.eval()
    logits = trainer.model(images).double()
    assert metrics[0]["test_accuracy"] == (logits.argmax(1) == labels).double().mean()
    expected = F.cross_entropy(logits, labels).item()
    assert metrics[0]["test_loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics[0]["learning_rate"] == 0.05
    assert set(metrics[0]) == {
        *("train_loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate")
    }


def test_a_network_learns_what_can_be_learnt():
    data = arrays(train=200, test=100)
    for images, labels in (
        (data.train_images, data.train_labels),
        (data.test_images, data.test_labels),
    ):
        images[:] = (images // 4) + (labels * 48)[:, None, None, None].astype(np.uint8)
    trainer = Trainer(config(data), data)
    for epoch in range(10):
        metrics = trainer.train_epoch(epoch, [], 0.05, ignore)
    assert metrics["test_accuracy"] > 0.9


def test_noise_is_not_augmented():
    shown = []
    for shift in (0, 2):
        trainer = Trainer(config(shift=shift), arrays())
        trainer.train_epoch(0, NOISE, 0.05, ignore)
        shown.append(trainer.checkpoint())
    assert shown[0] == shown[1]


def test_noise_that_says_so_is_augmented():
    fixed = [{"name": "noise", "redraw": "never", "augmented": True}]
    shown = []
    for shift in (0, 2):
        trainer = Trainer(config(shift=shift), arrays())
        trainer.train_epoch(0, fixed, 0.05, ignore)
        shown.append(trainer.checkpoint())
    assert shown[0] != shown[1]


def test_the_order_and_the_moves_of_an_epoch_are_pinned():
    """Integers alone, which do not depend on the machine: version 1 of training goes on."""
    trainer = Trainer(config(), arrays())
    seen = hashlib.sha256()
    for epoch in (0, 5):
        for indices, moves in trainer._batches(epoch, trainer._usual):
            for part in (indices, *moves):
                seen.update(repr(part.tolist()).encode())
    assert seen.hexdigest() == "fbdcd6e9579fddf917676b3367a0d3da794fb9d2568dd5bcdfa798949d7f0573"


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_an_optimiser_that_forgets_is_a_fresh_one_on_the_same_weights(optimizer):
    trainer, _ = trained(range(2), optimizer=optimizer)
    fresh = Trainer(config(optimizer=optimizer), arrays())
    fresh.model.load_state_dict(trainer.model.state_dict())
    kept = Trainer(config(optimizer=optimizer), arrays())
    kept.load(trainer.checkpoint())
    trainer.forget_momentum()
    assert run(trainer, range(2, 4)) == run(fresh, range(2, 4))
    assert trainer.checkpoint() == fresh.checkpoint()
    run(kept, range(2, 4))
    assert kept.checkpoint() != fresh.checkpoint()


SMALL = {
    "dataset": {"name": "gratings", "train_samples": 128, "test_samples": 64},
    "model": {"name": "all_cnn", "width": 0.05},
    "deficit": {"name": "blur", "resolution": 4, "end": 2},
}


def training(optimizer_restart):
    return {"epochs": 6, "batch_size": 64, "optimizer_restart": optimizer_restart}


def carried_out(storage, scope, **changes):
    """The digest of each stored state's checkpoint, by epoch, of a run whose every segment is
    trained by a worker of its own."""
    records, data = Records(storage), gratings.generate(128, 64)
    body = shelf.body(**SMALL, **changes)
    made = tree.make(shelf.paths(body, lambda run: scope), records)
    bench = Bench(records, lambda _: data, "cpu", {"numerics": "here"}, ignore, lambda *_: None)
    for segment in made.segments:
        assert execute(bench, made, segment)
    manifests = (records.manifest(segment.scope, segment.key) for segment in made.segments)
    return {manifest.end: manifest.checkpoint for manifest in manifests}


@pytest.mark.services
def test_segments_forget_momentum_at_the_removal_wherever_the_run_is_cut(storage):
    asked = {"training": training("at_removal")}
    whole = carried_out(storage, "whole/", **asked)
    cut = carried_out(storage, "cut/", checkpoints={"epochs": [1, 3, 4]}, **asked)
    never = carried_out(storage, "never/", training=training("never"))
    assert [whole.keys(), cut.keys()] == [{2, 6}, {1, 2, 3, 4, 6}]
    assert {epoch: cut[epoch] for epoch in whole} == whole
    assert never[2] == whole[2]
    assert never[6] != whole[6]
    assert by_hand(shelf.paths(shelf.body(**SMALL, **asked))[0]) == whole[6]


def by_hand(path):
    """The digest of the last checkpoint, with momentum dropped after the second epoch."""
    trainer = Trainer(path.config, gratings.generate(128, 64))
    for epoch in range(6):
        if epoch == 2:
            trainer.optimizer.state.clear()
        stimulus = [SMALL["deficit"]] if epoch < 2 else []
        trainer.train_epoch(epoch, stimulus, 0.05 * 0.97**epoch, ignore)
    return hashlib.sha256(trainer.checkpoint()).hexdigest()


def test_divergence_gives_nan_not_an_error():
    trainer = Trainer(config(), arrays())
    for epoch in range(3):
        metrics = trainer.train_epoch(epoch, [], 1e30, ignore)
    assert math.isnan(metrics["train_loss"])
    assert math.isnan(metrics["test_loss"])
    assert metrics["diverged_at_step"] == 1


def test_the_first_step_is_named_whose_loss_is_not_finite():
    trainer = Trainer(config(), arrays())
    whole, steps = trainer._step, []

    def step(images, labels):
        steps.append(1)
        return whole(images, labels) * (math.nan if len(steps) == 3 else 1.0)

    trainer._step = step
    assert trainer.train_epoch(0, [], 0.05, ignore)["diverged_at_step"] == 3
    steps[:] = [1, 1, 1]
    assert "diverged_at_step" not in trainer.train_epoch(1, [], 0.05, ignore)


def test_tick_is_called_at_every_step_and_every_batch_of_evaluation():
    data = arrays(test=2 * EVALUATION_BATCH + 1)
    trainer, calls = Trainer(config(data), data), []
    trainer.train_epoch(0, [], 0.05, lambda: calls.append(1))
    assert len(calls) == math.ceil(70 / 16) + 3


def test_arrays_that_are_not_those_of_the_config_are_refused():
    with pytest.raises(ValueError, match="60 train images, 70 in the config"):
        Trainer(config(), arrays(train=60))
    with pytest.raises(ValueError, match=r"images of \(8, 8, 3\), \(12, 12, 3\) in the config"):
        Trainer(config(), arrays(shape=(8, 8, 3)))
