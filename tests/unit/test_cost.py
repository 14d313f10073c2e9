import pytest
import torch
from networks import EVERY, named
from torch import nn

from shared import cost
from worker.models import build


def counted(fields, shape, classes):
    """Multiply-adds of the real network, seen by hooks."""
    model, total = build(fields, shape, classes, seed=0).eval(), 0

    def count(module, inputs, output):
        nonlocal total
        each = module.weight.numel()
        total += each * (output[0, 0].numel() if isinstance(module, nn.Conv2d) else 1)

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    height, wide, channels = shape
    model(torch.zeros(1, channels, height, wide))
    return total


@pytest.mark.parametrize("fields", EVERY, ids=str)
@pytest.mark.parametrize("width", [0.02, 0.0833, 0.25])
@pytest.mark.parametrize("shape", [(8, 8, 1), (11, 14, 3), (16, 16, 1), (32, 32, 3)])
def test_the_arithmetic_agrees_with_the_real_network(fields, width, shape):
    model = named(**fields, width=width)
    assert cost.multiply_adds(model, shape, 7) == counted(model, shape, 7)


@pytest.mark.parametrize(
    ("fields", "millions"),
    [
        ({"name": "all_cnn"}, 344.9),
        ({"name": "resnet18"}, 555.4),
        ({"name": "depth_cnn", "n": 1}, 225),
        ({"name": "depth_cnn", "n": 2}, 352),
        ({"name": "depth_cnn", "n": 3}, 479),
    ],
)
def test_the_papers_numbers(fields, millions):
    cifar = cost.multiply_adds(named(**fields), (32, 32, 3), 10)
    assert cifar / 1e6 == pytest.approx(millions, rel=2e-3)


def test_the_papers_fully_connected_network_costs_its_weights():
    assert cost.multiply_adds(named("mlp"), (32, 32, 1), 10) == 12_565_000


def config(width=1.0, train=50_000, shape=(32, 32, 3)):
    dataset = {"train_samples": train, "test_samples": 10_000, "shape": list(shape), "classes": 10}
    return {"model": {"name": "all_cnn", "width": width}, "dataset": dataset}


def test_a_segment_is_one_to_twenty_epochs_and_shorter_for_more_work():
    assert cost.segment_grid(config()) == 10
    assert cost.segment_grid(config(width=8 / 96, train=2000, shape=(16, 16, 1))) == 20
    assert cost.segment_grid(config(width=8.0)) == 1


def test_device_seconds_count_training_and_evaluation():
    # 345 M multiply-adds x 2 x (3 x 50,000 + 10,000) at 10 TFLOP/s.
    assert cost.device_seconds(config(), 10) == pytest.approx(110.4, rel=1e-2)
    assert cost.device_seconds(config(), 0) == 0


def test_a_hidden_channel_count_is_at_least_one():
    assert cost.scaled(96, 8 / 96) == 8
    assert cost.scaled(192, 8 / 96) == 16
    assert cost.scaled(96, 0.001) == 1


def saved_bytes(fields, shape, batch):
    """What the backward pass of the real network keeps of a batch: every tensor once, without the
    weights."""
    model, seen = build(fields, shape, 7, seed=0), {}
    weights = {parameter.data_ptr() for parameter in model.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            seen[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    height, wide, channels = shape
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.zeros(batch, channels, height, wide)).sum()
    return sum(seen.values())


@pytest.mark.parametrize("fields", EVERY, ids=str)
@pytest.mark.parametrize("shape", [(16, 16, 1), (32, 32, 3)])
def test_a_batch_takes_what_the_real_network_keeps_of_it_and_at_most_twice_that(fields, shape):
    found = cost.memory(named(**fields, width=0.1), shape, 7, "sgd", 64)
    assert 1 <= found.batch / saved_bytes(named(**fields, width=0.1), shape, 64) <= 2


@pytest.mark.parametrize("fields", EVERY, ids=str)
def test_the_state_is_weights_gradients_and_moments_and_what_is_remembered(fields):
    model = build(named(**fields, width=0.1), (32, 32, 3), 7, seed=0)
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    for optimizer, copies in [("sgd", 5), ("adam", 7)]:
        found = cost.memory(named(**fields, width=0.1), (32, 32, 3), 7, optimizer, 64)
        assert found.state == 4 * weights * copies


def test_the_widest_mlp_on_the_largest_images_needs_tens_of_gigabytes():
    found = cost.memory(named("mlp", width=8), (256, 256, 3), 10, "sgd", 128)
    assert 78e9 < found.state < 100e9
