"""One forward pass of a batch, open for any number of backward passes; nothing is disturbed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from shared.errors import Invalid
from worker.fisher.affine import AFFINE
from worker.fisher.layers import Layer


@dataclass(frozen=True)
class Use:
    """One use of a module in the forward pass."""

    module: nn.Module
    input: Tensor
    """(N, ...), N images first"""
    gradient: Tensor
    """Gradient by the module's output, of its shape"""


@dataclass(frozen=True)
class _Call:
    module: nn.Module
    input: Tensor
    version: int
    edge: GradientEdge
    outputs: int
    """Numbers in the output of one image"""

    @property
    def multiply_adds(self) -> int:
        """Of one image, in a convolution or linear layer."""
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return self.outputs * (weight.numel() // len(weight))


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and each back in its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class Recording:
    """What went into each layer; and `logits` (N, K).

    Only tensors of this pass are touched: no `.grad` is written, no flag or buffer changed.
    """

    def __init__(self, model: nn.Module, layers: list[Layer], images: Tensor) -> None:
        self._calls: list[_Call] = []
        modules = {module for layer in layers for module in layer.modules}
        hooks = [module.register_forward_hook(self._remember) for module in modules]
        try:
            with torch.enable_grad():
                self.logits: Tensor = model(images)
        finally:
            for hook in hooks:
                hook.remove()
        self._check(layers, len(images))

    def uses(self, seeds: Tensor) -> dict[nn.Module, list[Use]]:
        """Every use of each module, with the gradient of sum(seeds * logits) by its output.

        seeds: (N, K). Images do not mix, so each gets the gradient of its own `s(x)^T logits(x)`.
        No gradient by a weight is computed.
        """
        gradients = torch.autograd.grad(
            self.logits,
            [call.edge for call in self._calls],
            seeds,
            retain_graph=True,
            materialize_grads=True,
        )
        found: dict[nn.Module, list[Use]] = {}
        for call, gradient in zip(self._calls, gradients, strict=True):
            found.setdefault(call.module, []).append(Use(call.module, call.input, gradient))
        return found

    def summed_jacobian(self, budget: float) -> Tensor | None:
        """Gradients of each logit by the output of one late affine layer, summed over positions:
        (N, K, channels). None where that layer is the last one.

        The earliest layer for which this costs at most `budget` of the forward pass.
        """
        call = self._earliest(budget)
        if call is None:
            return None
        n, classes = self.logits.shape
        each = torch.eye(classes, dtype=self.logits.dtype, device=self.logits.device)
        first, last = (1, -1) if isinstance(call.module, nn.Linear) else (2, None)
        columns = []
        for seed in each:  # one by one: faster on the CPU than batched, and small
            (found,) = torch.autograd.grad(
                self.logits, [call.edge], seed.expand(n, classes), retain_graph=True
            )
            positions = tuple(range(found.dim()))[first:last]
            columns.append(found.sum(positions) if positions else found)
        return torch.stack(columns, dim=1)

    def _earliest(self, budget: float) -> _Call | None:
        affine = [call for call in self._calls if type(call.module) in AFFINE]
        costs = [call.multiply_adds for call in affine]
        allowed, chosen = budget * sum(costs), None
        for later in range(1, len(affine)):
            if self.logits.shape[1] * sum(costs[-later:]) > allowed:
                break
            chosen = affine[-later - 1]
        return chosen

    def _remember(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        x = inputs[0].detach()
        # The edge, not the tensor: a ReLU in place would turn the tensor into its own output.
        edge, outputs = get_gradient_edge(output), output[0].numel()
        self._calls.append(_Call(module, x, x._version, edge, outputs))

    def _check(self, layers: list[Layer], examples: int) -> None:
        called = {call.module for call in self._calls}
        names = {module: layer.name for layer in layers for module in layer.modules}
        for module, name in names.items():
            if module not in called:
                raise Invalid(f"layer '{name}' has parameters but was never called")
        for call in self._calls:
            if call.input._version != call.version:
                raise Invalid(f"the input of layer '{names[call.module]}' was changed in place")
            if len(call.input) != examples:
                raise Invalid(f"the first axis of layer '{names[call.module]}' is not the images")
