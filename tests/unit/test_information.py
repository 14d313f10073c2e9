"""Information in activations against cases whose answer is known, and numerically integrated."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared import blocks
from shared.spec import MLP, AllCNN, DeepLinear, DepthCNN, ResNet18
from worker import models, rng
from worker.information import activations, binning, decoder, mixture, plane
from worker.information.binning import Bins, Codes
from worker.information.mixture import Gram
from worker.shown import Shown

DRAWS = rng.Stream(3, "test")
ASKED: dict[str, Any] = {
    "layers": [0], "noise": "absolute", "noise_variance": 0.1, "bins": 30, "decoder": True,
}  # fmt: skip


def idle() -> None:
    pass


def gram_of(points: Tensor) -> Gram:
    gram = Gram(len(points))
    gram.add(points, idle)
    return gram


def bounds(points: Tensor, labels: Tensor, variance: float) -> mixture.Information:
    return mixture.information(gram_of(points).squared_distances(), variance, labels, idle)


def codes_of(points: Tensor, bins: Bins, width: int = 1000) -> list[int]:
    codes = Codes(len(points))
    for part in points.double().split(width, dim=1):
        codes.refine(bins.codes(part))
    return codes.of


def decoded(points: Tensor, labels: Tensor, classes: int) -> decoder.Decoded:
    products = gram_of(points).products
    found = decoder.information(products, labels, classes, DRAWS, idle)
    assert found is not None
    return found


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def far_clusters(count: int, each: int, units: int = 3) -> tuple[Tensor, Tensor]:
    """Points that coincide within a cluster, and are far apart between clusters."""
    labels = torch.arange(count).repeat_interleave(each)
    return 1e3 * normals(count, units)[labels], labels


def as_layer(points: Tensor, labels: Tensor, **changes: Any) -> dict[str, Any]:
    """What the probe says of a layer that hands on its input."""
    classes = int(labels.max()) + 1
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(points.shape[1], classes))
    shown = Shown.of(points.float(), labels)
    found = plane.measure(model, shown, ASKED | changes, DRAWS, idle)
    return found | found["layers"][0]


# --- Gaussian channels -----------------------------------------------------------------------


def integrated(points: np.ndarray, variance: float) -> float:
    """I(X;T) in bits for T = x + noise, x one of `points` on a line: H(T) by quadrature."""
    t = np.linspace(points.min() - 12, points.max() + 12, 8_001)
    each = np.exp(-((t[:, None] - points) ** 2) / (2 * variance))
    density = each.mean(1) / math.sqrt(2 * math.pi * variance)
    surprise = -np.log2(density, out=np.zeros_like(density), where=density > 0)
    total = np.trapezoid(density * surprise, t)
    return float(total - math.log2(2 * math.pi * math.e * variance) / 2)


@pytest.mark.parametrize("variance", [0.01, 0.1, 1.0, 10.0])
def test_both_bounds_bracket_the_information_of_a_gaussian_channel(variance: float) -> None:
    points = normals(400, 1)
    exact = integrated(points.numpy()[:, 0], variance)
    channel = math.log2(1 + points.var().item() / variance) / 2
    assert exact == pytest.approx(channel, abs=0.12)
    found = bounds(points, torch.zeros(400, dtype=torch.int64), variance)
    assert found.xt_lower <= exact <= found.xt_upper
    assert found.xt_upper - exact < 0.73  # log2(e) / 2 where the mixture is dense
    assert exact - found.xt_lower < 0.35


@pytest.mark.parametrize("variance", [0.05, 0.5])
def test_both_bounds_bracket_the_information_about_the_label_of_two_gaussian_classes(
    variance: float,
) -> None:
    labels = torch.arange(300) % 2
    points = normals(300, 1) * 0.3 + 4.0 * labels[:, None]
    line = points.numpy()[:, 0]
    given = [integrated(line[labels.numpy() == y], variance) for y in (0, 1)]
    exact = integrated(line, variance) - sum(given) / 2
    found = bounds(points, labels, variance)
    assert found.ty_lower <= exact <= found.ty_upper
    assert 0.8 < exact < 1
    assert found.ty_lower > 0


# --- discrete variables ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 8])
def test_far_clusters_are_a_discrete_variable_to_every_estimator(count: int) -> None:
    points, labels = far_clusters(count, 40)
    found, exact = as_layer(points, labels), math.log2(count)
    for name in ("i_xt_binned", "i_xt_lower", "i_xt_upper", "i_ty_binned", "i_ty_lower",
                 "i_ty_upper", "i_ty_kl", "i_ty_bhattacharyya"):  # fmt: skip
        assert found[name] == pytest.approx(exact, abs=1e-9), name
    assert found["i_ty_decoder"] == pytest.approx(exact, abs=0.05)
    assert found["i_ty_decoder"] <= exact
    assert (found["held_out_accuracy"], found["codes"]) == (1, count)
    assert found["label_entropy"] == pytest.approx(exact)


def test_clusters_that_two_labels_share_tell_nothing_of_which() -> None:
    points, _ = far_clusters(2, 60)
    labels = torch.arange(120) % 4  # each cluster has all four
    found = as_layer(points, labels)
    assert found["i_xt_upper"] == pytest.approx(1)
    for name in ("i_ty_binned", "i_ty_lower", "i_ty_upper", "i_ty_kl"):
        assert found[name] == pytest.approx(0, abs=1e-9), name
    assert found["i_ty_decoder"] == pytest.approx(0, abs=0.02)


def test_codes_that_are_all_distinct_saturate_whatever_the_labels_are() -> None:
    points, labels = 1e3 * normals(64, 500), torch.arange(64) % 3
    found = as_layer(points, labels)
    entropy = -sum(n / 64 * math.log2(n / 64) for n in (22, 21, 21))
    assert (found["codes"], found["log2_samples"]) == (64, 6)
    assert (found["i_xt_binned"], found["i_xt_lower"], found["i_xt_upper"]) == (6, 6, 6)
    for name in ("i_ty_binned", "i_ty_lower", "i_ty_upper"):
        assert found[name] == pytest.approx(entropy, abs=1e-12), name
    assert found["i_ty_decoder"] < 0.3  # the only one that is not deceived: labels are independent


@pytest.mark.parametrize("noise", ["absolute", "relative"])
def test_a_layer_that_is_the_same_for_all_images_knows_nothing(noise: str) -> None:
    labels = torch.arange(40) % 4
    found = as_layer(torch.full((40, 7), 2.3), labels, noise=noise)
    assert found["codes"] == 1
    assert {found[name] for name in plane.VALUES} == {0}
    assert found["i_ty_decoder"] == 0
    assert (found["bin_size"], found["noise_variance"] == 0) == (0, noise == "relative")


def test_half_of_the_points_that_coincide_leave_half_of_their_entropy() -> None:
    """N/2 values of which each is taken twice: log2 N - 1."""
    points = (1e3 * normals(32, 4)).repeat(2, 1)
    found = as_layer(points, torch.arange(64) % 2)
    assert (found["i_xt_binned"], found["i_xt_upper"]) == (5, pytest.approx(5))


# --- the decoder -----------------------------------------------------------------------------


def test_a_decoder_finds_nothing_in_independent_activations() -> None:
    gained = []
    for seed in range(20):
        labels = torch.randint(4, (200,), generator=torch.Generator().manual_seed(seed))
        found = decoded(normals(200, 50, seed=seed), labels, 4)
        gained.append(found.information)
        assert found.information <= 3 * found.standard_error + 1e-3
    assert np.mean(gained) < 0.03


def test_a_decoder_finds_nearly_all_where_a_plane_divides() -> None:
    labels = torch.arange(400) % 2
    points = normals(400, 10) + 8.0 * (labels[:, None] - 0.5)
    found = decoded(points, labels, 2)
    assert 0.95 < found.information <= 1
    assert found.accuracy > 0.99


def test_a_decoder_bounds_a_noisy_label_by_what_there_is() -> None:
    """A label that is turned over with probability 0.1: 1 - H(0.1) = 0.531 bits, of a point that
    says which it was."""
    gained, errors = [], []
    for seed in range(10):
        drawn = torch.Generator().manual_seed(seed)
        truth = torch.randint(2, (600,), generator=drawn)
        labels = truth ^ (torch.rand(600, generator=drawn) < 0.1).long()
        found = decoded(10.0 * truth[:, None].double(), labels, 2)
        gained.append(found.information)
        errors.append(found.standard_error)
    exact = 1 + 0.1 * math.log2(0.1) + 0.9 * math.log2(0.9)
    assert np.mean(gained) == pytest.approx(exact, abs=0.03)
    assert np.std(gained, ddof=1) == pytest.approx(np.mean(errors), rel=0.6)


def test_a_decoder_in_the_coordinates_of_the_gram_matrix_is_that_of_the_units() -> None:
    """Turned, moved and with units that are always 0: the same numbers."""
    labels = torch.arange(60) % 3
    points = normals(60, 4) + 2.0 * nn.functional.one_hot(labels, 4)
    turn = torch.linalg.qr(normals(9, 9, seed=1)).Q
    other = torch.cat([points, torch.zeros(60, 5)], 1) @ turn + 3.0
    first, second = decoded(points, labels, 3), decoded(other, labels, 3)
    assert first.information == pytest.approx(second.information, abs=1e-3)
    assert first.information > 0.5


def test_labels_that_one_half_lacks_and_too_few_images_are_no_failure() -> None:
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 2])
    found = decoded(normals(9, 2), labels, 10)
    assert math.isfinite(found.cross_entropy)
    gram = gram_of(normals(7, 2))
    assert decoder.information(gram.products, labels[:7], 10, DRAWS, idle) is None


# --- how it is computed ----------------------------------------------------------------------


def test_bounds_are_ordered_and_below_their_ceilings() -> None:
    for seed, scale in enumerate((0.01, 0.3, 1, 3, 10)):
        labels = torch.arange(50) % 5
        found = bounds(scale * normals(50, 6, seed=seed), labels, 0.5)
        assert 0 <= found.xt_lower <= found.xt_upper <= math.log2(50) + 1e-12
        most = min(math.log2(5), found.xt_upper) + 1e-12
        assert 0 <= found.ty_lower <= found.ty_upper <= most
        for estimate in (found.ty_kl, found.ty_bhattacharyya):
            assert found.ty_lower <= estimate <= found.ty_upper


def test_what_all_images_have_in_common_costs_no_digits() -> None:
    points, labels = normals(50, 6), torch.arange(50) % 5
    near, far = bounds(points, labels, 0.5), bounds(points + 1e9, labels, 0.5)
    assert near.xt_upper == pytest.approx(far.xt_upper, abs=1e-5)
    squared = gram_of(points + 1e6).squared_distances()
    exact = (points[:, None] - points).square().sum(2)
    assert (squared - exact).abs().max() < 1e-6


def test_parts_of_a_layer_and_of_the_units_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = normals(40, 23), torch.arange(40) % 4
    expected = as_layer(points, labels, noise="relative", bins=3)
    monkeypatch.setattr(activations, "BLOCK", 40 * 7)
    monkeypatch.setattr(activations, "COLUMNS", 3)
    found = as_layer(points, labels, noise="relative", bins=3)
    for name, value in expected.items():
        if name != "layers":
            assert found[name] == pytest.approx(value, rel=1e-9), name


def test_rows_are_equal_only_if_every_unit_is() -> None:
    points = torch.zeros(5, 9)
    points[1, 8], points[2, 0], points[3, 0] = 1.0, 1.0, 1.0
    for width in (1, 2, 9):
        codes = codes_of(points, Bins.over(0, 1, 2), width)
        assert codes[0] == codes[4]
        assert codes[2] == codes[3]
        assert len(set(codes)) == 3


def test_bins_cover_the_range_with_its_upper_end_in_the_last_one() -> None:
    values = torch.tensor([[-1.0, -0.5, 0.0, 0.999, 1.0]], dtype=torch.float64)
    assert Bins.over(-1, 1, 4).codes(values).tolist() == [[0, 1, 2, 3, 3]]
    fixed = Bins(0.0, 0.5).codes(torch.tensor([[-0.1, 0.0, 0.49, 0.5, 1e300]]).double())
    assert fixed[0, :4].tolist() == [-1, 0, 0, 1]
    assert binning.entropy([1, 1, 2, 2]) == 1


def test_relative_noise_sees_neither_the_scale_of_a_layer_nor_how_often_its_units_are_there() -> (
    None
):
    points, labels = normals(50, 6), torch.arange(50) % 5
    one = as_layer(points, labels, noise="relative")
    for other in (100 * points, points.repeat(1, 7)):
        found = as_layer(other, labels, noise="relative")
        for name in ("i_xt_lower", "i_xt_upper", "i_ty_lower", "i_ty_upper"):
            assert found[name] == pytest.approx(one[name], rel=1e-4), name
    variance = points.var(0, correction=0).sum().item()
    assert one["noise_variance"] == pytest.approx(0.1 * variance, rel=1e-5)


# --- on networks -----------------------------------------------------------------------------

SHAPE = (8, 8, 3)
NETWORKS = [
    AllCNN(name="all_cnn", width=0.02),
    AllCNN(name="all_cnn", width=0.02, blocks=8, head="batchnorm_relu"),
    ResNet18(name="resnet18", width=0.02),
    MLP(name="mlp", width=0.005),
    *(DepthCNN(name="depth_cnn", n=n, width=0.02) for n in (1, 2, 3)),  # type: ignore[arg-type]
    *(DeepLinear(name="deep_linear", depth=depth, width=0.05) for depth in (1, 4)),
]


@pytest.mark.parametrize("model", NETWORKS, ids=str)
def test_the_layers_counted_without_torch_are_those_of_the_network(model: Any) -> None:
    network = models.build(model.keyed(), SHAPE, 4, 0)
    count = blocks.count(model.keyed())
    assert isinstance(network, nn.Sequential)
    assert len(network) == count
    images, labels = torch.randn(12, 3, 8, 8), torch.arange(12) % 4
    asked = ASKED | {"layers": list(range(count)), "noise": "relative", "decoder": False}
    found = plane.measure(network, Shown.of(images, labels), asked, DRAWS, idle)
    assert [one["layer"] for one in found["layers"]] == list(range(count))
    assert found["layers"][-1]["units"] == found["classes"] == 4
    with torch.no_grad():
        outputs = network.eval()(images).double()
    expected = bounds(outputs, labels, 0.1 * outputs.var(0, correction=0).sum().item())
    assert found["layers"][-1]["i_xt_upper"] == pytest.approx(expected.xt_upper, rel=1e-4)
    assert {one["i_ty_decoder"] for one in found["layers"]} == {None}


def test_every_model_of_a_spec_has_its_layers_counted() -> None:
    assert set(blocks.COUNTS) == set(models.MODELS)


def test_a_diverged_layer_has_no_numbers_and_those_before_it_do() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        model[1].weight[0, 0] = math.inf
    shown = Shown.of(torch.randn(20, 4), torch.arange(20) % 2)
    found = plane.measure(model, shown, ASKED | {"layers": [0, 1, 2]}, DRAWS, idle)
    first, *others = found["layers"]
    assert all(math.isfinite(first[name]) for name in plane.VALUES)
    for layer in others:
        assert all(math.isnan(layer[name]) for name in (*plane.VALUES, *plane.DECODED))
        assert layer["codes"] is None


def test_it_can_be_stopped_at_any_step_and_leaves_the_network_as_it_was() -> None:
    model = models.build(NETWORKS[0].keyed(), SHAPE, 4, 0)
    model[2].eval()
    shown = Shown.of(torch.randn(40, 3, 8, 8), torch.arange(40) % 4)
    asked, left = ASKED | {"layers": [1, 9]}, 0
    modes = [module.training for module in model.modules()]

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise InterruptedError

    plane.measure(model, shown, asked, DRAWS, tick)
    steps = -left
    assert steps > 20
    for step in range(1, steps + 1):
        left = step
        with pytest.raises(InterruptedError):
            plane.measure(model, shown, asked, DRAWS, tick)
        assert [module.training for module in model.modules()] == modes
        assert torch.is_grad_enabled()
