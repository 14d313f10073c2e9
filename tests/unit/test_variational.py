"""The noise-based estimate against the loop over images and classes, where noise is small."""

import math

import pytest
import torch
from fisher_oracle import CLASSES, Pooled, idle, oracle, pictures, shaken
from torch import Tensor, nn

from shared.errors import Invalid
from worker import rng
from worker.fisher import measure as measure_fisher
from worker.fisher import variational
from worker.shown import Shown

ASKED = {"estimator": "variational"}


def network() -> nn.Module:
    """Convolutions that see several positions, BatchNorm, a last layer: no bias anywhere."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.Tanh(),
        nn.Conv2d(6, 5, 3, stride=2, bias=False),
        nn.Tanh(),
        Pooled(),
        nn.Linear(5, CLASSES, bias=False),
    ]
    return shaken(nn.Sequential(*layers))


def measure(model: nn.Module, images: Tensor, seed: int = 0) -> dict:
    return measure_fisher(model, Shown.of(images), ASKED, rng.Stream(seed, "test"), idle)


def test_the_noise_that_weights_bear_gives_the_exact_trace_of_each_layer() -> None:
    """64 images, three draws: the mean within 10 % in total and 20 % for each layer. One draw's
    spread is stated by the draws themselves, a few percent here."""
    model, images = network(), pictures(64, 2, 6, 6)
    exact = {name: sum(values) / 64 for name, values in oracle(model, images).items()}
    found = [measure(model, images, seed) for seed in range(3)]
    covered = [layer["name"] for layer in found[0]["layers"]]
    assert covered == ["0", "3", "6"]
    total = sum(one["trace"] for one in found) / 3
    assert math.isclose(total, sum(exact[name] for name in covered), rel_tol=0.1)
    for i, name in enumerate(covered):
        mean = sum(one["layers"][i]["trace"] for one in found) / 3
        assert math.isclose(mean, exact[name], rel_tol=0.2)


def test_noise_that_is_not_small_sees_another_curvature(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = network(), pictures(64, 2, 6, 6)
    local = measure(model, images)["trace"]
    monkeypatch.setattr(variational, "NOISE", 1.0)
    assert not math.isclose(measure(model, images)["trace"], local, rel_tol=0.1)


def test_it_says_what_it_covers_and_that_it_has_no_standard_error() -> None:
    found = measure(network(), pictures(32, 2, 6, 6))
    assert found["standard_error"] is None
    assert found["estimator"] == "variational"
    assert found["covers"] == "weights of convolutions and linear"
    assert [layer["parameters"] for layer in found["layers"]] == [108, 270, 20]
    assert all(layer["standard_error"] is None for layer in found["layers"])
    assert math.isclose(sum(layer["share"] for layer in found["layers"]), 1, rel_tol=1e-9)
    assert abs(found["drift"]) < 0.5


def test_the_same_measurement_has_the_same_bits() -> None:
    images = pictures(32, 2, 6, 6)
    assert measure(network(), images) == measure(network(), images)
    assert measure(network(), images) != measure(network(), images, seed=1)


def test_the_network_is_left_as_it_was_also_when_it_is_cancelled() -> None:
    ticks = []

    def cancel() -> None:
        ticks.append(1)
        if len(ticks) == 5:
            raise InterruptedError

    model = network().train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    measure(model, pictures(32, 2, 6, 6))
    with pytest.raises(InterruptedError):
        variational.trace(
            model, Shown.of(pictures(32, 2, 6, 6)), ASKED, rng.Stream(0, "test"), cancel
        )
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_network_that_diverged_gives_nan_and_no_error() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight.fill_(math.nan)
    assert math.isnan(measure(model, pictures(32, 2, 6, 6))["trace"])


def test_a_layer_that_it_does_not_know_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, CLASSES)).double()
    with pytest.raises(Invalid, match="layer '1' is a LayerNorm: the variational estimate knows"):
        measure(model, pictures(2, 6))
