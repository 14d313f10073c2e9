"""Squared norms of per-example gradients, layer by layer, without keeping any gradient.

For an affine layer with input `a_t` and output gradient `b_t` at positions t, the weight gradient
of one example is `sum_t b_t a_t^T`, and its squared norm is

    || sum_t b_t a_t^T ||^2  =  sum_{t,s} <a_t, a_s> <b_t, b_s>

(left: direct form; right: Gram form, Rochette et al. 2019, arXiv 1912.06015; for one position
Goodfellow 2015, arXiv 1510.01799). One backward pass of a batch gives `b` for every layer; each
layer takes the cheaper form. The norms are those of the true per-example gradients, in the model's
dtype up to the sum over a gradient's entries, which is float64.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.functional import pad

from shared.errors import Invalid

Calls = list[tuple[Tensor, Tensor]]  # (input, gradient of the output) of each use of a layer


@dataclass(frozen=True)
class Layer:
    """A module that owns trainable parameters; frozen ones do not count."""

    name: str
    module: nn.Module
    parameters: int


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


def trainable_layers(model: nn.Module) -> list[Layer]:
    """The layers whose gradients count, in the order in which the network defines them."""
    layers = [
        Layer(name or "model", module, count)
        for name, module in model.named_modules()
        if (count := sum(p.numel() for p in _trainable(module)))
    ]
    if not layers:
        raise Invalid(
            "the network has no trainable parameters: there is no Fisher trace to measure"
        )
    _refuse_what_is_unsupported(layers)
    return layers


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters(recurse=False) if p.requires_grad]


def _refuse_what_is_unsupported(layers: list[Layer]) -> None:
    owner: dict[int, str] = {}
    for layer in layers:
        kind = type(layer.module)
        if kind not in SQUARED_NORMS:
            known = ", ".join(sorted(supported.__name__ for supported in SQUARED_NORMS))
            raise Invalid(f"layer '{layer.name}' is a {kind.__name__}; supported are {known}")
        if getattr(layer.module, "running_mean", True) is None:
            raise Invalid(f"layer '{layer.name}' keeps no running statistics: it mixes the images")
        for parameter in _trainable(layer.module):
            if (first := owner.setdefault(id(parameter), layer.name)) != layer.name:
                raise Invalid(f"layers '{first}' and '{layer.name}' share a parameter")


class Recording:
    """One forward pass of a batch, open for any number of backward passes.

    Only tensors of this pass are touched: no `.grad` is written, no flag or buffer changed.
    """

    def __init__(self, model: nn.Module, layers: list[Layer], images: Tensor) -> None:
        self._layers = layers
        self._inputs: list[list[tuple[Tensor, int]]] = [[] for _ in layers]
        self._edges: list[list[GradientEdge]] = [[] for _ in layers]
        hooks = [
            layer.module.register_forward_hook(self._remember(i)) for i, layer in enumerate(layers)
        ]
        try:
            with torch.enable_grad():
                self.logits: Tensor = model(images)
        finally:
            for hook in hooks:
                hook.remove()
        self._check(len(images))

    def _remember(self, i: int) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self._inputs[i].append((inputs[0].detach(), inputs[0]._version))
            # The edge, not the tensor: a ReLU in place would turn the tensor into its own output.
            self._edges[i].append(get_gradient_edge(output))

        return hook

    def _check(self, examples: int) -> None:
        for layer, inputs in zip(self._layers, self._inputs, strict=True):
            if not inputs:
                raise Invalid(f"layer '{layer.name}' has parameters but was never called")
            for tensor, version in inputs:
                if tensor._version != version:
                    raise Invalid(f"the input of layer '{layer.name}' was changed in place")
                if len(tensor) != examples:
                    raise Invalid(f"the first axis of layer '{layer.name}' is not the images")

    def squared_norms(self, seeds: Tensor) -> Tensor:
        """|| J_l(x)^T s(x) ||^2 of each image x and layer l, J_l the Jacobian of the logits.

        seeds: (N, K), one vector s over the logits per image; returns (N, layers), float64.
        """
        edges = [edge for calls in self._edges for edge in calls]
        gradients = iter(
            torch.autograd.grad(
                self.logits, edges, seeds, retain_graph=True, materialize_grads=True
            )
        )
        columns = []
        for layer, inputs in zip(self._layers, self._inputs, strict=True):
            calls = [(tensor, next(gradients)) for tensor, _ in inputs]
            columns.append(SQUARED_NORMS[type(layer.module)](layer.module, calls))
        return torch.stack(columns, dim=1)


def _convolution(module: nn.Module, calls: Calls) -> Tensor:
    assert isinstance(module, nn.Conv2d)
    a = [_patches(module, x) for x, _ in calls]
    b = [gradient.unflatten(1, (module.groups, -1)).flatten(3) for _, gradient in calls]
    return _affine(module, _joined(a), _joined(b))


def _patches(module: nn.Conv2d, x: Tensor) -> Tensor:
    """What each output position sees: (N, C, H, W) -> (N, groups, C/groups * kernel, positions)."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    if any(widths := module._reversed_padding_repeated_twice):
        x = pad(x, widths, mode=mode)
    (n, channels, *sides), (far, deep, *steps) = x.shape, x.stride()
    axes = zip(sides, module.kernel_size, module.stride, module.dilation, strict=True)
    places = [(side - reach * (size - 1) - 1) // step + 1 for side, size, step, reach in axes]
    # A strided view, copied once: three times faster on the CPU than torch's unfold.
    view = x.as_strided(
        (n, channels, *module.kernel_size, *places),
        (far, deep, *_times(steps, module.dilation), *_times(steps, module.stride)),
    )
    return view.reshape(n, module.groups, -1, places[0] * places[1])


def _times(steps: list[int], factors: tuple[int, ...]) -> list[int]:
    return [step * factor for step, factor in zip(steps, factors, strict=True)]


def _linear(module: nn.Module, calls: Calls) -> Tensor:
    a = [x.reshape(len(x), 1, -1, x.shape[-1]).mT for x, _ in calls]
    b = [gradient.reshape(len(x), 1, -1, gradient.shape[-1]).mT for x, gradient in calls]
    return _affine(module, _joined(a), _joined(b))


def _joined(uses: list[Tensor]) -> Tensor:
    """A layer used twice sums its gradient over the positions of both uses."""
    return uses[0] if len(uses) == 1 else torch.cat(uses, dim=-1)


def _affine(module: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    """a: (N, groups, D, T), b: (N, groups, O, T) -> (N,)."""
    norms = torch.zeros(len(b), dtype=torch.float64, device=b.device)
    weight, bias = module.weight, module.bias
    if weight.requires_grad:
        norms += _outer_norms(a, b)
    if bias is not None and bias.requires_grad:
        norms += _squares(b.sum(-1))
    return norms


def _outer_norms(a: Tensor, b: Tensor) -> Tensor:
    """|| sum_t b_t a_t^T ||^2 in the form with fewer multiplications."""
    (inputs, positions), outputs = a.shape[-2:], b.shape[-2]
    if positions * (inputs + outputs) < inputs * outputs:
        gram = (a.mT @ a) * (b.mT @ b)
        return gram.flatten(1).sum(1, dtype=torch.float64).clamp(min=0)
    return _squares(b @ a.mT)


def _batch_norm(module: nn.Module, calls: Calls) -> Tensor:
    """In evaluation mode a map `y = weight * x_hat + bias` with constant statistics."""
    assert isinstance(module, nn.modules.batchnorm._BatchNorm)
    mean, variance = module.running_mean, module.running_var
    assert mean is not None
    assert variance is not None
    scale = (variance + module.eps).rsqrt()
    by_weight, by_bias = torch.zeros((), device=mean.device), torch.zeros((), device=mean.device)
    for x, gradient in calls:
        b = gradient.reshape(*gradient.shape[:2], -1)
        x_hat = (x.reshape(b.shape) - mean[:, None]) * scale[:, None]
        by_weight = by_weight + (b * x_hat).sum(-1)
        by_bias = by_bias + b.sum(-1)
    norms = torch.zeros(len(by_bias), dtype=torch.float64, device=mean.device)
    if module.weight.requires_grad:
        norms += _squares(by_weight)
    if module.bias.requires_grad:
        norms += _squares(by_bias)
    return norms


def _squares(gradient: Tensor) -> Tensor:
    return gradient.flatten(1).square().sum(1, dtype=torch.float64)


SQUARED_NORMS: dict[type[nn.Module], Callable[[nn.Module, Calls], Tensor]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
}
