"""Probes on a real trainer: what is measured, on which images, and that nothing is disturbed."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from shared.arrays import Arrays, subset_indices
from worker import probes
from worker.fisher import ESTIMATORS
from worker.train import Trainer

BLUR = [{"name": "blur", "resolution": 4}]
NOISE = [{"name": "noise", "redraw": "every_epoch"}]
FIXED_NOISE = [{"name": "noise", "redraw": "never"}]


def idle() -> None:
    pass


def trainer(model: str = "all_cnn") -> Trainer:
    draw = np.random.default_rng(0)
    arrays = Arrays(
        draw.integers(0, 256, (50, 12, 12, 3), dtype=np.uint8),
        draw.integers(0, 4, 50),
        draw.integers(0, 256, (20, 12, 12, 3), dtype=np.uint8),
        draw.integers(0, 4, 20),
    )
    config = {
        "dataset": {
            "train_samples": 50,
            "test_samples": 20,
            "shape": [12, 12, 3],
            "classes": 4,
            "mean": [0.49, 0.48, 0.45],
            "std": [0.2, 0.2, 0.2],
        },
        "model": {"name": model, "width": 0.05},
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0},
        "batch_size": 16,
        "augmentation": {"shift": 2, "horizontal_flip": True},
        "seed": 0,
    }
    return Trainer(config, arrays)


def probe(**changes: Any) -> dict[str, Any]:
    plain = {"kind": "fisher", "estimator": "label", "samples": 40, "split": "train"}
    return {**plain, "stimulus": [], **changes}


def trace(trainer: Trainer, epoch: int = 1, **changes: Any) -> float:
    found: float = probes.measure(trainer, probe(**changes), epoch, idle)["trace"]
    return found


@pytest.mark.parametrize("model", ["all_cnn", "resnet18", "mlp"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_measuring_between_epochs_does_not_change_training(model: str, estimator: str) -> None:
    alone, watched = trainer(model), trainer(model)
    for epoch in range(2):
        torch.manual_seed(5)
        expected = alone.train_epoch(epoch, BLUR, 0.05, idle)
        torch.manual_seed(5)
        before = [module.training for module in watched.model.modules()]
        for stimulus in ([], BLUR, NOISE):
            probes.measure(watched, probe(estimator=estimator, stimulus=stimulus), epoch, idle)
        assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(5).get_state())
        assert before == [module.training for module in watched.model.modules()]
        assert expected == watched.train_epoch(epoch, BLUR, 0.05, idle)
        assert alone.checkpoint() == watched.checkpoint()


def test_a_probe_measures_the_images_whose_hash_sorts_first_under_its_stimulus() -> None:
    subject = trainer()
    subject.train_epoch(0, [], 0.05, idle)
    rows = torch.from_numpy(subset_indices("test", 20, 12))
    images, _ = subject.show("test", rows, BLUR, 0)
    expected = ESTIMATORS["exact"](subject.model, images, torch.Generator(), idle)
    asked = probe(estimator="exact", split="test", samples=12, stimulus=BLUR)
    found = probes.measure(subject, asked, 1, idle)
    assert found == {**expected, "samples_asked": 12, "batchnorm_statistics": "running"}


def test_a_measurement_says_what_a_figure_needs() -> None:
    found = probes.measure(trainer(), probe(), 0, idle)
    assert found["samples"] == 40
    assert found["estimator"] == "label"
    assert len(found["layers"]) == 17  # eight blocks of convolution and BatchNorm, and the last
    assert {"name", "parameters", "trace", "standard_error"} == set(found["layers"][0])
    assert math.isclose(sum(x["trace"] for x in found["layers"]), found["trace"], rel_tol=1e-12)
    assert 0 < found["predictive_entropy"] <= math.log(4)
    assert 1 / 4 <= found["mean_confidence"] <= 1


def test_more_samples_than_images_uses_all_images_and_says_so() -> None:
    found = probes.measure(trainer(), probe(samples=1000, split="test"), 0, idle)
    assert (found["samples"], found["samples_asked"]) == (20, 1000)


def test_a_measurement_is_the_same_whenever_it_is_made() -> None:
    """Its name is (state key, probe): a replay from a checkpoint has to find the same bits."""
    first, later = trainer(), trainer()
    first.train_epoch(0, [], 0.05, idle)
    later.load(first.checkpoint())
    torch.rand(3)
    assert probes.measure(first, probe(), 1, idle) == probes.measure(later, probe(), 1, idle)


def test_labels_are_drawn_anew_in_each_epoch_and_images_are_not() -> None:
    subject = trainer()
    assert trace(subject, epoch=1) != trace(subject, epoch=2)
    assert trace(subject, 1, estimator="exact") == trace(subject, 2, estimator="exact")


def test_noise_is_that_of_the_last_epoch_trained() -> None:
    subject = trainer()
    exact = {"estimator": "exact", "stimulus": NOISE}
    assert trace(subject, 0, **exact) == trace(subject, 1, **exact)
    assert trace(subject, 1, **exact) != trace(subject, 2, **exact)
    exact["stimulus"] = FIXED_NOISE
    assert trace(subject, 1, **exact) == trace(subject, 2, **exact)


def test_a_diverged_run_gives_nan() -> None:
    subject = trainer()
    with torch.no_grad():
        next(subject.model.parameters()).fill_(math.nan)
    found = probes.measure(subject, probe(), 1, idle)
    assert math.isnan(found["trace"])
    assert math.isnan(found["predictive_entropy"])


def test_every_pass_ticks_and_a_tick_may_end_the_measurement() -> None:
    ticks = []
    probes.measure(trainer(), probe(estimator="exact"), 1, lambda: ticks.append(1))
    assert len(ticks) == 2 * 4  # 40 images in two batches, four classes

    def cancel() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        probes.measure(trainer(), probe(), 1, cancel)
