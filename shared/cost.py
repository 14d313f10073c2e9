"""What training costs, from the spec alone: multiply-adds, length of a segment, device time,
memory."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

Shape = tuple[int, int, int]

REFERENCE_FLOPS = 1e13
"""The reference device: 10 TFLOP/s reached in float32. Estimates, and the grid, refer to it."""

SEGMENT_FLOPS = 1e15
"""A segment is about this long: 100 s of the reference device."""


KEPT_OUTPUTS = 3
"""Tensors as large as a layer's output at one time: of a convolution, BatchNorm and ReLU, two are
kept for the backward pass, and a gradient passes by."""

MOMENTS = {"sgd": 1, "adam": 2}


class Layer(NamedTuple):
    """A convolution or a linear layer: its weights are used at so many positions, each of which
    gives so many output values."""

    positions: int
    weights: int
    units: int
    biases: int = 0
    normed: int = 0
    """Channels of the BatchNorm beside it; 0 where there is none."""


def scaled(channels: int, width: float) -> int:
    """A hidden channel count at a width: rounded, at least one."""
    return max(1, round(channels * width))


def multiply_adds(model: dict[str, Any], shape: Shape, classes: int) -> int:
    """Multiply-adds of one image's forward pass: convolutions and linear layers, nothing else.

    shape is (H, W, C). A forward and backward pass is about three times that, and each
    multiply-add is two floating-point operations.
    """
    return sum(one.positions * one.weights for one in LAYERS[model["name"]](model, shape, classes))


class Memory(NamedTuple):
    """Bytes that one training step takes, in float32 and roughly."""

    state: int
    """weights, their gradients, the optimiser's moments; weights and moments of the epoch before"""
    batch: int
    """images of one batch and what every layer makes of them"""


def memory(
    model: dict[str, Any], shape: Shape, classes: int, optimizer: str, batch_size: int
) -> Memory:
    """Of biases and BatchNorm nothing is counted, of measurements neither."""
    layers = list(LAYERS[model["name"]](model, shape, classes))
    weights = sum(one.weights for one in layers)
    outputs = sum(one.positions * one.units for one in layers)
    values = shape[0] * shape[1] * shape[2] + KEPT_OUTPUTS * outputs
    return Memory(4 * weights * (3 + 2 * MOMENTS[optimizer]), 4 * batch_size * values)


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


def linear_sizes(model: dict[str, Any], shape: Shape, classes: int) -> list[int]:
    """Units of a deep linear network from the image to the logits: depth + 1 numbers."""
    high, wide, channels = shape
    return [high * wide * channels, *[scaled(100, model["width"])] * (model["depth"] - 1), classes]


Kernels = list[tuple[int, int, int]]
"""channels at width 1, taps of the kernel, stride"""


def _halved(side: int) -> int:
    return (side + 1) // 2


def _convolutions(
    layers: Kernels, width: float, shape: Shape, classes: int, has_norm: int = 1, head: int = 0
) -> Iterator[Layer]:
    """One after another, then a 1x1 convolution to the classes. Stride 2 halves, rounding up.
    `has_norm`: the smallest kernel that has no bias but a BatchNorm; `head`: as `Layer.normed`."""
    high, wide, before = shape
    for channels, taps, stride in layers:
        after = scaled(channels, width)
        if stride == 2:
            high, wide = _halved(high), _halved(wide)
        extra = (0, after) if taps >= has_norm else (after, 0)
        yield Layer(high * wide, before * after * taps, after, *extra)
        before = after
    yield Layer(high * wide, before * classes, classes, 0 if head else classes, head)


def _all_cnn(model: dict[str, Any], shape: Shape, classes: int) -> Iterator[Layer]:
    blocks = model.get("blocks", 9)
    layers = [(96, 9, 1), (96, 9, 1), (192, 9, 2), *[(192, 9, 1)] * (blocks - 7)]
    layers += [(192, 9, 2), (192, 9, 1), (192, 1, 1)]
    head = classes if model.get("head", "plain") == "batchnorm_relu" else 0
    has_norm = 9 if blocks == 8 else 1
    return _convolutions(layers, model["width"], shape, classes, has_norm, head)


def _depth_cnn(model: dict[str, Any], shape: Shape, classes: int) -> Iterator[Layer]:
    layers: Kernels = [(96, 9, 1)]
    for i in range(model["n"]):
        layers += [(96 << i, 9, 1), (192 << i, 9, 2)]
    layers += [(96 << model["n"], 9, 1), (96 << model["n"], 1, 1)]
    return _convolutions(layers, model["width"], shape, classes)


def _resnet18(model: dict[str, Any], shape: Shape, classes: int) -> Iterator[Layer]:
    high, wide, before = shape
    stem = scaled(64, model["width"])
    yield Layer(high * wide, before * stem * 9, stem, 0, stem)
    before = stem
    for channels, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
        after = scaled(channels, model["width"])
        if stride == 2:
            high, wide = _halved(high), _halved(wide)
        if stride == 2 or before != after:
            yield Layer(high * wide, before * after, after)
        for entering in (before, after, after, after):
            yield Layer(high * wide, entering * after * 9, after, 0, entering)
        before = after
    yield Layer(1, before * classes, classes, classes)


def _mlp(model: dict[str, Any], shape: Shape, classes: int) -> Iterator[Layer]:
    high, wide, channels = shape
    hidden = [scaled(units, model["width"]) for units in (2500, 2000, 1500, 1000, 500)]
    for one in _between([high * wide * channels, *hidden]):
        yield one._replace(normed=one.units)
    yield Layer(1, hidden[-1] * classes, classes, classes)


def _deep_linear(model: dict[str, Any], shape: Shape, classes: int) -> Iterator[Layer]:
    return _between(linear_sizes(model, shape, classes))


def _between(units: list[int]) -> Iterator[Layer]:
    return (Layer(1, before * after, after) for before, after in pairwise(units))


LAYERS: dict[str, Callable[[dict[str, Any], Shape, int], Iterator[Layer]]] = {
    "all_cnn": _all_cnn,
    "resnet18": _resnet18,
    "mlp": _mlp,
    "depth_cnn": _depth_cnn,
    "deep_linear": _deep_linear,
}
