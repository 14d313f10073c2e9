"""Of each layer the norm of the mean loss gradient, and how it varies from image to image."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker import rng
from worker.curvature.gradient import flat
from worker.fisher.layers import Layer, trainable_layers
from worker.fisher.norms import squared_norms
from worker.fisher.recording import Recording, evaluation_mode
from worker.fisher.trace import score
from worker.shown import Chunk, Shown

RESOLVED = 1e-3
"""Variance over squared mean. At this ratio float32 was found to be 1e-4 off in the standard
deviation, at a tenth of it 1e-3; in float64 the same digits are lost 1e9 times lower."""


def measure(
    model: nn.Module,
    shown: Shown,
    asked: dict[str, Any],
    draws: rng.Stream,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """Norm of the mean and standard deviation of the per-image loss gradient, by layer and in all.

    With g_i the gradient by the layer's p parameters of image i's loss, one of n, and g their mean,

        mean_norm           =  || g ||
        standard_deviation  =  sqrt( sum_i || g_i - g ||^2 / (n - 1) )
                            =  sqrt( (sum_i || g_i ||^2 - n || g ||^2) / (n - 1) )

    the square root of the trace of the layer's gradient covariance: the mean over a batch of B
    images deviates by standard_deviation / sqrt(B). It is null for one image. Its square is
    unbiased; that of mean_norm is not: noise adds standard_deviation^2 / n to it, so a mean_norm
    near standard_deviation / sqrt(n) is not told from zero.

    || g_i || are exact, without a backward pass for each image (`worker/fisher/affine.py`; Rochette
    et al. 2019, arXiv 1912.06015); g is from the same forward pass. The second line subtracts: to
    a standard deviation below 0.03 of its layer's mean norm float32 leaves four digits or fewer.
    Where there is one, all is measured again in float64 on a copy, and `precision` says so; there,
    1e-6 of the mean norm still has three digits, and 1e-8 none.

    Nats per unit of the parameters; labels as shown. BatchNorm uses its running statistics, so that
    images do not mix; frozen parameters are left out. Passes in the model's dtype, sums in float64.
    Costs about as much as two backward passes and the norms. Nothing is drawn. nan if not finite.
    The quantities of the paper's appendix on vanishing gradients (Achille et al. 2019).
    """
    found = _moments(model, shown, tick)
    precise = next(model.parameters()).dtype == torch.float64
    if found.cancelled and not precise:
        found, precise = _moments(copy.deepcopy(model).double(), shown, tick), True
    columns = zip(found.layers, found.mean, found.variance, strict=True)
    return {
        "layers": [
            {"name": layer.name, "parameters": layer.parameters} | _roots(mean, variance, found.n)
            for layer, mean, variance in columns
        ],
        **_roots(found.mean.sum(), found.variance.sum(), found.n),
        "samples": found.n,
        "precision": "float64" if precise else "float32",
    }


@dataclass(frozen=True)
class _Moments:
    layers: list[Layer]
    n: int
    mean: Tensor
    """|| g ||^2 of each layer, (layers,) float64"""
    variance: Tensor
    """sum_i || g_i - g ||^2 / (n - 1), (layers,) float64; 0 for one image"""

    @property
    def cancelled(self) -> bool:
        return self.n > 1 and bool((self.variance < RESOLVED * self.mean).any())


def _moments(model: nn.Module, shown: Shown, tick: Callable[[], None]) -> _Moments:
    layers, squares, total = trainable_layers(model), [], torch.zeros(())
    with evaluation_mode(model):
        for chunk in shown.chunks():
            tick()
            norms, gradient = _of_chunk(model, layers, chunk)
            squares.append(norms.sum(0))
            total = total.to(gradient) + gradient
    n = shown.count
    parts = (total / n).split([layer.parameters for layer in layers])
    mean = torch.stack([part.square().sum() for part in parts]).cpu()
    variance = (torch.stack(squares).sum(0).cpu() - n * mean) / max(n - 1, 1)
    return _Moments(layers, n, mean, variance.clamp(min=0))


def _of_chunk(model: nn.Module, layers: list[Layer], chunk: Chunk) -> tuple[Tensor, Tensor]:
    """|| g_i ||^2 (B, layers) and sum_i g_i (P,), layer after layer; float64."""
    parameters = [part.parameter for layer in layers for part in layer.parts]
    recording = Recording(model, layers, chunk.images.to(parameters[0].dtype))
    # In float64, where p - 1 of a fitted network still has its digits.
    p = recording.logits.detach().cpu().double().softmax(1)
    seeds = -score(p, chunk.labels.cpu()).to(recording.logits)
    norms = squared_norms(recording, layers, seeds)
    total = torch.autograd.grad(recording.logits, parameters, seeds, materialize_grads=True)
    return norms, flat(total).double()


def _roots(mean: Tensor, variance: Tensor, n: int) -> dict[str, float | None]:
    deviation = variance.sqrt().item() if n > 1 else None
    return {"mean_norm": mean.sqrt().item(), "standard_deviation": deviation}
