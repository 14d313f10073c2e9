"""First-layer filters: of known frequency, against numpy.fft, and against what the layer does."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from shared.errors import Invalid
from worker import filters
from worker.models import build

IMAGE = (32, 32, 1)


def idle() -> None:
    pass


def linear(rows: np.ndarray) -> nn.Module:
    """rows (n, C, H, W)."""
    layer = nn.Linear(rows[0].size, len(rows), bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows.reshape(len(rows), -1)))
    return nn.Sequential(nn.Flatten(), layer)


def convolution(kernels: np.ndarray) -> nn.Module:
    layer = nn.Conv2d(kernels.shape[1], len(kernels), kernels.shape[2:]).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(kernels))
    return layer


def wave(down: float, across: float, amplitude: float = 1.0) -> np.ndarray:
    """(1, 32, 32): as many periods in 32 pixels."""
    y, x = np.mgrid[:32, :32]
    return amplitude * np.cos(2 * np.pi * (down * y + across * x) / 32 + 0.3)[None]


def share(model: nn.Module, shape: tuple[int, int, int] = IMAGE) -> float:
    found: float = filters.measure(model, shape, idle)["high_frequency_share"]
    return found


def by_numpy(weights: np.ndarray, size: int = 32) -> float:
    """Filter by filter, channel by channel, frequency by frequency."""
    high = total = 0.0
    for spectrum in (np.fft.fft2(w, (size, size)) for one in weights for w in one):
        for (row, column), value in np.ndenumerate(spectrum):
            fy, fx = (k / size - (k >= size / 2) for k in (row, column))
            power = abs(value) ** 2
            total += power
            high += power * (math.hypot(fy, fx) > 0.25 + 1e-9)
    return high / total


@pytest.mark.parametrize(
    ("down", "across", "expected"),
    [(0, 0, 0), (3, 0, 0), (8, 0, 0), (9, 0, 1), (0, 12, 1), (6, 5, 0), (6, 6, 1), (16, 16, 1)],
)
def test_a_wave_is_high_beyond_a_quarter_of_a_cycle_per_pixel(
    down: int, across: int, expected: int
) -> None:
    assert math.isclose(expected, share(linear(wave(down, across)[None])), abs_tol=1e-20)


def test_filters_count_by_their_power() -> None:
    rows = np.stack([wave(2, 3), wave(12, 3, amplitude=3.0), wave(0, 5, amplitude=2.0)])
    assert math.isclose(9 / (1 + 9 + 4), share(linear(rows)), rel_tol=1e-12)


@pytest.mark.parametrize("shape", [(70, 3, 3, 3), (5, 1, 5, 3), (4, 2, 1, 1)])
def test_the_share_of_small_kernels_is_that_of_numpy(shape: tuple[int, ...]) -> None:
    kernels = np.random.default_rng(0).normal(size=shape)
    kernels[0] += 2
    found = share(convolution(kernels), (32, 32, shape[1]))
    assert math.isclose(by_numpy(kernels), found, rel_tol=1e-12)


def test_filters_beyond_32_pixels_are_not_cut() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 1, 40, 40))
    assert math.isclose(by_numpy(rows, 40), share(linear(rows), (40, 40, 1)), rel_tol=1e-12)


def test_a_smooth_filter_has_a_small_share_and_uncorrelated_weights_have_that_of_the_plane() -> (
    None
):
    """Of 3 * 4000 kernels of 3 x 3 the share has a standard deviation of 0.002."""
    assert math.isclose(by_numpy(np.ones((1, 1, 3, 3))), share(convolution(np.ones((1, 1, 3, 3)))))
    assert round(share(convolution(np.ones((1, 1, 3, 3)))), 2) == 0.19
    white = np.random.default_rng(0).normal(size=(4000, 3, 3, 3))
    frequencies = np.fft.fftfreq(32)
    plane = (np.hypot(frequencies[:, None], frequencies) > 0.25).mean()
    assert round(plane, 2) == 0.81
    assert abs(share(convolution(white), (32, 32, 3)) - plane) < 0.008


def test_a_rotation_of_the_colours_does_not_change_the_share() -> None:
    draw = np.random.default_rng(0)
    kernels, turn = draw.normal(size=(8, 3, 3, 3)), np.linalg.qr(draw.normal(size=(3, 3)))[0]
    turned = np.einsum("dc,ncyx->ndyx", turn, kernels)
    expected = share(convolution(kernels), (32, 32, 3))
    assert math.isclose(expected, share(convolution(turned), (32, 32, 3)), rel_tol=1e-12)


@pytest.mark.parametrize("make", [linear, convolution])
def test_a_filter_multiplied_with_the_image_is_what_the_layer_does(make: Callable) -> None:
    draw = np.random.default_rng(0)
    model, image = make(draw.normal(size=(5, 3, 4, 6))), draw.normal(size=(3, 4, 6))
    found = filters.measure(model, (4, 6, 3), idle)
    kept = np.array(found["weights"]).reshape(found["shape"])
    layer = model if isinstance(model, nn.Conv2d) else model[1]
    offset = 0 if layer.bias is None else layer.bias.detach().numpy()
    expected = model(torch.tensor(image[None])).detach().numpy().ravel()
    np.testing.assert_allclose((kept * image).sum((1, 2, 3)) + offset, expected, rtol=1e-12)


def test_of_many_filters_the_64_largest_are_kept_in_the_networks_order() -> None:
    weights = np.random.default_rng(0).normal(size=(96, 3, 3, 3))
    weights *= np.random.default_rng(1).permutation(96)[:, None, None, None]
    found = filters.measure(convolution(weights), (32, 32, 3), idle)
    norms = np.sqrt((weights**2).sum((1, 2, 3)))
    expected = [i for i in range(96) if (norms > norms[i]).sum() < 64]
    assert (found["shape"], found["of"]) == ([64, 3, 3, 3], 96)
    assert expected == found["indices"]
    np.testing.assert_array_equal(weights[expected].ravel(), found["weights"])
    assert math.isclose(by_numpy(weights), found["high_frequency_share"], rel_tol=1e-12)


@pytest.mark.parametrize(
    ("model", "shape", "of"),
    [
        ({"name": "all_cnn"}, [10, 3, 3, 3], 10),
        ({"name": "resnet18"}, [6, 3, 3, 3], 6),
        ({"name": "mlp"}, [64, 3, 16, 16], 250),
        ({"name": "depth_cnn", "n": 2}, [10, 3, 3, 3], 10),
        ({"name": "deep_linear", "depth": 3, "initial_scale": 1.0}, [10, 3, 16, 16], 10),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_every_network_has_its_first_layer_and_no_digit_is_lost(
    model: dict, shape: list[int], of: int
) -> None:
    network = build({**model, "width": 0.1}, (16, 16, 3), 4, seed=0)
    found = json.loads(json.dumps(filters.measure(network, (16, 16, 3), idle)))
    name, first = next(iter(network.named_parameters()))
    expected = (name.removesuffix(".weight"), shape, of)
    assert expected == (found["layer"], found["shape"], found["of"])
    kept = first.detach().numpy()[found["indices"]]
    np.testing.assert_array_equal(kept.ravel(), np.array(found["weights"], dtype=np.float32))


def test_weights_that_are_zero_have_no_share_and_diverged_ones_nan() -> None:
    assert share(convolution(np.zeros((2, 1, 3, 3)))) is None
    kernels = np.ones((2, 1, 3, 3))
    kernels[1, 0, 0, 0] = np.nan
    found = filters.measure(convolution(kernels), IMAGE, idle)
    assert math.isnan(found["high_frequency_share"])
    assert math.isnan(found["weights"][9])


def test_a_first_layer_that_does_not_look_at_images_is_refused() -> None:
    with pytest.raises(Invalid, match=r"'1' takes 5 numbers, not images of 1 x 32 x 32"):
        filters.measure(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), IMAGE, idle)
    with pytest.raises(Invalid, match="neither"):
        filters.measure(nn.Sequential(nn.BatchNorm2d(1), nn.ReLU()), IMAGE, idle)
