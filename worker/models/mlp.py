"""The paper's fully connected network."""

from typing import Any

from torch import nn

from shared.cost import scaled

HIDDEN = [2500, 2000, 1500, 1000, 500]


def mlp(model: dict[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Linear, BatchNorm and ReLU five times, then linear.

    Linear layers have a bias only where no BatchNorm follows. At width 1, for 32x32x1 (MNIST
    padded) and 10 classes: 12.565 M weights.
    """
    height, width, channels = shape
    layers: list[nn.Module] = [nn.Flatten()]
    before = height * width * channels
    for units in HIDDEN:
        after = scaled(units, model["width"])
        layers.append(
            nn.Sequential(nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU())
        )
        before = after
    return nn.Sequential(*layers, nn.Linear(before, classes))
