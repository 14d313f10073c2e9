"""What of a network can be pruned: the weights of its convolutions and linear layers, and their
output channels, each with what only it feeds."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from worker.fisher.recording import evaluation_mode

AFFINE = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class Layer:
    name: str
    module: nn.Conv2d | nn.Linear
    norm: _BatchNorm | None
    """The BatchNorm that reads this layer's output and no other's."""
    is_last: bool
    """Its outputs are the classes: they are not channels to take away."""

    @property
    def gate(self) -> nn.Module:
        """Whose output is the channel's: of the normalised one, as what follows sees it."""
        return self.norm or self.module

    @property
    def per_channel(self) -> list[Tensor]:
        """Parameters with a number for each output channel: with the filter at 0 and these at 0
        the channel's output is exactly 0, whatever BatchNorm's statistics are."""
        found = [self.module.bias]
        found += [self.norm.weight, self.norm.bias] if self.norm is not None else []
        return [parameter for parameter in found if parameter is not None]


def prunable(model: nn.Module, shape: tuple[int, int, int]) -> list[Layer]:
    """In the network's order. shape is (H, W, C) of an image.

    Which BatchNorm belongs to which convolution is told by a pass: in a pre-activation ResNet those
    that read a sum, with the shortcut in it, belong to none.
    """
    named = [(name, m) for name, m in model.named_modules() if isinstance(m, AFFINE)]
    norms = _norms(model, shape)
    return [
        Layer(name, module, norms.get(module), i == len(named) - 1)
        for i, (name, module) in enumerate(named)
    ]


def _norms(model: nn.Module, shape: tuple[int, int, int]) -> dict[nn.Module, _BatchNorm]:
    outputs: list[tuple[Tensor, nn.Module]] = []
    found: dict[nn.Module, _BatchNorm] = {}

    def made(module: nn.Module, _: Any, output: Tensor) -> None:
        outputs.append((output, module))

    def read(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        found.update({maker: module for output, maker in outputs if output is inputs[0]})

    hooks = [m.register_forward_hook(made) for m in model.modules() if isinstance(m, AFFINE)]
    hooks += [
        m.register_forward_pre_hook(read) for m in model.modules() if isinstance(m, _BatchNorm)
    ]
    some = next(model.parameters())
    try:
        with evaluation_mode(model), torch.no_grad():
            model(torch.zeros(1, shape[2], *shape[:2], dtype=some.dtype, device=some.device))
    finally:
        for hook in hooks:
            hook.remove()
    return found
