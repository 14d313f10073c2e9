"""Pre-activation ResNet-18 (He et al. 2016) for small images."""

from typing import Any

from torch import Tensor, nn

from shared.cost import scaled
from worker.models.all_cnn import MeanOverPixels

STAGES = [
    # channels, stride of the first of two blocks
    (64, 1),
    (128, 2),
    (256, 2),
    (512, 2),
]


class Block(nn.Module):
    """BatchNorm, ReLU, 3x3 convolution, twice; beside it the input, through a 1x1 convolution
    (after the first BatchNorm and ReLU) where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(before), nn.ReLU()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(after), nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, 1, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or before != after:
            self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        active = self.relu1(self.norm1(maps))
        beside = maps if self.shortcut is None else self.shortcut(active)
        return self.conv2(self.relu2(self.norm2(self.conv1(active)))) + beside


def resnet18(model: dict[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A 3x3 stem with BatchNorm and ReLU, four stages of two blocks, mean over pixels, linear.

    As in the authors' later code there is no BatchNorm or ReLU after the last block. 11.17 M
    parameters at width 1 for 32x32x3 and 10 classes.
    """
    before = scaled(STAGES[0][0], model["width"])
    stem = [nn.Conv2d(shape[2], before, 3, padding=1, bias=False), nn.BatchNorm2d(before)]
    layers: list[nn.Module] = [nn.Sequential(*stem, nn.ReLU())]
    for channels, stride in STAGES:
        after = scaled(channels, model["width"])
        layers.append(nn.Sequential(Block(before, after, stride), Block(after, after, 1)))
        before = after
    return nn.Sequential(*layers, MeanOverPixels(), nn.Linear(before, classes))
