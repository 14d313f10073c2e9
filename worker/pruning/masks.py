"""Masks: which of the prunable go by their scores, which are gone already, and how these stay so.

A mask is true where something is pruned. Those of weights have the shape of the weight, those of
channels one place for each output channel.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from worker.pruning.layers import Layer

Masks = list[Tensor]
"""For each layer; on the device of the weights."""
Gone = list[tuple[Tensor, Tensor]]
"""Parameters with what of them is 0 and stays 0."""


def of(layers: list[Layer], granularity: str) -> list[Layer]:
    """Those that can be pruned so."""
    return [one for one in layers if granularity == "weights" or not one.is_last]


def zeros(layers: list[Layer], granularity: str) -> Masks:
    """What is gone by now: weights that are 0, channels whose weights are all 0."""
    masks = [layer.module.weight.detach() == 0 for layer in layers]
    return masks if granularity == "weights" else [mask.flatten(1).all(1) for mask in masks]


def chosen(scores: list[Tensor], sparsity: float, ranking: str, gone: Masks) -> Masks:
    """round(sparsity * n) of n, those with the lowest scores, or as many of each layer; what is
    gone already first, equals in the network's order, nan last.

    Scores are float64 on the CPU, of the shapes of `gone`.
    """
    flat = [
        torch.where(mask.cpu(), -torch.inf, score).flatten()
        for score, mask in zip(scores, gone, strict=True)
    ]
    groups = [torch.cat(flat)] if ranking == "global" else flat
    picked = torch.cat([_lowest(group, sparsity) for group in groups])
    parts = picked.split([len(part) for part in flat])
    return [part.view(mask.shape).to(mask.device) for part, mask in zip(parts, gone, strict=True)]


def _lowest(scores: Tensor, sparsity: float) -> Tensor:
    picked = torch.zeros(len(scores), dtype=torch.bool)
    order = torch.sort(scores, stable=True).indices
    picked[order[: round(sparsity * len(scores))]] = True
    return picked


def parameters(layers: list[Layer], granularity: str, masks: Masks) -> Gone:
    """What of which parameter a mask takes away; of a channel all that makes its output."""
    if granularity == "weights":
        return [(one.module.weight, mask) for one, mask in zip(layers, masks, strict=True)]
    return [
        (parameter, _over(mask, parameter))
        for layer, mask in zip(layers, masks, strict=True)
        for parameter in (layer.module.weight, *layer.per_channel)
    ]


def _over(mask: Tensor, parameter: Tensor) -> Tensor:
    return mask.view(-1, *(1 for _ in parameter.shape[1:])).expand_as(parameter)


def clear(gone: Gone, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Set it to 0, with what an optimiser remembers of it: from there on gradients of 0 keep it at
    exactly 0, under momentum, Adam and weight decay alike."""
    with torch.no_grad():
        for parameter, mask in gone:
            parameter.masked_fill_(mask, 0)
            slots = optimizer.state.get(parameter, {}) if optimizer else {}
            for value in slots.values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value.masked_fill_(mask, 0)


def still(gone: Gone) -> Callable[[], None]:
    """To be called between the backward pass and the optimiser's step."""

    def hold() -> None:
        for parameter, mask in gone:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(mask, 0)

    return hold
