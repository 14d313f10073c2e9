"""Exact norms of every kind of layer, against the oracle, to 1e-10; and what is refused."""

from collections.abc import Iterator

import pytest
import torch
from fisher_oracle import (
    CLASSES,
    NETWORKS,
    assert_agree,
    conv_net,
    measure,
    pictures,
    shaken,
    tiny_mlp,
    tiny_resnet,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import named
from torch import Tensor, nn

from shared.errors import Invalid
from worker.fisher import affine
from worker.models import MODELS, build


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("n", [1, 5])
def test_the_exact_trace_equals_a_loop_over_images_and_classes(network: str, n: int) -> None:
    shape = (3, 4, 4) if network == "mlp" else (3, 9, 8)
    assert_agree(shaken(NETWORKS[network]()), pictures(n, *shape))


@pytest.mark.parametrize("name", MODELS)
def test_the_exact_trace_holds_for_every_model_on_offer(name: str) -> None:
    model = build(named(name, 0.05), (12, 12, 3), CLASSES, seed=3)
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


@settings(max_examples=60, deadline=None)
@given(options=convolutions, n=st.integers(1, 2), form=st.sampled_from(sorted(affine.EXACT)))
def test_every_form_of_the_norm_is_exact(options: dict, n: int, form: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(affine, "EXACT", {form: affine.EXACT[form]})
        assert_agree(shaken(conv_net(**options)), pictures(n, 4, 8, 7))


def test_each_form_is_taken_where_it_is_the_cheapest() -> None:
    def forms(module: nn.Module, x: Tensor) -> str:
        term = affine.AFFINE[type(module)](module, x, torch.zeros_like(module(x)))
        costs = {form: cost(term) for form, cost in affine.EXACT.items()}
        return min(costs, key=costs.__getitem__)

    assert forms(nn.Conv2d(64, 64, 3, padding=1), torch.zeros(1, 64, 4, 4)) == "gram"
    assert forms(nn.Conv2d(3, 64, 3, padding=1), torch.zeros(1, 3, 32, 32)) == "patches"
    assert forms(nn.Conv2d(64, 4, 3, padding=1), torch.zeros(1, 64, 32, 32)) == "shifts"
    assert forms(nn.Linear(64, 64), torch.zeros(1, 64)) == "gram"


@settings(max_examples=40, deadline=None)
@given(options=convolutions, seed=st.integers(0, 99))
def test_a_sketch_of_full_rank_rows_is_the_exact_norm(options: dict, seed: int) -> None:
    """With rows that are orthogonal, S^T S = k I, nothing is lost: the sketch's own arithmetic is
    exact. Hadamard's matrix of order 8 for the 6 outputs, or the 3 of each of two groups."""
    h = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    hadamard = torch.kron(torch.kron(h, h), h)
    module = nn.Conv2d(4, 6, **options).double()
    x = pictures(2, 4, 8, 7, seed=seed)
    b = torch.randn_like(module(x))
    term = affine.AFFINE[nn.Conv2d](module, x, b)
    left = hadamard[:, : term.rows].expand(2, term.groups, 8, term.rows)
    for form in affine.FORMS.values():
        sketched = affine.squares(form(term, left @ term.b)) / 8
        torch.testing.assert_close(affine.weight_norms([term], None), sketched, rtol=1e-10, atol=0)


class Normalised(nn.Module):
    """LayerNorm over maps and over a sequence, GroupNorm, BatchNorm1d over a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.group = nn.GroupNorm(3, 6)
        self.maps = nn.LayerNorm([6, 5, 4])
        self.tokens = nn.LayerNorm(6)
        self.batch = nn.BatchNorm1d(6)
        self.last = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.maps(torch.tanh(self.group(self.conv(x))))
        y = torch.tanh(self.tokens(y.flatten(2).mT))
        return self.last(torch.relu(self.batch(y.mT)).mean(2))


def test_the_exact_trace_holds_for_layer_and_group_normalisation() -> None:
    model = Normalised()
    for module in (model.group, model.maps, model.tokens):
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
    assert_agree(shaken(model), pictures(3, 3, 5, 4))


class Dimensions(nn.Module):
    """Convolutions in one and three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.volume = nn.Conv3d(2, 4, (1, 2, 3), stride=(1, 2, 1), padding=1, groups=2)
        self.line = nn.Conv1d(4, 3, 4, padding=2, dilation=2, padding_mode="circular")
        self.last = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.volume(x)).flatten(2)
        return self.last(torch.tanh(self.line(y)).mean(2))


def test_the_exact_trace_holds_for_one_and_three_dimensions() -> None:
    assert_agree(shaken(Dimensions()), pictures(2, 2, 3, 4, 5))


class Tied(nn.Module):
    """One weight in three layers, one bias in two, at different strides and resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 3, 3, padding=1)
        self.between = nn.BatchNorm2d(3)
        self.two = nn.Conv2d(3, 3, 3, stride=2, bias=False)
        self.three = nn.Conv2d(3, 3, 3, padding=2, dilation=2)
        self.two.weight = self.three.weight = self.one.weight
        self.three.bias = self.one.bias
        self.head = nn.Linear(3, 3)
        self.again = nn.Linear(3, 3)
        self.again.weight = self.head.weight
        self.last = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(torch.tanh(self.between(self.one(x))))
        y = torch.tanh(self.three(torch.tanh(y))).mean((2, 3))
        return self.last(torch.tanh(self.again(torch.tanh(self.head(y)))))


def test_a_weight_of_several_layers_counts_once_with_the_sum_of_its_gradients() -> None:
    model = shaken(Tied())
    assert_agree(model, pictures(3, 3, 8, 9))
    found = measure(model, pictures(3, 3, 8, 9))["layers"]
    assert [x["name"] for x in found] == ["one+two+three", "between", "head+again", "last"]
    assert sum(p.numel() for p in model.parameters()) == sum(x["parameters"] for x in found)


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
    assert found["1.0.conv1"]["trace"] == whole["1.0.conv1"]["trace"]


def test_layers_carry_their_path_and_their_number_of_parameters() -> None:
    model = tiny_mlp()
    found = measure(model.double(), pictures(2, 3, 4, 4))["layers"]
    expected = [("1", 432), ("2", 18), ("4", 70), ("6", 32)]
    assert expected == [(layer["name"], layer["parameters"]) for layer in found]
    assert sum(p.numel() for p in model.parameters()) == sum(x["parameters"] for x in found)


def test_an_unsupported_layer_is_refused_by_name_with_what_is_supported() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.PReLU(), nn.Linear(5, CLASSES)).double()
    with pytest.raises(Invalid, match=r"layer '1' is a PReLU; supported are .*Conv2d.*LayerNorm"):
        measure(model, pictures(2, 6))


def test_a_subclass_that_may_do_anything_is_refused() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    with pytest.raises(Invalid, match="layer '0' is a Doubled"):
        measure(nn.Sequential(Doubled(6, CLASSES)).double(), pictures(2, 6))


def test_a_parameter_in_two_roles_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, CLASSES)).double()
    model[1].weight = model[0].bias
    with pytest.raises(Invalid, match="layers '0' and '1' share a parameter in two roles"):
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
