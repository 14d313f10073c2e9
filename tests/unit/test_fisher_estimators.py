"""Estimators of the Fisher trace: unbiased, with the error they state, and nothing disturbed."""

import gc
import math
from collections.abc import Iterator

import pytest
import torch
from fisher_oracle import (
    CLASSES,
    idle,
    measure,
    pictures,
    shaken,
    tiny_all_cnn,
    tiny_resnet,
)
from torch import Tensor, nn

from worker import rng, shown
from worker.fisher import ESTIMATORS, affine
from worker.fisher import measure as measure_fisher
from worker.fisher.layers import trainable_layers
from worker.fisher.recording import Recording
from worker.fisher.square_root import SQUARE_ROOTS, closed, logit_fisher
from worker.shown import Shown

ESTIMATES = [name for name in ESTIMATORS if name != "variational"]
"""variational has tests of its own."""


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


RANDOM = [
    {"estimator": "label"},
    {"estimator": "signs", "square_root": "symmetric", "norms": "exact"},
    {"estimator": "signs", "square_root": "rotated", "norms": "exact"},
    {"estimator": "signs", "square_root": "rotated", "norms": "sketched"},
]


def named(options: dict) -> str:
    return "-".join(options.values())


@pytest.fixture
def sketches_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small layers are not worth a sketch: here they are sketched all the same."""
    monkeypatch.setattr(affine, "WORTH", 0)


@pytest.mark.usefixtures("sketches_everywhere")
@pytest.mark.parametrize("options", RANDOM, ids=named)
@pytest.mark.parametrize("confidence", [0.3, 3.0])
def test_a_random_estimator_is_unbiased(options: dict, confidence: float) -> None:
    """1,000 measurements of 8 images: their mean lies within 5 of its standard errors of the exact
    value for the total and 13 layers (false alarm below 1e-5 for normal means, below 1e-4 over all
    of these tests; the draws are seeded, so the test does not flicker)."""
    model = shaken(tiny_resnet())
    with torch.no_grad():
        model[5].weight.mul_(confidence)
    images = pictures(8, 3, 5, 5)
    exact = measure(model, images)
    drawn = measure(model, images.repeat(1000, 1, 1, 1), seed=7, **options)
    for expected, found in zip([exact, *exact["layers"]], [drawn, *drawn["layers"]], strict=True):
        assert abs(found["trace"] - expected["trace"]) < 5 * found["standard_error"]
        assert found["standard_error"] < 0.15 * expected["trace"]


@pytest.mark.usefixtures("sketches_everywhere")
@pytest.mark.parametrize("options", RANDOM, ids=named)
def test_the_stated_standard_error_is_the_spread_over_repetitions(options: dict) -> None:
    """300 measurements of 32 images drawn anew: the spread of their traces, and of a layer's share,
    against the mean stated variance, within 35 %. The relative sd of a variance of 300 values is
    sqrt(2 / 299) = 8.2 % (more for heavy tails), so this is beyond 4 sd: false alarm below 1e-4,
    and seeded."""
    model = shaken(nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, CLASSES)))
    found = [measure(model, pictures(32, 1, 2, 3, seed=i), seed=i, **options) for i in range(300)]
    shares = [f["layers"][0] for f in found]
    for values, errors in (
        ([f["trace"] for f in found], [f["standard_error"] for f in found]),
        ([x["share"] for x in shares], [x["share_standard_error"] for x in shares]),
    ):
        stated = torch.tensor(errors).square().mean()
        assert abs(torch.tensor(values).var() / stated - 1) < 0.35


def test_a_sketch_has_at_most_the_variance_it_states() -> None:
    """|| S g ||^2 / k over 4,000 draws for one g: mean || g ||^2 within 5 standard errors (false
    alarm below 1e-6) and the variance of the docstring, within 15 % (7 sd of a normal variance)."""
    g = torch.randn(6, 10, dtype=torch.float64)
    signs = rng.Stream(3, "sketch").signs(torch.arange(4000), 8 * 6).view(-1, 8, 6).double()
    drawn = (signs @ g).square().sum((1, 2)) / 8
    kernel = g @ g.T
    variance = 2 / 8 * (kernel.square().sum() - kernel.diagonal().square().sum())
    assert abs(drawn.mean() - g.square().sum()) < 5 * (variance / 4000) ** 0.5
    assert abs(drawn.var() / variance - 1) < 0.15


@pytest.mark.parametrize("confidence", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("name", SQUARE_ROOTS)
def test_a_square_root_squares_to_the_logit_fisher(name: str, confidence: float) -> None:
    model, images = shaken(tiny_resnet()), pictures(4, 3, 5, 5)
    with torch.no_grad():
        model[5].weight.mul_(confidence)
    recording = Recording(model.eval(), trainable_layers(model), images)
    log_p = recording.logits.detach().log_softmax(1)
    root = SQUARE_ROOTS[name](log_p, recording)
    expected = logit_fisher(log_p)
    scale = expected.abs().amax((1, 2), keepdim=True)  # 1e-26 for the most confident
    torch.testing.assert_close(root @ root.mT / scale, expected / scale, rtol=0, atol=1e-13)


def test_the_closed_root_of_many_classes_squares_to_the_logit_fisher() -> None:
    log_p = torch.randn(3, 7, dtype=torch.float64).log_softmax(1)
    root = closed(log_p)
    torch.testing.assert_close(root @ root.mT, logit_fisher(log_p), rtol=1e-12, atol=1e-15)


def test_the_rotation_takes_variance_away() -> None:
    """Of 500 draws on the same 4 images: below half of that of the symmetric root."""
    model, images = shaken(tiny_resnet()), pictures(4, 3, 5, 5).repeat(500, 1, 1, 1)
    spread = {}
    for root in ("symmetric", "rotated"):
        found = measure(model, images, "signs", square_root=root, norms="exact")
        spread[root] = found["standard_error"] ** 2
    exact = measure(model, images)["standard_error"] ** 2  # between the images
    assert spread["rotated"] - exact < 0.5 * (spread["symmetric"] - exact)


def test_the_empirical_fisher_takes_the_labels_that_are_shown() -> None:
    model, images = shaken(tiny_all_cnn()), pictures(6, 3, 9, 8)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    expected = 0.0
    for image, label in zip(images, labels, strict=True):
        log_p = model.eval()(image[None]).log_softmax(1)[0, label]
        gradients = torch.autograd.grad(log_p, list(model.parameters()))
        expected += sum(g.square().sum().item() for g in gradients) / 6
    asked = {"estimator": "empirical"}
    found = measure_fisher(model, Shown.of(images, labels), asked, rng.Stream(0, "test"), idle)
    assert math.isclose(expected, found["trace"], rel_tol=1e-10)


def test_images_are_taken_until_the_error_is_reached_and_no_further() -> None:
    model, images = shaken(tiny_resnet()), pictures(1000, 3, 5, 5)
    found = measure(model, images, "signs", relative_error=0.03)
    assert found["relative_error_reached"] is True
    assert found["relative_error"] <= 0.03
    assert 128 <= found["samples"] < 1000
    assert found["samples"] % 32 == 0
    before = measure(model, images[: found["samples"] - 32], "signs")
    assert before["relative_error"] > 0.03 or before["samples"] < 128
    whole = measure(model, images[: found["samples"]], "signs")
    assert whole["trace"] == found["trace"]


def test_an_error_that_is_not_reached_is_said() -> None:
    found = measure(shaken(tiny_resnet()), pictures(200, 3, 5, 5), "signs", relative_error=1e-4)
    assert found["relative_error_reached"] is False
    assert found["samples"] == 200
    assert found["relative_error"] > 1e-4


def test_stopping_at_an_error_keeps_the_interval_honest() -> None:
    """Stopping at 15 %: of 200 intervals of +-1.96 stated errors at least 86 % hold the true mean.
    A stopping rule that looks at its own error covers a little less than 95 %; 86 % is 6 binomial
    sd below it."""
    covered = 0
    model = shaken(nn.Sequential(nn.Flatten(), nn.Linear(2, CLASSES)))
    images = (0.5 * pictures(5_000, 1, 1, 2)).exp()
    truth = measure(model, images)["trace"]
    for i in range(200):
        some = images[torch.randperm(5_000, generator=torch.Generator().manual_seed(i))[:1000]]
        found = measure(model, some, "signs", seed=i, relative_error=0.15)
        covered += abs(found["trace"] - truth) < 1.96 * found["standard_error"]
    assert covered >= 0.86 * 200


def test_float64_is_measured_on_a_copy() -> None:
    model, images = shaken(tiny_resnet()), pictures(10, 3, 9, 8)
    expected = measure(model, images)
    single = model.float()
    found = measure(single, images.float(), precision="float64")
    assert all(p.dtype == torch.float32 for p in single.parameters())
    assert math.isclose(expected["trace"], found["trace"], rel_tol=1e-5)
    assert measure(single, images.float())["trace"] != found["trace"]


def test_bfloat16_stays_within_a_percent() -> None:
    """Eight bits of mantissa, rounded at random: 40 images, total and larger layers."""
    model, images = shaken(tiny_resnet()).float(), pictures(40, 3, 9, 8).float()
    expected, found = measure(model, images), measure(model, images, precision="bfloat16")
    assert math.isclose(expected["trace"], found["trace"], rel_tol=0.01)
    assert expected["trace"] != found["trace"]


def test_the_draws_do_not_depend_on_how_images_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = shaken(tiny_all_cnn()), pictures(70, 3, 9, 8)
    expected = measure(model, images, "label")
    monkeypatch.setattr(shown, "CHUNK", 7)
    found = measure(model, images, "label")
    assert math.isclose(expected["trace"], found["trace"], rel_tol=1e-12)
    assert math.isclose(expected["standard_error"], found["standard_error"], rel_tol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATES)
def test_float32_agrees_with_float64(estimator: str) -> None:
    model, images = shaken(tiny_resnet()), pictures(40, 3, 9, 8)
    expected = measure(model, images, estimator)
    found = measure(model.float(), images.float(), estimator)
    for one, other in zip([expected, *expected["layers"]], [found, *found["layers"]], strict=True):
        assert math.isclose(one["trace"], other["trace"], rel_tol=1e-4)


@pytest.mark.parametrize("estimator", ESTIMATES)
def test_the_same_measurement_has_the_same_bits(estimator: str) -> None:
    model, images = shaken(tiny_all_cnn()).float(), pictures(40, 3, 9, 8).float()
    assert measure(model, images, estimator) == measure(model, images, estimator)


def test_a_certain_prediction_keeps_the_digits_of_its_small_trace() -> None:
    """Two classes, logits (a, 0): tr F = 2 p (1 - p) |x|^2, far below the rounding of p near 1."""
    model = nn.Linear(1, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[60.0], [0.0]]))
    p = math.exp(-60)
    found = measure(model, torch.ones(1, 1, dtype=torch.float64))
    assert math.isclose(2 * p / (1 + p) ** 2, found["trace"], rel_tol=1e-12)


def test_entropy_and_confidence_are_those_of_the_predictions() -> None:
    model, images = shaken(tiny_all_cnn()), pictures(40, 3, 9, 8)
    p = model.eval()(images).softmax(1).detach()
    found = measure(model, images)
    assert math.isclose(-(p * p.log()).sum(1).mean(), found["predictive_entropy"], rel_tol=1e-10)
    assert math.isclose(p.max(1).values.mean(), found["mean_confidence"], rel_tol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATES)
def test_a_network_that_diverged_gives_nan_and_no_error(estimator: str) -> None:
    model = shaken(tiny_all_cnn())
    with torch.no_grad():
        model[0].weight.fill_(math.nan)
    found = measure(model, pictures(3, 3, 9, 8), estimator)
    assert math.isnan(found["trace"])
    assert math.isnan(found["standard_error"])


@pytest.mark.parametrize("estimator", ESTIMATES)
def test_measuring_leaves_the_network_as_it_was(estimator: str) -> None:
    model, images = shaken(tiny_all_cnn()).train(), pictures(40, 3, 9, 8)
    model[1].eval()
    model[3].weight.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [m.training for m in model.modules()] + [p.requires_grad for p in model.parameters()]
    random_state = torch.get_rng_state()
    with torch.no_grad():
        measure(model, images, estimator)
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert flags == [m.training for m in model.modules()] + [
        p.requires_grad for p in model.parameters()
    ]
    assert torch.equal(torch.ones_like(model[0].weight), model[0].weight.grad)
    assert all(p.grad is None for p in list(model.parameters())[1:])
    assert not any(module._forward_hooks for module in model.modules())


def tensors() -> int:
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("estimator", ESTIMATES)
def test_measuring_leaves_nothing_in_memory(estimator: str) -> None:
    model, images = shaken(tiny_all_cnn()), pictures(40, 3, 9, 8)
    measure(model, images, estimator, precision="float64")
    gc.collect()
    before = tensors()
    measure(model, images, estimator, precision="float64")
    gc.collect()
    assert before == tensors()


def test_an_interrupted_measurement_leaves_the_network_as_it_was() -> None:
    def cancel() -> None:
        raise KeyboardInterrupt

    model = shaken(tiny_all_cnn()).train()
    shown, draws = Shown.of(pictures(3, 3, 9, 8)), rng.Stream(0, "test")
    with pytest.raises(KeyboardInterrupt):
        measure_fisher(model, shown, {"estimator": "label"}, draws, cancel)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
