"""Gradient noise, Hessian and the second-order picture against oracles that share no code with
them: whole matrices from torch.autograd.functional, images one by one, in float64."""

import copy
import gc
import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from networks import named
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn.functional import cross_entropy

from shared.errors import Invalid
from worker import shown
from worker.curvature import gradient, hessian, second_order
from worker.models import MODELS, build
from worker.rng import Stream
from worker.shown import Shown

CLASSES = 3
DRAWS = Stream(0, "test")
PICTURE = {"sizes": [1e-3, 0.1], "directions": 2}

MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "gradient": gradient.measure,
    "hessian_eigenvalue": hessian.eigenvalue,
    "hessian_trace": hessian.trace,
    "second_order": second_order.measure,
}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


def idle() -> None:
    pass


@pytest.fixture(autouse=True)
def _chunks_of_four(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(shown, "CHUNK", 4)
    yield
    torch.set_num_threads(threads)


def network(seed: int = 1, activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    """49 parameters, BatchNorm with statistics as training might leave them, in training mode."""
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Conv2d(1, 2, 3, 2, bias=False), nn.BatchNorm2d(2), activation(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(8, CLASSES)).double()
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7, generator=generator)
        norm.running_mean.normal_(generator=generator)
        norm.running_var.uniform_(0.3, 3.0, generator=generator)
    return model.train()


def half_frozen() -> nn.Module:
    model = network()
    model[0].requires_grad_(False)
    model[4].bias.requires_grad_(False)
    return model


some_frozen = pytest.mark.parametrize("make", [network, half_frozen], ids=["all", "some frozen"])


def pictures(n: int, seed: int = 2) -> Shown:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 1, 5, 5, dtype=torch.float64, generator=generator)
    return Shown.of(images, torch.randint(CLASSES, (n,), generator=generator))


def whole(images: Shown) -> tuple[Tensor, Tensor]:
    return images.make(slice(0, images.count))


class Flat:
    """The network in evaluation mode as a function of one vector of its trainable parameters."""

    def __init__(self, model: nn.Module) -> None:
        self._model = copy.deepcopy(model).eval()
        self._shapes = {k: p.shape for k, p in model.named_parameters() if p.requires_grad}
        trained = [p.detach().flatten() for p in model.parameters() if p.requires_grad]
        self.weights = torch.cat(trained)

    def logits(self, weights: Tensor, images: Tensor) -> Tensor:
        parts = weights.split([shape.numel() for shape in self._shapes.values()])
        named = {k: v.view(s) for (k, s), v in zip(self._shapes.items(), parts, strict=True)}
        return functional_call(self._model, named, (images,))

    def loss(self, weights: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.logits(weights, images), labels)

    def per_image_gradients(self, shown: Shown) -> np.ndarray:
        images, labels = whole(shown)
        rows = range(shown.count)
        return np.stack(
            [
                grad(self.loss)(self.weights, images[i : i + 1], labels[i : i + 1]).numpy()
                for i in rows
            ]
        )

    def hessian(self, shown: Shown) -> np.ndarray:
        images, labels = whole(shown)
        found = torch.autograd.functional.hessian(
            lambda w: self.loss(w, images, labels), self.weights
        )
        return found.numpy()

    def fisher(self, image: Tensor) -> np.ndarray:
        """sum_y p_y grad log p_y grad log p_y^T for one image, class by class."""
        total = np.zeros((len(self.weights), len(self.weights)))
        log_p = self.logits(self.weights, image).log_softmax(1)[0]
        for y in range(CLASSES):
            score = grad(lambda w, y=y: self.logits(w, image).log_softmax(1)[0, y])(self.weights)
            total += log_p[y].exp().item() * np.outer(score, score)
        return total


# --- the gradient and its noise


def textbook(gradients: np.ndarray) -> tuple[float, float, float]:
    """Trace of the sample covariance, unbiased |G|^2, noise scale; gradients (n, P)."""
    covariance = np.trace(np.cov(gradients.T, ddof=1))
    squared = gradients.mean(0) @ gradients.mean(0) - covariance / len(gradients)
    return covariance, squared, covariance / squared


