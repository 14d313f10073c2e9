"""Gradients by layer against torch.func's per-image gradients in float64."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fisher_oracle import NETWORKS, layer_names, shaken
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from shared.errors import Invalid
from worker import shown
from worker.curvature import gradient, layer_gradients
from worker.fisher.layers import trainable_layers
from worker.models import build
from worker.rng import Stream
from worker.shown import Shown

CLASSES = 4
DRAWS = Stream(0, "test")
NETS: dict[str, dict[str, Any]] = {
    "all_cnn": {},
    "resnet18": {},
    "mlp": {},
    "depth_cnn": {"n": 2},
    "deep_linear": {"depth": 3, "initial_scale": 1.0},
}


def idle() -> None:
    pass


@pytest.fixture(autouse=True)
def _chunks_of_four(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(shown, "CHUNK", 4)
    yield
    torch.set_num_threads(threads)


def network(name: str) -> nn.Module:
    return shaken(
        build({"name": name, "width": 0.05, **NETS[name]}, (16, 16, 3), CLASSES, 0)
    ).train()


def pictures(n: int = 10, side: int = 16, seed: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, side, side, dtype=torch.float64, generator=generator)
    return images, torch.randint(CLASSES, (n,), generator=generator)


def measure(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
    return layer_gradients.measure(model, Shown.of(images, labels), {}, DRAWS, idle)


def by_torch(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """Layer -> per-image gradients (n, parameters), float64."""
    exact = copy.deepcopy(model).double().eval()
    trained = {k: p for k, p in exact.named_parameters() if p.requires_grad}

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(exact, weights, (image[None],))
        return cross_entropy(logits, label[None])

    per_image = vmap(grad(loss), (None, 0, 0))(trained, images.double(), labels)
    names, out = layer_names(exact), {}
    for name, gradients in per_image.items():
        out.setdefault(names[id(trained[name])], []).append(gradients.detach().flatten(1).numpy())
    return {name: np.concatenate(parts, axis=1) for name, parts in out.items()}


def assert_agree(model: nn.Module, images: Tensor, labels: Tensor, rel: float) -> dict[str, Any]:
    expected, found = by_torch(model, images, labels), measure(model, images, labels)
    assert list(expected) == [layer["name"] for layer in found["layers"]]
    rows = [*found["layers"], found]
    per_image = [*expected.values(), np.hstack([*expected.values()])]
    for gradients, row in zip(per_image, rows, strict=True):
        mean = np.linalg.norm(gradients.mean(0))
        deviation = np.sqrt(gradients.var(0, ddof=1).sum())
        assert math.isclose(mean, row["mean_norm"], rel_tol=rel)
        assert math.isclose(deviation, row["standard_deviation"], rel_tol=rel)
        assert gradients.shape[1] == row.get("parameters", gradients.shape[1])
    assert found["samples"] == len(images)
    return found


@pytest.mark.parametrize("name", NETS)
def test_mean_and_deviation_are_those_of_per_image_gradients(name: str) -> None:
    found = assert_agree(network(name), *pictures(), rel=1e-10)
    assert found["precision"] == "float64"


@pytest.mark.parametrize("name", NETS)
def test_in_float32_they_agree_with_float64_to_five_digits(name: str) -> None:
    model, (images, labels) = network(name).float(), pictures()
    found = assert_agree(model, images.float(), labels, rel=1e-5)
    assert found["precision"] == "float32"


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_layers_used_twice_and_frozen_parameters_are_as_torch_has_them(make: Callable) -> None:
    torch.manual_seed(0)
    model = shaken(make())
    next(model.parameters()).requires_grad_(False)
    side = 4 if make is NETWORKS["mlp"] else 8
    assert_agree(model, *pictures(6, side), rel=1e-10)


@pytest.mark.parametrize("name", NETS)
def test_layers_have_the_fisher_traces_names_and_sizes(name: str) -> None:
    model = network(name)
    expected = [(layer.name, layer.parameters) for layer in trainable_layers(model)]
    found = measure(model, *pictures(2))
    assert expected == [(layer["name"], layer["parameters"]) for layer in found["layers"]]


def test_the_total_mean_is_the_gradient_of_the_mean_loss() -> None:
    model, (images, labels) = network("all_cnn"), pictures()
    expected = gradient.measure(model, Shown.of(images, labels), {}, DRAWS, idle)
    found = measure(model, images, labels)
    assert math.isclose(expected["gradient_norm"], found["mean_norm"], rel_tol=1e-12)


def smooth() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, CLASSES))


def nearly_alike(spread: float) -> tuple[Tensor, Tensor]:
    one, (others, _) = pictures(1, 4)[0], pictures(8, 4, seed=3)
    return (one + spread * others).float(), torch.ones(8, dtype=torch.int64)


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4])
def test_a_deviation_that_float32_would_lose_is_found_in_float64(spread: float) -> None:
    """Images that differ by little have nearly the same gradient: subtracting loses its digits."""
    model, (images, labels) = smooth(), nearly_alike(spread)
    found = assert_agree(model, images, labels, rel=1e-5)
    assert found["precision"] == "float64"
    plain = layer_gradients._moments(model, Shown.of(images, labels), idle)
    assert abs(plain.variance.sum().sqrt().item() / found["standard_deviation"] - 1) > 1e-5


def test_one_image_again_and_again_has_no_deviation_to_rounding() -> None:
    images, labels = nearly_alike(0)
    found = measure(smooth(), images, labels)
    assert found["standard_deviation"] < 1e-7 * found["mean_norm"]
    alone = measure(smooth(), images[:1], labels[:1])
    assert alone["standard_deviation"] is None
    assert all(layer["standard_deviation"] is None for layer in alone["layers"])
    assert math.isclose(alone["mean_norm"], found["mean_norm"], rel_tol=1e-5)


def test_a_layer_without_gradients_has_zeros_and_is_measured_once() -> None:
    model, ticks = network("all_cnn").float(), []
    nn.init.zeros_(model[8].weight)  # the last convolution: nothing gets through
    shown = Shown.of(pictures()[0].float(), pictures()[1])
    found = layer_gradients.measure(model, shown, {}, DRAWS, lambda: ticks.append(1))
    assert len(ticks) == 3
    first, last = found["layers"][0], found["layers"][-1]
    assert (first["mean_norm"], first["standard_deviation"]) == (0, 0)
    assert last["standard_deviation"] > 0


def test_a_fitted_image_keeps_the_digits_of_its_small_gradient() -> None:
    """p - 1 is -6e-9 here: in float32 it would be 0."""
    model = nn.Linear(3, CLASSES)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([20.0, 0, 0, 0]))
    found = measure(model, torch.eye(3), torch.zeros(3, dtype=torch.int64))
    wrong = math.exp(-20) / (1 + 3 * math.exp(-20))  # p of each of the other classes
    bias = np.linalg.norm([3 * wrong, wrong, wrong, wrong])
    expected = math.hypot(bias, bias / math.sqrt(3))  # each image has its own column of weights
    assert math.isclose(expected, found["mean_norm"], rel_tol=1e-6)
    assert math.isclose(bias, found["standard_deviation"], rel_tol=1e-6)
    assert found["precision"] == "float32"


def test_a_diverged_network_is_nan_and_no_failure() -> None:
    model, (images, labels) = network("all_cnn"), pictures()
    nn.init.constant_(model[8].weight, math.nan)
    found = measure(model, images, labels)
    assert math.isnan(found["mean_norm"])
    assert math.isnan(found["standard_deviation"])


def test_measuring_leaves_no_trace_and_gives_the_same_where_gradients_are_off() -> None:
    model, (images, labels) = network("all_cnn"), pictures()
    model[0][1].eval()
    weight = model[8].weight
    weight.grad = torch.ones_like(weight)

    def state() -> list[Any]:
        tensors = {k: v.numpy().tobytes() for k, v in model.state_dict().items()}
        modes = [(m.training, len(m._forward_hooks)) for m in model.modules()]
        grads = [None if p.grad is None else p.grad.sum().item() for p in model.parameters()]
        return [tensors, modes, grads, torch.get_rng_state().tolist()]

    before = state()
    expected = measure(model, images, labels)
    assert state() == before
    with torch.no_grad():
        assert expected == measure(model, images, labels)

    def cancel() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        layer_gradients.measure(model, Shown.of(images, labels), {}, DRAWS, cancel)
    assert state() == before


def test_a_network_that_is_frozen_altogether_is_refused() -> None:
    with pytest.raises(Invalid, match="no trainable parameters"):
        measure(network("mlp").requires_grad_(False), *pictures())
