"""The all-convolutional network (Springenberg et al. 2015) in the nine blocks of the paper."""

from typing import Any

from torch import Tensor, nn

from shared.cost import scaled

BLOCKS = {
    # channels, kernel, stride of all convolutions but the last
    9: [
        (96, 3, 1),
        (96, 3, 1),
        (192, 3, 2),
        (192, 3, 1),
        (192, 3, 1),
        (192, 3, 2),
        (192, 3, 1),
        (192, 1, 1),
    ],
    8: [
        (96, 3, 1),
        (96, 3, 1),
        (192, 3, 2),
        (192, 3, 1),
        (192, 3, 2),
        (192, 3, 1),
        (192, 1, 1),
    ],
}


class MeanOverPixels(nn.Module):
    """(B, K, H, W) -> (B, K). Adaptive pooling has no deterministic backward pass on CUDA."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


def normed(before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm and ReLU, padded so that stride 1 keeps the image's size."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def all_cnn(model: dict[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Blocks of convolution, BatchNorm and ReLU, a 1x1 convolution, mean over pixels.

    The last block is plain by default: reproductions differ there, the authors' own later code
    ends in a plain convolution, and a ReLU would keep every logit above zero. Convolutions have a
    bias only where no BatchNorm follows. At width 1, for 32x32x3 and 10 classes: 1,617,312
    convolution weights, 344.9 M multiply-adds an image.

    With 8 blocks, as in Krzepkowski's replication: without the third of the 192-channel blocks,
    and without BatchNorm in the 1x1 blocks (with our padding and a ReLU, which that one lacks).
    """
    count = model.get("blocks", 9)
    layers: list[nn.Module] = []
    before = shape[2]
    for channels, kernel, stride in BLOCKS[count]:
        after = scaled(channels, model["width"])
        if kernel == 1 and count == 8:
            layers.append(nn.Sequential(nn.Conv2d(before, after, 1), nn.ReLU()))
        else:
            layers.append(normed(before, after, kernel, stride))
        before = after
    batchnorm_relu = model.get("head", "plain") == "batchnorm_relu"
    last = normed(before, classes, 1) if batchnorm_relu else nn.Conv2d(before, classes, 1)
    return nn.Sequential(*layers, last, MeanOverPixels())