@some_frozen
def test_the_norm_is_that_of_the_gradient_of_all_images_at_once(make: Callable) -> None:
    model, images = make(), pictures(10)
    flat = Flat(model)
    expected = grad(flat.loss)(flat.weights, *whole(images)).norm().item()
    found = gradient.measure(model, images, {}, DRAWS, idle)
    assert math.isclose(expected, found["gradient_norm"], rel_tol=1e-12)
    assert math.isclose(flat.loss(flat.weights, *whole(images)), found["loss"], rel_tol=1e-12)
    assert found["samples"] == 10


@pytest.mark.parametrize("n", [3, 8, 19])
def test_one_image_at_a_time_gives_the_sample_covariance_and_the_jackknife(
    monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    monkeypatch.setattr(shown, "CHUNK", 1)
    images, labels = whole(pictures(n))
    one_sided = Shown.of(images, torch.zeros_like(labels))  # a gradient that shows in the noise
    model = network()
    gradients = Flat(model).per_image_gradients(one_sided)
    covariance, squared, scale = textbook(gradients)
    groups = [range(start, n, 8) for start in range(min(n, 8))]
    without = np.array([textbook(np.delete(gradients, list(g), axis=0))[2] for g in groups])
    m = len(groups)
    error = math.sqrt((m - 1) / m * np.square(without - without.mean()).sum())
    found = gradient.measure(model, one_sided, {}, DRAWS, idle)
    assert math.isclose(covariance, found["gradient_covariance_trace"], rel_tol=1e-9)
    assert math.isclose(squared, found["squared_gradient_norm"], rel_tol=1e-9)
    assert math.isclose(scale, found["noise_scale"], rel_tol=1e-9)
    assert math.isclose(error, found["noise_scale_standard_error"], rel_tol=1e-9)


def test_over_all_orders_of_the_images_unequal_chunks_are_right_on_average(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shown, "CHUNK", 2)  # of 5 images: 2, 2 and 1
    model, (images, labels) = network(), whole(pictures(5))
    covariance, squared, _ = textbook(Flat(model).per_image_gradients(pictures(5)))
    found = [
        gradient.measure(model, Shown.of(images[o], labels[o]), {}, DRAWS, idle)
        for o in map(list, itertools.permutations(range(5)))
    ]
    traces = [f["gradient_covariance_trace"] for f in found]
    assert np.std(traces) > 0.01 * covariance
    assert math.isclose(covariance, np.mean(traces), rel_tol=1e-9)
    assert math.isclose(squared, np.mean([f["squared_gradient_norm"] for f in found]), rel_tol=1e-9)


def test_a_gradient_that_drowns_in_its_noise_has_no_noise_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shown, "CHUNK", 1)
    images, model = torch.ones(4, 2, dtype=torch.float64), nn.Linear(2, 2).double()
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    opposed = Shown.of(images, torch.tensor([0, 1, 0, 1]))
    found = gradient.measure(model, opposed, {}, DRAWS, idle)
    assert found["squared_gradient_norm"] < 0 < found["gradient_covariance_trace"]
    assert found["noise_scale"] is found["noise_scale_standard_error"] is None


def test_a_single_chunk_tells_no_noise_and_two_no_error_of_it() -> None:
    one = gradient.measure(network(), pictures(4), {}, DRAWS, idle)
    assert one["gradient_norm"] > 0
    assert one["gradient_covariance_trace"] is one["squared_gradient_norm"] is None
    assert one["noise_scale"] is one["noise_scale_standard_error"] is None
    two = gradient.measure(network(), pictures(5), {}, DRAWS, idle)
    assert two["gradient_covariance_trace"] > 0
    assert two["noise_scale_standard_error"] is None


# --- the Hessian


