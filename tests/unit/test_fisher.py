"""The Fisher trace against an oracle that shares no code with it: an autograd loop over images and
classes in float64."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from shared.errors import Invalid
from worker.fisher import ESTIMATORS, trace
from worker.models import MODELS, build

CLASSES = 4


def idle() -> None:
    pass


def measure(model: nn.Module, images: Tensor, estimator: str = "exact", seed: int = 0) -> dict:
    return ESTIMATORS[estimator](model, images, torch.Generator().manual_seed(seed), idle)


def oracle(model: nn.Module, images: Tensor) -> dict[str, list[float]]:
    """Module path -> its share of each image's trace: every image and class on its own."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    values: dict[str, list[float]] = {}
    names = {id(p): path.rpartition(".")[0] for path, p in model.named_parameters()}
    parameters = [p for p in model.parameters() if p.requires_grad]
    for image in images:
        shares = dict.fromkeys((names[id(p)] for p in parameters), 0.0)
        for label in range(CLASSES):
            log_p = torch.log_softmax(model(image[None]), 1)[0, label]
            for p, g in zip(parameters, torch.autograd.grad(log_p, parameters), strict=True):
                shares[names[id(p)]] += log_p.exp().item() * g.pow(2).sum().item()
        for name, share in shares.items():
            values.setdefault(name, []).append(share)
    for module, mode in modes.items():
        module.training = mode
    return values


def assert_agree(model: nn.Module, images: Tensor) -> None:
    expected = oracle(model, images)
    found = measure(model, images)
    assert list(expected) == [layer["name"] for layer in found["layers"]]
    per_image = torch.tensor(list(expected.values()), dtype=torch.float64)
    for values, layer in zip(per_image, found["layers"], strict=True):
        assert_mean_and_error(values, layer)
    assert_mean_and_error(per_image.sum(0), found)
    assert found["samples"] == len(images)


def assert_mean_and_error(values: Tensor, found: dict) -> None:
    mean, n = values.mean().item(), len(values)
    assert math.isclose(mean, found["trace"], rel_tol=1e-10, abs_tol=1e-300)
    if n == 1:
        assert found["standard_error"] is None
    else:
        error = (values - mean).square().sum().div(n - 1).div(n).sqrt().item()
        assert math.isclose(error, found["standard_error"], rel_tol=1e-7, abs_tol=1e-12 * mean)


def shaken(model: nn.Module, seed: int = 1) -> nn.Module:
    """Float64, with running statistics and affine maps that a trained network might have."""
    generator = torch.Generator().manual_seed(seed)
    model.double()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.3, 3.0, generator=generator)
            with torch.no_grad():
                module.weight.normal_(1, 0.5, generator=generator)
                module.bias.normal_(0, 0.5, generator=generator)
    return model


def pictures(n: int, *shape: int, seed: int = 2) -> Tensor:
    return torch.randn(
        n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Pooled(nn.Module):
    """Global average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def conv_net(**options: object) -> nn.Module:
    convolution = nn.Conv2d(4, 6, **options)  # type: ignore[arg-type]
    return nn.Sequential(convolution, nn.Tanh(), Pooled(), nn.Linear(6, CLASSES))


def tiny_all_cnn() -> nn.Module:
    layers: list[nn.Module] = []
    plan = [(3, 4, 3, 1), (4, 6, 3, 2), (6, 6, 3, 2), (6, 6, 1, 1), (6, CLASSES, 1, 1)]
    for inputs, outputs, kernel, stride in plan:
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, Pooled())


class Residual(nn.Module):
    """A pre-activation block with a projection, as in ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.norm1(x))
        y = self.conv2(torch.relu(self.norm2(self.conv1(active))))
        return y + self.shortcut(active)


def tiny_resnet() -> nn.Module:
    stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    blocks = nn.Sequential(Residual(4, 4, 1), Residual(4, 8, 2))
    return nn.Sequential(
        stem, blocks, nn.BatchNorm2d(8), nn.ReLU(), Pooled(), nn.Linear(8, CLASSES)
    )


def tiny_mlp() -> nn.Module:
    hidden = [nn.Linear(48, 9, bias=False), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 7)]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Tanh(), nn.Linear(7, CLASSES))


