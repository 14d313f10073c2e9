"""Accuracy with statistics estimated anew, against the whole computation in NumPy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.errors import Invalid
from worker import accuracy
from worker.models import build
from worker.shown import Shown

CLASSES = 3


def idle() -> None:
    pass


def network(norms: bool = True) -> nn.Module:
    """In training mode, with running statistics that nothing would predict."""
    torch.manual_seed(1)
    first, second = [nn.Linear(12, 6), nn.ReLU()], [nn.Linear(6, 5), nn.ReLU()]
    if norms:
        first.insert(1, nn.BatchNorm1d(6, momentum=0.3))
        second.insert(1, nn.BatchNorm1d(5))
    model = nn.Sequential(nn.Flatten(), *first, *second, nn.Linear(5, CLASSES)).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.weight), nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.fill_(7)
            module.running_var.fill_(1e3)
    return model.train()


def pictures(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = 2 * torch.randn(n, 3, 2, 2, dtype=torch.float64, generator=generator) + 0.5
    return images, torch.randint(CLASSES, (n,), generator=generator)


def found(model: nn.Module, test: int = 40, training: int = 26, batch: int = 8) -> dict[str, Any]:
    shown, statistics = Shown.of(*pictures(test, 3)), Shown.of(*pictures(training, 4))
    return accuracy.measure(model, shown, statistics, batch, idle)


def by_hand(model: nn.Module, batches: list[np.ndarray], test: int = 40) -> tuple[float, float]:
    """Accuracy and loss: all batches go through a layer before the next layer is looked at."""
    images, labels = pictures(test, 3)
    shown = images.flatten(1).numpy()
    for layer in list(model)[1:]:  # type: ignore[call-overload]
        if isinstance(layer, nn.Linear):
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            batches, shown = [b @ weight.T + bias for b in batches], shown @ weight.T + bias
        elif isinstance(layer, nn.ReLU):
            batches, shown = [np.maximum(b, 0) for b in batches], np.maximum(shown, 0)
        else:
            scale, shift = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            mean = np.mean([b.mean(0) for b in batches], axis=0)
            variance = np.mean([b.var(0, ddof=1) for b in batches], axis=0)
            shown = (shown - mean) / np.sqrt(variance + 1e-5) * scale + shift
            batches = [(b - b.mean(0)) / np.sqrt(b.var(0) + 1e-5) * scale + shift for b in batches]
    log_p = shown - np.log(np.exp(shown).sum(1, keepdims=True))
    right = shown.argmax(1) == labels.numpy()
    return right.mean(), -log_p[np.arange(test), labels.numpy()].mean()


def training(n: int, size: int) -> list[np.ndarray]:
    flat = pictures(n, 4)[0].flatten(1).numpy()
    return [flat[i : i + size] for i in range(0, n, size)]


@pytest.mark.parametrize("size", [8, 13, 26, 100])
def test_statistics_are_plain_means_over_the_batches_of_one_pass(size: int) -> None:
    """The last batch of two images counts as much as one of eight; 26 and 100: the whole at once,
    so that they are the mean and variance of the layer's inputs."""
    expected, loss = by_hand(network(), training(26, size))
    values = found(network(), batch=size)
    assert expected == values["accuracy"]
    assert math.isclose(loss, values["loss"], rel_tol=1e-12)
    assert (values["samples"], values["statistics_samples"]) == (40, 26)


def test_a_last_batch_of_one_image_is_left_out() -> None:
    expected, loss = by_hand(network(), training(25, 8)[:3])
    values = found(network(), training=25)
    assert expected == values["accuracy"]
    assert math.isclose(loss, values["loss"], rel_tol=1e-12)
    assert values["statistics_samples"] == 24