class Diagonal(nn.Module):
    """Logits (sum_k c_k w_k^2, 0) times the image's number: at w = 0 the Hessian of an image x of
    class 1 is diag(c) x."""

    def __init__(self, *curvatures: float) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(len(curvatures), dtype=torch.float64))
        self.curvatures = torch.tensor(curvatures, dtype=torch.float64)

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, :1] * (self.curvatures * self.weights.square()).sum()
        return torch.cat([first, torch.zeros_like(first)], dim=1)


def numbers(*values: float) -> Shown:
    images = torch.tensor(values, dtype=torch.float64)[:, None]
    return Shown.of(images, torch.ones(len(values), dtype=torch.int64))


@some_frozen
@pytest.mark.parametrize("seed", range(3))
def test_the_eigenvalue_is_that_of_the_whole_matrix(make: Callable, seed: int) -> None:
    model, images = make(), pictures(10, seed)
    flat = Flat(model)
    expected = np.linalg.eigvalsh(flat.hessian(images))[-1]
    found = hessian.eigenvalue(model, images, {}, Stream(seed, "test"), idle)
    assert found["converged"]
    assert math.isclose(expected, found["hessian_eigenvalue"], rel_tol=1e-2)
    assert math.isclose(flat.loss(flat.weights, *whole(images)), found["loss"], rel_tol=1e-12)


def test_a_smaller_tolerance_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hessian, "TOLERANCE", 1e-7)
    model, images = network(activation=nn.ReLU), pictures(10)
    expected = np.linalg.eigvalsh(Flat(model).hessian(images))[-1]
    found = hessian.eigenvalue(model, images, {}, DRAWS, idle)
    assert math.isclose(expected, found["hessian_eigenvalue"], rel_tol=1e-9)


def test_the_largest_eigenvalue_is_not_the_largest_in_size() -> None:
    found = hessian.eigenvalue(Diagonal(-5.0, 1.0), numbers(1, 2, 3, 4, 5), {}, DRAWS, idle)
    assert math.isclose(3.0, found["hessian_eigenvalue"], rel_tol=1e-12)
    assert found["products"] == 2


def test_one_parameter_and_no_curvature_are_eigenvalues_too() -> None:
    for curvature in (2.0, 0.0, -2.0):
        found = hessian.eigenvalue(Diagonal(curvature), numbers(1.0), {}, DRAWS, idle)
        assert (found["hessian_eigenvalue"], found["converged"]) == (curvature, True)


def test_too_few_products_give_a_lower_bound_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = network(), pictures(10)
    found = []
    for products in (1, 2, 3):
        monkeypatch.setattr(hessian, "MAX_PRODUCTS", products)
        found.append(hessian.eigenvalue(model, images, {}, DRAWS, idle))
    assert [f["products"] for f in found] == [1, 2, 3]
    assert not any(f["converged"] for f in found)
    bounds = [f["hessian_eigenvalue"] for f in found]
    assert bounds == sorted(bounds)
    assert bounds[-1] < np.linalg.eigvalsh(Flat(model).hessian(images))[-1]


