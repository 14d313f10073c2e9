"""The activations of one layer over all images, a block of units at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.errors import Invalid
from worker.shown import Shown

BLOCK = 1 << 27
"""Numbers in one block: 512 MiB of float32. A layer that has more is passed through once for each,
and two are there at a time."""
COLUMNS = 4096
"""Units that are looked at together: of 1,000 images 33 MB of float64."""


@dataclass(frozen=True)
class Layer:
    """A top-level child of the network; its output is flattened image by image."""

    number: int
    units: int
    low: float
    high: float
    """Of all its activations; nan if one of them is."""

    @property
    def is_finite(self) -> bool:
        return abs(self.low) < float("inf") and abs(self.high) < float("inf")


@dataclass(frozen=True)
class Survey:
    layers: list[Layer]
    labels: Tensor
    """(N,) int64 on the CPU, as shown"""
    classes: int
    """Outputs of the network."""


def survey(model: nn.Module, numbers: list[int], shown: Shown, tick: Callable[[], None]) -> Survey:
    """One pass over the images: what the layers of these numbers are like."""
    children = _children(model, numbers)
    ends: dict[int, list[Tensor]] = {number: [] for number in numbers}
    units, labels, classes = {}, [], 0
    for chunk in shown.chunks():
        tick()
        values = chunk.images
        for number, child in enumerate(children):
            values = child(values)
            if number in ends:
                ends[number].append(torch.stack(values.aminmax()))
                units[number] = values[0].numel()
        labels.append(chunk.labels.cpu())
        classes = values.shape[1]
    layers = [_layer(number, units[number], torch.stack(ends[number])) for number in numbers]
    return Survey(layers, torch.cat(labels), classes)


def blocks(
    model: nn.Module, layer: Layer, shown: Shown, tick: Callable[[], None]
) -> Iterator[Tensor]:
    """Activations (N, b) in the model's dtype, of consecutive units; b is `BLOCK` / N at most. The
    images pass through the layers up to this one again for each block. nan where training diverged.
    """
    children = _children(model, [layer.number])[: layer.number + 1]
    width = max(1, BLOCK // shown.count)
    for first in range(0, layer.units, width):
        found: Tensor | None = None
        for chunk in shown.chunks():
            tick()
            values = chunk.images
            for child in children:
                values = child(values)
            part = values.flatten(1)[:, first : first + width]
            if found is None:
                found = part.new_empty(shown.count, part.shape[1])
            found[chunk.rows] = part
        assert found is not None
        yield found


def columns(block: Tensor) -> Iterator[Tensor]:
    """(N, c) float64 of a block, a copy."""
    for part in block.split(COLUMNS, dim=1):
        yield part.double()


def _children(model: nn.Module, numbers: list[int]) -> list[nn.Module]:
    children = list(model.children())
    if not isinstance(model, nn.Sequential) or max(numbers) >= len(children):
        raise Invalid(
            f"the network is a {type(model).__name__} of {len(children)} layers: there is no layer"
            f" {max(numbers)} whose output could be looked at"
        )
    return children


def _layer(number: int, units: int, ends: Tensor) -> Layer:
    """`ends` are the smallest and largest of each pass, (passes, 2)."""
    return Layer(number, units, ends[:, 0].min().item(), ends[:, 1].max().item())