def test_of_a_convolution_positions_are_averaged_over_too() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, CLASSES)).double()
    pixels = pictures(26, 4)[0].numpy().transpose(1, 0, 2, 3).reshape(3, -1)
    mean, variance = pixels.mean(1)[:, None, None], pixels.var(1, ddof=1)[:, None, None]
    images, labels = pictures(40, 3)
    normal = ((images.numpy() - mean) / np.sqrt(variance + 1e-5)).reshape(40, -1)
    last = model[2]
    logits = normal @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    expected = (logits.argmax(1) == labels.numpy()).mean()
    loss = (np.log(np.exp(logits).sum(1)) - logits[np.arange(40), labels.numpy()]).mean()
    values = found(model, batch=26)
    assert expected == values["accuracy"]
    assert math.isclose(loss, values["loss"], rel_tol=1e-12)


def test_what_the_running_statistics_were_does_not_matter() -> None:
    expected, other = found(network()), network()
    for name, buffer in other.named_buffers():
        buffer.fill_(5 if "num_batches" in name else math.nan)
    assert expected == found(other)


def test_a_network_without_batchnorm_has_its_ordinary_accuracy_and_needs_no_training_images() -> (
    None
):
    def make(rows: slice) -> tuple[Tensor, Tensor]:
        raise AssertionError("looked at a training image")

    model, (images, labels) = network(norms=False), pictures(40, 3)
    logits = model(images).detach().numpy()
    expected = (logits.argmax(1) == labels.numpy()).mean()
    values = accuracy.measure(model, Shown.of(images, labels), Shown(26, make), 8, idle)
    assert expected == values["accuracy"]
    loss = (np.log(np.exp(logits).sum(1)) - logits[np.arange(40), labels.numpy()]).mean()
    assert math.isclose(loss, values["loss"], rel_tol=1e-12)
    assert values["statistics_samples"] == 0


class Cancelled(Exception):
    pass


def test_the_network_stays_as_it_was_whichever_step_is_cancelled() -> None:
    model, left = network(), 0
    model[2].eval()  # type: ignore[index]

    def state() -> list[Any]:
        tensors = {k: v.numpy().tobytes() for k, v in model.state_dict().items()}
        modes = [(m.training, getattr(m, "momentum", None)) for m in model.modules()]
        return [tensors, modes, torch.get_rng_state().tolist(), torch.is_grad_enabled()]

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Cancelled

    before = state()
    shown, statistics = Shown.of(*pictures(40, 3)), Shown.of(*pictures(26, 4))
    accuracy.measure(model, shown, statistics, 8, tick)
    assert state() == before
    assert -left == 5  # four batches of the pass, one of the evaluation
    for step in range(1, 6):
        left = step
        with pytest.raises(Cancelled):
            accuracy.measure(model, shown, statistics, 8, tick)
        assert state() == before


def test_one_training_image_has_no_statistics() -> None:
    with pytest.raises(Invalid, match="two or more"):
        found(network(), training=1)


def test_a_diverged_network_is_nan_and_no_failure() -> None:
    model = network()
    nn.init.constant_(model[1].weight, math.nan)  # type: ignore[index]
    assert math.isnan(found(model)["loss"])


@pytest.mark.parametrize(
    ("model", "statistics"),
    [
        ({"name": "all_cnn"}, 12),
        ({"name": "resnet18"}, 12),
        ({"name": "mlp"}, 12),
        ({"name": "depth_cnn", "n": 2}, 12),
        ({"name": "deep_linear", "depth": 3, "initial_scale": 1.0}, 0),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_every_network_can_be_measured(model: dict[str, Any], statistics: int) -> None:
    network = build({**model, "width": 0.05}, (16, 16, 3), CLASSES, seed=0)
    generator = torch.Generator().manual_seed(5)
    shown = Shown.of(torch.randn(12, 3, 16, 16, generator=generator))
    values = accuracy.measure(network, shown, shown, 6, idle)
    assert 0 <= values["accuracy"] <= 1
    assert 0 < values["loss"] < 10
    assert values["statistics_samples"] == statistics