def test_in_float32_it_is_what_arpack_finds_in_float64() -> None:
    model = build({"name": "all_cnn", "width": 0.05}, (16, 16, 3), CLASSES, seed=0)
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(6, 3, 16, 16, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    flat, n = Flat(copy.deepcopy(model).double()), 0

    def product(vector: np.ndarray) -> np.ndarray:
        def gradient_at(weights: Tensor) -> Tensor:
            return grad(flat.loss)(weights, images.double(), labels)

        return jvp(gradient_at, (flat.weights,), (torch.tensor(vector).flatten(),))[1].numpy()

    n = len(flat.weights)
    operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
    expected = eigsh(operator, k=1, which="LA", v0=np.ones(n), tol=1e-4)[0][0]
    found = hessian.eigenvalue(model, Shown.of(images, labels), {}, DRAWS, idle)
    assert math.isclose(expected, found["hessian_eigenvalue"], rel_tol=1e-2)


@some_frozen
def test_the_trace_is_that_of_the_whole_matrix_within_its_errors(
    make: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails by chance once in 100,000 draws (5 errors, 63 degrees of freedom)."""
    monkeypatch.setattr(shown, "CHUNK", 1)
    model, images = make(), pictures(64)
    expected = np.trace(Flat(model).hessian(images))
    found = hessian.trace(model, images, {}, DRAWS, idle)
    assert 0 < found["standard_error"] < 0.5 * abs(expected)
    assert abs(found["hessian_trace"] - expected) < 5 * found["standard_error"]


def test_a_smaller_last_chunk_weighs_less_in_trace_and_error() -> None:
    """A diagonal Hessian leaves nothing to the signs. Chunks: 1 to 4, 5 to 8, and 30."""
    found = hessian.trace(Diagonal(-5.0, 1.0), numbers(*range(1, 9), 30), {}, DRAWS, idle)
    values, weights = -4 * np.array([2.5, 6.5, 30]), np.array([4, 4, 1]) / 9
    expected = -4 * (36 + 30) / 9
    error = math.sqrt(3 / 2 * np.square(weights * (values - expected)).sum())
    assert math.isclose(expected, found["hessian_trace"], rel_tol=1e-12)
    assert math.isclose(error, found["standard_error"], rel_tol=1e-12)


def test_the_error_of_the_trace_is_what_other_signs_would_change() -> None:
    """One image again and again, so that the signs alone vary. Ratio of variances from 150 draws:
    its own standard deviation is about 0.14, and the bounds are 4 of it away."""
    same = Shown.of(torch.tensor([[1.0, -0.5, 2.0]]).double().expand(24, -1))
    model = nn.Linear(3, CLASSES).double()
    nn.init.constant_(model.weight, 0.3), nn.init.constant_(model.bias, 0.1)
    found = [hessian.trace(model, same, {}, Stream(seed, "test"), idle) for seed in range(150)]
    between = np.var([f["hessian_trace"] for f in found], ddof=1)
    stated = np.mean([f["standard_error"] ** 2 for f in found])
    assert 0.44 < between / stated < 1.56


# --- the second-order picture


def divergences(model: nn.Module, images: Shown, asked: dict) -> tuple[np.ndarray, np.ndarray]:
    """KL and 1/2 d^T F d by (size, direction, image), pair by pair."""
    flat = Flat(model)
    length = flat.weights.norm()
    sizes = [p.numel() for p in model.parameters() if p.requires_grad]
    quadratic = np.zeros((len(asked["sizes"]), asked["directions"], images.count))
    kl = quadratic.copy()
    for (k, size), direction, i in itertools.product(
        enumerate(asked["sizes"]), range(asked["directions"]), range(images.count)
    ):
        row, image = torch.tensor([direction]), whole(images)[0][i : i + 1]
        parts = [DRAWS.part(str(j)).normals(row, n)[0] for j, n in enumerate(sizes)]
        d = torch.cat(parts).double()
        d *= size * length / d.norm()
        quadratic[k, direction, i] = 0.5 * d.numpy() @ flat.fisher(image) @ d.numpy()
        log_p, log_q = (
            flat.logits(w, image).log_softmax(1) for w in (flat.weights, flat.weights + d)
        )
        kl[k, direction, i] = (log_q.exp() * (log_q - log_p)).sum()
    return kl, quadratic


def error_over_both(values: np.ndarray) -> float:
    """values (directions, images)."""
    return math.sqrt(sum(values.mean(axis).var(ddof=1) / values.shape[1 - axis] for axis in (0, 1)))


@some_frozen
def test_both_sides_are_exact_and_so_are_their_errors(make: Callable) -> None:
    model, images, asked = make(), pictures(6), {"sizes": [0.3, 0.05], "directions": 3}
    kl, quadratic = divergences(model, images, asked)
    found = second_order.measure(model, images, asked, DRAWS, idle)
    length = Flat(model).weights.norm().item()
    assert math.isclose(length, found["weights_length"], rel_tol=1e-12)
    assert [(r["size"], r["n"]) for r in found["sizes"]] == [(0.3, 18), (0.05, 18)]
    for row, k, q in zip(found["sizes"], kl, quadratic, strict=True):
        assert math.isclose(row["length"], row["size"] * length, rel_tol=1e-12)
        assert math.isclose(k.mean(), row["kl"], rel_tol=1e-10)
        assert math.isclose(q.mean(), row["quadratic"], rel_tol=1e-10)
        assert math.isclose(error_over_both(k), row["kl_standard_error"], rel_tol=1e-8)
        assert math.isclose(error_over_both(q), row["quadratic_standard_error"], rel_tol=1e-8)
        ratio = k.mean() / q.mean()
        assert math.isclose(ratio, row["ratio"], rel_tol=1e-10)
        error = error_over_both(k - ratio * q) / q.mean()
        assert math.isclose(error, row["ratio_standard_error"], rel_tol=1e-7)


def test_the_ratio_tends_to_one_as_the_perturbation_shrinks() -> None:
    asked = {"sizes": [1e-2, 1e-3, 1e-4, 1e-5, 1e-7], "directions": 2}
    rows = second_order.measure(network(), pictures(6), asked, DRAWS, idle)["sizes"]
    assert abs(rows[0]["ratio"] - 1) > 1e-3
    for row in rows:
        assert abs(row["ratio"] - 1) < 10 * row["size"] + 1e-7


def test_a_network_in_float32_loses_no_digits() -> None:
    model, (images, labels) = network().float(), whole(pictures(6))
    found = second_order.measure(model, Shown.of(images.float(), labels), PICTURE, DRAWS, idle)
    exact = second_order.measure(
        copy.deepcopy(model).double(),
        Shown.of(images.float().double(), labels),
        PICTURE,
        DRAWS,
        idle,
    )
    assert found == exact


def test_the_divergence_is_exact_for_any_distance_of_two_distributions() -> None:
    log_p = torch.tensor([[0.0, -800, -3], [-1, -1, -1], [0, 0, 0]]).double().log_softmax(1)
    log_q = torch.tensor([[-800.0, 0, -3], [-1, -1, -1], [1e-9, 0, 0]]).double().log_softmax(1)
    far, same, near = second_order._divergence(log_q, log_p).tolist()
    assert math.isclose(far, 800 / (1 + math.exp(-3)), rel_tol=1e-12)
    assert same == 0
    assert math.isclose(near, 1e-18 / 9, rel_tol=1e-6)


def test_it_holds_up_to_the_first_size_at_which_it_fails() -> None:
    asked = {"sizes": [3.0, 1e-3, 1e-4, 1.0], "directions": 2}
    found = second_order.measure(network(), pictures(6), asked, DRAWS, idle)
    far, near, nearest, off = (abs(row["ratio"] - 1) <= 0.1 for row in found["sizes"])
    assert (far, near, nearest, off) == (False, True, True, False)
    assert found["holds_up_to"] == 1e-3
    assert (
        second_order.measure(
            network(), pictures(6), {"sizes": [3.0], "directions": 2}, DRAWS, idle
        )["holds_up_to"]
        is None
    )


def test_a_size_that_fits_again_beyond_a_failure_does_not_count() -> None:
    rows = [{"size": s, "ratio": r} for s, r in [(4, 1.0), (1, 0.95), (2, 1.09), (3, 1.2)]]
    assert second_order._holds_up_to(rows) == 2
    assert second_order._holds_up_to([{"size": 1, "ratio": None}]) is None


# --- all of them


def asked_of(measure: Callable) -> dict[str, Any]:
    return PICTURE if measure is second_order.measure else {}


def state(model: nn.Module) -> list[Any]:
    """All that a measurement might disturb, as values that compare."""
    parameters = [
        (k, p.detach().clone().numpy().tobytes(), p.requires_grad, p._version)
        for k, p in model.named_parameters()
    ]
    gradients = [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()]
    buffers = [(k, b.clone().numpy().tobytes()) for k, b in model.named_buffers()]
    modes = [
        (m.training, len(m._forward_hooks), len(m._backward_hooks), len(m._forward_pre_hooks))
        for m in model.modules()
    ]
    generators = [torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]
    return [parameters, gradients, buffers, modes, generators, torch.is_grad_enabled()]


def lived_in() -> nn.Module:
    """With frozen parameters, gradients of its own, and one module in another mode."""
    model = half_frozen()
    model[4].weight.grad = torch.ones_like(model[4].weight)
    model[1].eval()
    return model


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(o), Tensor) for o in gc.get_objects())


@every_measure
def test_measuring_leaves_no_trace(measure: Callable) -> None:
    model, images = lived_in(), pictures(10)
    measure(model, images, asked_of(measure), DRAWS, idle)  # what is made once and kept
    before, alive = state(model), live_tensors()
    measure(model, images, asked_of(measure), DRAWS, idle)
    assert state(model) == before
    assert live_tensors() == alive


class Cancelled(Exception):
    pass


@every_measure
def test_whichever_step_is_cancelled_leaves_no_trace(measure: Callable) -> None:
    model, images, left = lived_in(), pictures(10), 0

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Cancelled

    measure(model, images, asked_of(measure), DRAWS, tick)
    steps, before = -left, state(model)
    assert steps >= 3
    for step in range(1, steps + 1):
        left = step
        with pytest.raises(Cancelled):
            measure(model, images, asked_of(measure), DRAWS, tick)
        assert state(model) == before


@every_measure
def test_the_same_is_found_again_also_where_gradients_are_off(measure: Callable) -> None:
    model, images = network(), pictures(10)
    first = measure(model, images, asked_of(measure), DRAWS, idle)
    with torch.no_grad():
        assert measure(model, images, asked_of(measure), DRAWS, idle) == first


@every_measure
def test_a_diverged_network_is_nan_and_no_failure(measure: Callable) -> None:
    model = network()
    with torch.no_grad():
        model[4].weight[0, 0] = math.nan
    found = measure(model, pictures(14), asked_of(measure), DRAWS, idle)
    values = found | (found["sizes"][0] if "sizes" in found else {})
    for name in ("loss", "gradient_norm", "squared_gradient_norm", "noise_scale"):
        assert math.isnan(values.get(name, math.nan))
    for name in ("hessian_eigenvalue", "hessian_trace", "kl", "ratio", "standard_error"):
        assert math.isnan(values.get(name, math.nan))
    assert not values.get("converged")
    assert values.get("holds_up_to") is None


@every_measure
def test_one_image_is_enough(measure: Callable) -> None:
    found = measure(network(), pictures(1), asked_of(measure), DRAWS, idle)
    assert found["samples"] == 1
    assert found.get("standard_error") is None
    one = second_order.measure(network(), pictures(1), PICTURE | {"directions": 1}, DRAWS, idle)
    assert one["sizes"][0]["kl"] > 0
    assert one["sizes"][0]["kl_standard_error"] is None


@every_measure
def test_a_network_that_is_frozen_altogether_is_refused(measure: Callable) -> None:
    with pytest.raises(Invalid, match="no trainable parameters"):
        measure(network().requires_grad_(False), pictures(4), asked_of(measure), DRAWS, idle)


@every_measure
@pytest.mark.parametrize("name", MODELS)
def test_every_network_can_be_measured(measure: Callable, name: str) -> None:
    model = build(named(name, 0.02), (16, 16, 3), CLASSES, seed=0)
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    labels = torch.tensor([0, 1, 2, 0, 1])
    found = measure(model, Shown.of(images, labels), asked_of(measure), DRAWS, idle)
    values = found | found.get("sizes", [{}])[0]
    assert all(math.isfinite(v) for v in values.values() if isinstance(v, float))