class Recurrent(nn.Module):
    """One layer used twice, at two resolutions, and once on a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 3)
        self.last = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        y = torch.tanh(self.norm(self.conv(y[:, :, ::2, ::2])))
        return self.last(self.head(y.flatten(2).mT).tanh().mean(1))


NETWORKS = {
    "all_cnn": tiny_all_cnn,
    "resnet": tiny_resnet,
    "mlp": tiny_mlp,
    "recurrent": Recurrent,
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("n", [1, 5])
def test_the_exact_trace_equals_a_loop_over_images_and_classes(network: str, n: int) -> None:
    shape = (3, 4, 4) if network == "mlp" else (3, 9, 8)
    assert_agree(shaken(NETWORKS[network]()), pictures(n, *shape))


@pytest.mark.parametrize("name", MODELS)
def test_the_exact_trace_holds_for_every_model_on_offer(name: str) -> None:
    model = build({"name": name, "width": 0.05}, (12, 12, 3), CLASSES, seed=3)
    assert_agree(shaken(model), pictures(3, 3, 12, 12))


convolutions = st.fixed_dictionaries(
    {
        "kernel_size": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "stride": st.integers(1, 5),
        "padding": st.integers(0, 3),
        "dilation": st.integers(1, 2),
        "groups": st.sampled_from([1, 2]),
        "bias": st.booleans(),
        "padding_mode": st.sampled_from(["zeros", "reflect", "circular"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(options=convolutions, n=st.integers(1, 3))
def test_the_exact_trace_holds_for_every_shape_of_convolution(options: dict, n: int) -> None:
    assert_agree(shaken(conv_net(**options)), pictures(n, 4, 8, 7))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 2, "stride": 4, "bias": False},
        {"kernel_size": 3, "groups": 2, "padding": "same"},
    ],
    ids=str,
)
def test_the_exact_trace_holds_on_maps_of_one_pixel(options: dict) -> None:
    assert_agree(shaken(conv_net(**options)), pictures(2, 4, 1, 1))


def test_both_forms_of_the_norm_are_exact() -> None:
    wide = shaken(nn.Sequential(nn.Conv2d(3, 16, 3, stride=3), Pooled(), nn.Linear(16, CLASSES)))
    assert_agree(wide, pictures(3, 3, 6, 6))  # 4 x (27 + 16) < 27 x 16: Gram over 4 positions
    assert_agree(wide, pictures(3, 3, 18, 18))  # 36 x (27 + 16) > 27 x 16: direct


def test_frozen_parameters_are_left_out() -> None:
    model = shaken(tiny_resnet())
    whole = {layer["name"]: layer for layer in measure(model, pictures(3, 3, 9, 8))["layers"]}
    model[0].requires_grad_(False)
    model[1][0].norm1.weight.requires_grad_(False)
    model[5].bias.requires_grad_(False)
    assert_agree(model, pictures(3, 3, 9, 8))
    found = {layer["name"]: layer for layer in measure(model, pictures(3, 3, 9, 8))["layers"]}
    assert "0" not in found
    assert found["1.0.norm1"]["parameters"] == 4
    assert found["1.0.conv1"] == whole["1.0.conv1"]


def test_layers_carry_their_path_and_their_number_of_parameters() -> None:
    model = tiny_mlp()
    found = measure(model.double(), pictures(2, 3, 4, 4))["layers"]
    expected = [("1", 432), ("2", 18), ("4", 70), ("6", 32)]
    assert expected == [(layer["name"], layer["parameters"]) for layer in found]
    assert sum(p.numel() for p in model.parameters()) == sum(x["parameters"] for x in found)


@pytest.mark.parametrize("confidence", [0.3, 3.0])
def test_drawn_labels_are_unbiased_with_the_stated_standard_error(confidence: float) -> None:
    """2,000 measurements of 8 images: their mean lies within 5 of its standard errors of the exact
    value for the total and 13 layers (false alarm below 2e-5 for normal means; the draws are
    seeded, so the test does not flicker)."""
    model = shaken(tiny_resnet())
    with torch.no_grad():
        model[5].weight.mul_(confidence)
    images = pictures(8, 3, 5, 5)
    exact = measure(model, images)
    repeated = images.repeat(2000, 1, 1, 1)
    drawn = measure(model, repeated, "label", seed=7)
    for expected, found in zip([exact, *exact["layers"]], [drawn, *drawn["layers"]], strict=True):
        assert abs(found["trace"] - expected["trace"]) < 5 * found["standard_error"]
        assert found["standard_error"] < 0.1 * expected["trace"]


def test_the_standard_error_of_drawn_labels_is_the_spread_over_repetitions() -> None:
    """600 measurements of 50 images drawn anew: the spread of their traces against the mean stated
    variance, within 25 %. The relative sd of a variance of 600 values is sqrt(2 / 599) = 5.8 %
    (more for heavy tails), so this is beyond 4 sd: false alarm below 1e-4, and seeded."""
    model = shaken(nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, CLASSES)))
    found = [measure(model, pictures(50, 1, 2, 3, seed=i), "label", seed=i) for i in range(600)]
    traces = torch.tensor([f["trace"] for f in found])
    stated = torch.tensor([f["standard_error"] for f in found]).square().mean()
    assert abs(traces.var() / stated - 1) < 0.25


def test_the_draws_do_not_depend_on_how_images_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = shaken(tiny_all_cnn()), pictures(70, 3, 9, 8)
    expected = measure(model, images, "label")
    monkeypatch.setattr(trace, "CHUNK", 7)
    found = measure(model, images, "label")
    assert math.isclose(expected["trace"], found["trace"], rel_tol=1e-12)
    assert math.isclose(expected["standard_error"], found["standard_error"], rel_tol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_float32_agrees_with_float64(estimator: str) -> None:
    model, images = shaken(tiny_resnet()), pictures(40, 3, 9, 8)
    expected = measure(model, images, estimator)
    found = measure(model.float(), images.float(), estimator)
    for one, other in zip([expected, *expected["layers"]], [found, *found["layers"]], strict=True):
        assert math.isclose(one["trace"], other["trace"], rel_tol=1e-4)


@pytest.mark.parametrize("estimator", ESTIMATORS)
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


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_network_that_diverged_gives_nan_and_no_error(estimator: str) -> None:
    model = shaken(tiny_all_cnn())
    with torch.no_grad():
        model[0].weight.fill_(math.nan)
    found = measure(model, pictures(3, 3, 9, 8), estimator)
    assert math.isnan(found["trace"])
    assert math.isnan(found["standard_error"])


def test_an_unsupported_layer_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, CLASSES)).double()
    with pytest.raises(Invalid, match="layer '1' is a LayerNorm; supported are BatchNorm1d"):
        measure(model, pictures(2, 6))


def test_a_parameter_of_two_layers_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).double()
    model[1].weight = model[0].weight
    with pytest.raises(Invalid, match="layers '0' and '1' share a parameter"):
        measure(model, pictures(2, 4))


def test_a_layer_that_never_ran_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(4, CLASSES)).double()
    model[0].spare = nn.Linear(2, 2).double()
    with pytest.raises(Invalid, match=r"layer '0\.spare' has parameters but was never called"):
        measure(model, pictures(2, 4))


class Overwriting(nn.Module):
    """Changes its input, so that what the layer saw is gone by the time of the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        x.mul_(2)
        return self.last(y)


def test_an_input_changed_in_place_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="the input of layer 'first' was changed in place"):
        measure(Overwriting().double(), pictures(2, 4))


def test_a_network_that_is_wholly_frozen_is_refused() -> None:
    with pytest.raises(Invalid, match="no trainable parameters"):
        measure(nn.Linear(4, CLASSES).double().requires_grad_(False), pictures(2, 4))


@pytest.mark.parametrize("estimator", ESTIMATORS)
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


def test_an_interrupted_measurement_leaves_the_network_as_it_was() -> None:
    def cancel() -> None:
        raise KeyboardInterrupt

    model = shaken(tiny_all_cnn()).train()
    with pytest.raises(KeyboardInterrupt):
        ESTIMATORS["label"](model, pictures(3, 3, 9, 8), torch.Generator(), cancel)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
