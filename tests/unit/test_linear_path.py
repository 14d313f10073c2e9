"""The straight line between two networks: its ends, its statistics, and barriers that are known."""

import math
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from worker import accuracy, linear_path
from worker.shown import Shown

CLASSES, BATCH = 3, 8


def idle() -> None:
    pass


def pictures(n: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, 2, 2, dtype=torch.float64, generator=draw) + 0.5
    return images, torch.randint(CLASSES, (n,), generator=draw)


SHOWN = {"train": Shown.of(*pictures(26, 4)), "test": Shown.of(*pictures(40, 3))}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    hidden = [nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(6, CLASSES)).double()


def between(there: nn.Module, here: nn.Module, points: int = 5) -> dict:
    return linear_path.measure(there, here, SHOWN, points, BATCH, idle)


def test_its_ends_are_both_networks_with_statistics_of_the_training_images() -> None:
    there, here = network(1), network(2)
    found = between(there, here)
    for model, row in ((there, found["points"][0]), (here, found["points"][-1])):
        for split in ("train", "test"):
            by_itself = accuracy.measure(model, SHOWN[split], SHOWN["train"], BATCH, idle)
            for name in ("accuracy", "loss", "samples"):
                assert row[split][name] == pytest.approx(by_itself[name], rel=1e-12)
    assert [row["a"] for row in found["points"]] == [0, 0.25, 0.5, 0.75, 1]
    assert found["statistics_samples"] == 26


def test_a_point_is_the_mean_of_weights_and_not_of_statistics() -> None:
    there, here = network(1), network(2)
    middle = deepcopy(here)
    for own, other in zip(middle.parameters(), there.parameters(), strict=True):
        own.data = (own.data + other.data) / 2
    for buffer in there.buffers():
        buffer.fill_(1e6)
    by_itself = accuracy.measure(middle, SHOWN["test"], SHOWN["train"], BATCH, idle)
    found = between(there, here, points=3)["points"][1]["test"]
    assert found["loss"] == pytest.approx(by_itself["loss"], rel=1e-12)


def test_a_convex_loss_has_no_barrier() -> None:
    torch.manual_seed(5)
    convex = [nn.Sequential(nn.Flatten(), nn.Linear(12, CLASSES)).double() for _ in range(2)]
    assert between(*convex)["barrier"] == {"train": 0.0, "test": 0.0}


def test_one_function_with_its_hidden_units_swapped_lies_behind_a_barrier() -> None:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, CLASSES)).double()
    model[3].weight.data *= 5
    swapped, order = deepcopy(model), [2, 3, 0, 1]
    for parameter in (swapped[1].weight, swapped[1].bias):
        parameter.data = parameter.data[order]
    swapped[3].weight.data = swapped[3].weight.data[:, order]
    images = pictures(40, 3)[0]
    own = Shown.of(images, model(images).argmax(1))
    found = linear_path.measure(model, swapped, {"train": own, "test": own}, 11, BATCH, idle)
    losses = [_loss(model, swapped, i / 10, images) for i in range(11)]
    assert losses[0] == pytest.approx(losses[-1], rel=1e-12)
    assert found["barrier"]["test"] == pytest.approx(max(losses) - losses[0], rel=1e-9)
    assert found["barrier"]["test"] > 0.1
    pairs = zip(model.parameters(), swapped.parameters(), strict=True)
    squares = sum(float((one - other).detach().square().sum()) for one, other in pairs)
    assert found["distance"] == pytest.approx(math.sqrt(squares), rel=1e-12)


def _loss(one: nn.Module, other: nn.Module, a: float, images: Tensor) -> float:
    """Of the answers of `one`, by hand."""
    parts = zip(one.parameters(), other.parameters(), strict=True)
    w, b, v, c = ((1 - a) * p.detach() + a * q.detach() for p, q in parts)
    logits = torch.relu(images.flatten(1) @ w.T + b) @ v.T + c
    return float(cross_entropy(logits, one(images).argmax(1)))


def test_the_barrier_is_above_the_chord_and_never_below_it() -> None:
    assert linear_path.barrier([(0, 1.0), (0.5, 3.0), (1, 2.0)]) == pytest.approx(1.5)
    assert linear_path.barrier([(0, 1.0), (0.5, 0.5), (1, 2.0)]) == 0
    assert math.isnan(linear_path.barrier([(0, 1.0), (0.3, 9.0), (0.6, math.nan), (1, 2.0)]))
    assert math.isnan(linear_path.barrier([(0, 1.0), (0.5, 9.0), (1, math.inf)]))


def test_both_networks_are_left_as_they_were() -> None:
    there, here = network(1).train(), network(2).eval()
    before = [deepcopy(model.state_dict()) for model in (there, here)]
    between(there, here)
    for model, state in zip((there, here), before, strict=True):
        assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    assert (there.training, here.training) == (True, False)
