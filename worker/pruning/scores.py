"""Criteria: how much each weight, or each channel, is worth. The lowest go first."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shared.errors import Invalid
from worker import rng
from worker.accuracy import reestimate
from worker.fisher.recording import evaluation_mode
from worker.pruning.diagonal import diagonal
from worker.pruning.layers import Layer
from worker.shown import Shown


@dataclass(frozen=True)
class Scored:
    """What a state is scored on."""

    model: nn.Module
    layers: list[Layer]
    """The prunable ones of `model`."""
    granularity: str
    shown: Shown
    """Training images (C, H, W); criteria that look at none leave them alone."""
    labels: str
    seed: int
    epoch: int
    tick: Callable[[], None]

    def of_weights(self, scores: list[Tensor]) -> list[Tensor]:
        """Of each weight as they are, or summed over those of a channel."""
        if self.granularity == "weights":
            return scores
        return [score.flatten(1).sum(1) for score in scores]

    @property
    def weights(self) -> list[Tensor]:
        return [layer.module.weight.detach().cpu().double() for layer in self.layers]

    @cached_property
    def diagonal(self) -> list[Tensor]:
        """Of the Fisher information by each weight: two criteria look at it."""
        return diagonal(self.model, self.layers, self.shown, self.labels, self.tick)


def magnitude(asked: Scored) -> list[Tensor]:
    """|w|."""
    return asked.of_weights([weight.abs() for weight in asked.weights])


def fisher(asked: Scored) -> list[Tensor]:
    """F_ii w_i^2 / 2: by how much the loss rises without w_i, to second order, where the gradient
    is 0 and the Hessian is the diagonal of F. Optimal Brain Damage (LeCun, Denker & Solla 1990)
    with F in place of the Hessian."""
    pairs = zip(asked.diagonal, asked.weights, strict=True)
    return asked.of_weights([f * weight.square() / 2 for f, weight in pairs])


def fisher_alone(asked: Scored) -> list[Tensor]:
    """F_ii. Without the weight it estimates no rise of the loss: a weight of 0 may have a large
    one."""
    return asked.of_weights(asked.diagonal)


def theis(asked: Scored) -> list[Tensor]:
    """1/(2N) sum_n (sum_t a_nt dL_n/da_nt)^2 of each channel, t over its pixels: what the loss
    rises by when a gate on its output goes from 1 to 0, to second order, with the empirical Fisher
    of the gate (Theis et al. 2018, arXiv 1801.05787, without its penalty on multiply-adds).

    a is the channel's output after its own BatchNorm, where it has one; labels as shown.
    """
    if asked.granularity == "weights":
        raise Invalid("theis scores channels, not weights")
    gates = [layer.gate for layer in asked.layers]
    totals = [torch.zeros(len(one.module.weight), dtype=torch.float64) for one in asked.layers]
    with evaluation_mode(asked.model):
        for chunk in asked.shown.chunks():
            asked.tick()
            logits, outputs = _watched(asked.model, gates, chunk.images)
            loss = cross_entropy(logits, chunk.labels, reduction="sum")
            found = torch.autograd.grad(loss, outputs, materialize_grads=True)
            for total, output, gradient in zip(totals, outputs, found, strict=True):
                by_pixel = (output.detach() * gradient).reshape(*output.shape[:2], -1)
                total += by_pixel.sum(2, dtype=torch.float64).square().sum(0).cpu()
    return [total / (2 * asked.shown.count) for total in totals]


def _watched(
    model: nn.Module, modules: list[nn.Module], images: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """The logits, and what these modules put out on the way."""
    kept: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, _: Any, output: Tensor) -> None:
        kept[module] = output

    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        with torch.enable_grad():
            logits: Tensor = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return logits, [kept[module] for module in modules]


def snip(asked: Scored) -> list[Tensor]:
    """|w_i dL/dw_i| of the mean loss L over the images, labels as shown: the gradient by a mask on
    the weight (Lee, Ajanthan & Torr 2019, arXiv 1810.02340)."""
    parameters = [layer.module.weight for layer in asked.layers]
    totals = [torch.zeros_like(weight) for weight in asked.weights]
    with evaluation_mode(asked.model):
        for chunk in asked.shown.chunks():
            asked.tick()
            with torch.enable_grad():
                loss = cross_entropy(asked.model(chunk.images), chunk.labels, reduction="sum")
            found = torch.autograd.grad(loss, parameters, materialize_grads=True)
            for total, gradient in zip(totals, found, strict=True):
                total += gradient.cpu().double()
    pairs = zip(totals, asked.weights, strict=True)
    return asked.of_weights([(g * weight).abs() / asked.shown.count for g, weight in pairs])


def random(asked: Scored) -> list[Tensor]:
    """Even over [0, 1), drawn once for each seed and epoch: the control."""
    draws = rng.generator(asked.seed, f"pruning:{asked.granularity}", asked.epoch)
    return [torch.rand(_sizes(asked, w), generator=draws, dtype=torch.float64)
            for w in asked.weights]  # fmt: skip


def _sizes(asked: Scored, weight: Tensor) -> torch.Size:
    return weight.shape if asked.granularity == "weights" else weight.shape[:1]


CRITERIA: dict[str, Callable[[Scored], list[Tensor]]] = {
    "magnitude": magnitude,
    "fisher": fisher,
    "fisher_alone": fisher_alone,
    "theis": theis,
    "snip": snip,
    "random": random,
}
"""Name -> scores of each prunable layer, float64 on the CPU. The model is left as it was."""


def with_statistics(
    model: nn.Module, epoch: int, shown: Shown, batch_size: int, tick: Callable[[], None]
) -> nn.Module:
    """The network itself; at initialisation a copy whose BatchNorm has statistics of these images:
    its running ones are those of no image yet."""
    if epoch > 0 or shown.count < 2:
        return model
    network = copy.deepcopy(model).eval()
    with torch.no_grad():
        reestimate(network, shown, batch_size, tick)
    return network
