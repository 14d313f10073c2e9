"""The paper's family of convolutional networks of growing depth."""

from typing import Any

from torch import nn

from shared.cost import scaled
from worker.models.all_cnn import MeanOverPixels, normed


def depth_cnn(model: dict[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """96 - [96 * 2^(i-1), 96 * 2^i with stride 2] for i = 1..n - 96 * 2^n - 1x1 96 * 2^n, each a
    3x3 convolution unless said otherwise, with BatchNorm and ReLU; then a plain 1x1 convolution and
    the mean over pixels.

    Each pair halves the image and doubles the channels, so that a deeper one is wider too. At
    width 1, for 32x32x3 and 10 classes, n = 1, 2, 3: 0.62, 2.73 and 11.13 M convolution weights,
    225, 352 and 479 M multiply-adds an image.
    """

    def channels(i: int) -> int:
        return scaled(96 * 2**i, model["width"])

    layers: list[nn.Module] = [normed(shape[2], channels(0), 3)]
    for i in range(1, model["n"] + 1):
        layers.append(normed(channels(i - 1), channels(i - 1), 3))
        layers.append(normed(channels(i - 1), channels(i), 3, stride=2))
    last = channels(model["n"])
    layers += [normed(last, last, 3), normed(last, last, 1)]
    return nn.Sequential(*layers, nn.Conv2d(last, classes, 1), MeanOverPixels())
