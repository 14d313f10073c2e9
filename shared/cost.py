"""What training costs, from the spec alone: multiply-adds, length of a segment, device time."""

from collections.abc import Callable, Iterator
from typing import Any

Shape = tuple[int, int, int]

REFERENCE_FLOPS = 1e13
"""The reference device: 10 TFLOP/s reached in float32. Estimates, and the grid, refer to it."""

SEGMENT_FLOPS = 1e15
"""A segment is about this long: 100 s of the reference device."""


def scaled(channels: int, width: float) -> int:
    """A hidden channel count at a width: rounded, at least one."""
    return max(1, round(channels * width))


def multiply_adds(model: dict[str, Any], shape: Shape, classes: int) -> int:
    """Multiply-adds of one image's forward pass: convolutions and linear layers, nothing else.

    shape is (H, W, C). A forward and backward pass is about three times that, and each
    multiply-add is two floating-point operations.
    """
    return sum(COSTS[model["name"]](model["width"], shape, classes))


def segment_grid(config: dict[str, Any]) -> int:
    """Segments are cut at the absolute epochs that are multiples of this: 1 to 20.

    It depends on the training config alone, never on measured speed, so that every deployment
    cuts alike: clamp(round(SEGMENT_FLOPS / (6 * multiply-adds * training images)), 1, 20).
    """
    return max(1, min(20, round(SEGMENT_FLOPS / _training_flops(config))))


def device_seconds(config: dict[str, Any], epochs: int) -> float:
    """Seconds for training and evaluating that many epochs on the reference device."""
    test = 2 * _multiply_adds_of(config) * config["dataset"]["test_samples"]
    return epochs * (_training_flops(config) + test) / REFERENCE_FLOPS


def _training_flops(config: dict[str, Any]) -> int:
    samples: int = config["dataset"]["train_samples"]
    return 6 * _multiply_adds_of(config) * samples


def _multiply_adds_of(config: dict[str, Any]) -> int:
    dataset = config["dataset"]
    return multiply_adds(config["model"], tuple(dataset["shape"]), dataset["classes"])


def _halved(side: int) -> int:
    return (side + 1) // 2


def _all_cnn(width: float, shape: Shape, classes: int) -> Iterator[int]:
    high, wide, before = shape
    blocks = [(96, 9, 1), (96, 9, 1), (192, 9, 2), (192, 9, 1), (192, 9, 1)]
    blocks += [(192, 9, 2), (192, 9, 1), (192, 1, 1)]
    for channels, taps, stride in blocks:
        after = scaled(channels, width)
        if stride == 2:
            high, wide = _halved(high), _halved(wide)
        yield high * wide * before * after * taps
        before = after
    yield high * wide * before * classes


def _resnet18(width: float, shape: Shape, classes: int) -> Iterator[int]:
    high, wide, before = shape
    stem = scaled(64, width)
    yield high * wide * before * stem * 9
    before = stem
    for channels, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
        after = scaled(channels, width)
        if stride == 2:
            high, wide = _halved(high), _halved(wide)
        if stride == 2 or before != after:
            yield high * wide * before * after
        yield high * wide * (before * after + 3 * after * after) * 9
        before = after
    yield before * classes


def _mlp(width: float, shape: Shape, classes: int) -> Iterator[int]:
    high, wide, channels = shape
    before = high * wide * channels
    for units in [2500, 2000, 1500, 1000, 500]:
        after = scaled(units, width)
        yield before * after
        before = after
    yield before * classes


COSTS: dict[str, Callable[[float, Shape, int], Iterator[int]]] = {
    "all_cnn": _all_cnn,
    "resnet18": _resnet18,
    "mlp": _mlp,
}
