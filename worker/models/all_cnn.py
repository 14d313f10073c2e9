"""The all-convolutional network (Springenberg et al. 2015) in the nine blocks of the paper."""

from typing import Any

from torch import Tensor, nn

from shared.cost import scaled

BLOCKS = [
    # channels, kernel, stride
    (96, 3, 1),
    (96, 3, 1),
    (192, 3, 2),
    (192, 3, 1),
    (192, 3, 1),
    (192, 3, 2),
    (192, 3, 1),
    (192, 1, 1),
]


class MeanOverPixels(nn.Module):
    """(B, K, H, W) -> (B, K). Adaptive pooling has no deterministic backward pass on CUDA."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


def all_cnn(model: dict[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Eight blocks of convolution, BatchNorm and ReLU, a plain 1x1 convolution, mean over pixels.

    The ninth block has neither BatchNorm nor ReLU: reproductions differ there, the authors' own
    later code ends in a plain convolution, and a ReLU would keep every logit above zero.
    Convolutions have a bias only where no BatchNorm follows. At width 1, for 32x32x3 and 10
    classes: 1,617,312 convolution weights, 344.9 M multiply-adds an image.
    """
    layers: list[nn.Module] = []
    before = shape[2]
    for channels, kernel, stride in BLOCKS:
        after = scaled(channels, model["width"])
        layers.append(
            nn.Sequential(
                nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            )
        )
        before = after
    return nn.Sequential(*layers, nn.Conv2d(before, classes, 1), MeanOverPixels())
