from typing import get_args

import pytest
import torch
from torch import nn

from shared import spec
from worker.models import MODELS, build

CIFAR, MNIST = (32, 32, 3), (32, 32, 1)


def named(name, width=1.0):
    return {"name": name, "width": width}


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


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 13, 3), (16, 16, 1), (32, 32, 3)])
@pytest.mark.parametrize("width", [0.01, 0.1])
def test_every_model_takes_any_shape_and_width(name, shape, width):
    model = build(named(name, width), shape, 7, seed=0)
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
