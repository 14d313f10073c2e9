"""Squared norm of each image's gradient, layer by layer."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from worker.fisher.affine import AFFINE, Signs, squares, weight_norms
from worker.fisher.layers import Layer, Part
from worker.fisher.normalisation import NORMALISATION
from worker.fisher.recording import Recording, Use

Uses = dict[nn.Module, list[Use]]


def squared_norms(
    recording: Recording,
    layers: list[Layer],
    seeds: Tensor,
    signs: Callable[[str], Signs] | None = None,
) -> Tensor:
    """|| J_l(x)^T s(x) ||^2 of each image x and layer l, J_l the Jacobian of the logits.

    seeds: (N, K), one vector s over the logits per image; returns (N, layers), float64. `signs`
    gives each layer's sketch its draws; without it norms are exact.
    """
    uses = recording.uses(seeds)
    with torch.no_grad():
        columns = [_layer(layer, uses, signs(layer.name) if signs else None) for layer in layers]
    return torch.stack(columns, dim=1)


def _layer(layer: Layer, uses: Uses, signs: Signs | None) -> Tensor:
    return torch.stack([_part(part, uses, signs) for part in layer.parts]).sum(0)


def _part(part: Part, uses: Uses, signs: Signs | None) -> Tensor:
    """(N,): the gradient of one parameter is the sum over all its uses."""
    found = [use for module in part.modules for use in uses[module]]
    kind = type(part.modules[0])
    if kind in NORMALISATION:
        gradient = NORMALISATION[kind]
        return squares(_sum(gradient(u.module, part.role, u.input, u.gradient) for u in found))
    if part.role == "bias":
        return squares(_sum(_bias(use, kind) for use in found))
    return weight_norms([AFFINE[kind](u.module, u.input, u.gradient) for u in found], signs)


def _bias(use: Use, kind: type[nn.Module]) -> Tensor:
    b = use.gradient
    between = tuple(range(1, b.dim() - 1)) if kind is nn.Linear else tuple(range(2, b.dim()))
    return b.sum(between) if between else b


def _sum(parts: Iterator[Tensor]) -> Tensor:
    first, *rest = parts
    return torch.stack([first, *rest]).sum(0) if rest else first
