from typing import get_args

import pytest
import torch
from networks import EVERY, asked, named
from torch import nn

from shared import spec
from worker.fisher.layers import trainable_layers
from worker.models import MODELS, build

CIFAR, MNIST = (32, 32, 3), (32, 32, 1)


def weights(model, kinds):
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, kinds))


def test_every_model_of_the_spec_is_implemented():
    union = get_args(spec.Model)[0]
    names = {get_args(part.model_fields["name"].annotation)[0] for part in get_args(union)}
    assert names == set(MODELS)


def test_all_cnn_has_the_papers_nine_convolutions():
    model = build(named("all_cnn"), CIFAR, 10, seed=0)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [96, 96, 192, 192, 192, 192, 192, 192, 10]
    assert [m.kernel_size[0] for m in convolutions] == [3, 3, 3, 3, 3, 3, 3, 1, 1]
    assert [m.stride[0] for m in convolutions] == [1, 1, 2, 1, 1, 2, 1, 1, 1]
    assert weights(model, nn.Conv2d) == 1_617_312


def test_resnet18_has_eighteen_layers_and_eleven_million_parameters():
    model = build(named("resnet18"), CIFAR, 10, seed=0)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert sum(m.kernel_size == (3, 3) for m in convolutions) + 1 == 18
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(11.17e6, rel=0.001)


def test_the_mlp_has_the_papers_weights():
    model = build(named("mlp"), MNIST, 10, seed=0)
    assert [m.out_features for m in model.modules() if isinstance(m, nn.Linear)] == [
        *[2500, 2000, 1500, 1000, 500],
        10,
    ]
    assert weights(model, nn.Linear) == 12_565_000


def test_all_cnn_of_eight_blocks_lacks_a_192_channel_block_and_batchnorm_on_the_1x1s():
    model = build(named("all_cnn", blocks=8), CIFAR, 10, seed=0)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [96, 96, 192, 192, 192, 192, 192, 10]
    assert [m.kernel_size[0] for m in convolutions] == [3, 3, 3, 3, 3, 3, 1, 1]
    assert [m.stride[0] for m in convolutions] == [1, 1, 2, 1, 2, 1, 1, 1]
    assert [m.bias is not None for m in convolutions] == [False] * 6 + [True] * 2
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 6
    assert weights(model, nn.Conv2d) == 1_617_312 - 9 * 192**2


@pytest.mark.parametrize("blocks", [8, 9])
def test_the_head_may_have_batchnorm_and_relu(blocks):
    model = build(named("all_cnn", 0.1, blocks=blocks, head="batchnorm_relu"), CIFAR, 10, seed=0)
    plain = build(named("all_cnn", 0.1, blocks=blocks), CIFAR, 10, seed=0)
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    norms = [[m for m in one.modules() if isinstance(m, nn.BatchNorm2d)] for one in (model, plain)]
    assert len(norms[0]) == len(norms[1]) + 1
    assert norms[0][-1].num_features == 10
    assert model(images).min() >= 0 > plain(images).min()


@pytest.mark.parametrize(("n", "millions"), [(1, 0.62), (2, 2.73), (3, 11.13)])
def test_each_pair_of_the_depth_family_halves_the_image_and_doubles_the_channels(n, millions):
    model = build(named("depth_cnn", n=n), CIFAR, 10, seed=0)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    body = [c for i in range(n) for c in (96 * 2**i, 96 * 2 ** (i + 1))]
    top = 96 * 2**n
    assert [m.out_channels for m in convolutions] == [96, *body, top, top, 10]
    assert [m.stride[0] for m in convolutions] == [1, *[1, 2] * n, 1, 1, 1]
    assert [m.kernel_size[0] for m in convolutions] == [3] * (2 * n + 2) + [1, 1]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 2 * n + 3
    assert weights(model, nn.Conv2d) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_deep_linear_network_is_the_product_of_its_matrices(depth):
    model = build(named("deep_linear", 0.1, depth=depth), (8, 8, 3), 7, seed=0)
    matrices = [p.detach().double() for p in model.parameters()]
    inside = [10] * (depth - 1)
    assert [tuple(m.shape) for m in matrices] == list(
        zip([*inside, 7], [192, *inside], strict=True)
    )
    images = torch.randn(5, 3, 8, 8)
    expected = images.double().flatten(1)
    for matrix in matrices:
        expected = expected @ matrix.T
    torch.testing.assert_close(model(images).double(), expected, rtol=1e-5, atol=1e-6)


def test_the_initial_scale_is_a_factor_on_torchs_default_weights():
    usual = build(named("deep_linear"), CIFAR, 10, seed=0)
    small = build(named("deep_linear", initial_scale=0.25), CIFAR, 10, seed=0)
    for one, other in zip(usual.parameters(), small.parameters(), strict=True):
        assert torch.equal(0.25 * one, other)
        bound = one.shape[1] ** -0.5
        assert one.abs().max() <= bound
        assert one.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def _silent():
    kinds = get_args(get_args(spec.Model)[0])
    names = {kind: get_args(kind.model_fields["name"].annotation)[0] for kind in kinds}
    return [asked(name) for kind, name in names.items() if kind.ADDED]


@pytest.mark.parametrize("model", _silent(), ids=lambda model: model.name)
def test_fields_that_a_key_leaves_out_are_read_with_the_specs_default(model):
    assert model.keyed() != model.model_dump()
    left_out, written = (
        build(fields, CIFAR, 10, seed=0) for fields in (model.keyed(), model.model_dump())
    )
    assert repr(left_out) == repr(written)


@pytest.mark.parametrize("fields", EVERY, ids=str)
def test_every_parameter_belongs_to_a_layer_that_is_measured(fields):
    model = build(named(**fields, width=0.05), CIFAR, 10, seed=0)
    counted = sum(layer.parameters for layer in trainable_layers(model))
    assert counted == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("fields", EVERY, ids=str)
@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 13, 3), (16, 16, 1), (32, 32, 3)])
@pytest.mark.parametrize("width", [0.01, 0.1])
def test_every_model_takes_any_shape_and_width(fields, shape, width):
    model = build(named(**fields, width=width), shape, 7, seed=0)
    height, wide, channels = shape
    logits = model(torch.randn(2, channels, height, wide))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_initial_weights_depend_on_the_seed_alone(name):
    torch.manual_seed(1)
    first = build(named(name, 0.1), CIFAR, 10, seed=0).state_dict()
    torch.manual_seed(2)
    second = build(named(name, 0.1), CIFAR, 10, seed=0).state_dict()
    other = build(named(name, 0.1), CIFAR, 10, seed=1).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build(named("all_cnn", 0.1), CIFAR, 10, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
