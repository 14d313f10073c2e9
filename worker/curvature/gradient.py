"""The gradient of the mean loss, and how much it varies from image to image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shared.errors import Invalid
from worker import rng
from worker.fisher.recording import evaluation_mode
from worker.shown import Chunk, Shown

# Leaving out one chunk needs its gradient: this many at most are held, each of several chunks.
GROUPS = 8


def measure(
    model: nn.Module,
    shown: Shown,
    asked: dict[str, Any],
    draws: rng.Stream,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """Norm of the gradient of the mean loss, and gradient noise scale, in images.

    Chunk c has B_c images and the mean gradient g_c. With C chunks, N = sum_c B_c,
    g = sum_c B_c g_c / N, and images drawn independently whose own gradients have mean G and
    covariance S, E|g_c|^2 = |G|^2 + tr S / B_c and E|g|^2 = |G|^2 + tr S / N. Therefore

        tr S   ~  ( sum_c B_c |g_c|^2  -  N |g|^2 ) / (C - 1)      gradient_covariance_trace
        |G|^2  ~  |g|^2  -  tr S / N                               squared_gradient_norm
        B      =  tr S / |G|^2                                     noise_scale

    Both estimates are unbiased, also for unequal chunks; |g|, the gradient_norm, is not: noise
    adds tr S / N to its square. squared_gradient_norm may be negative, where N images do not show
    the gradient for its noise; noise_scale is null there. It is a ratio and not unbiased; its
    error is the jackknife's over chunks (of more than 8: over 8 groups of them), null with fewer
    than 3 or where one left out makes the ratio undefined. It covers the choice of images. For
    equal chunks these are the estimators of McCandlish et al. 2018 (arXiv 1812.06162), eq. 2.9 and
    appendix A.1, from batches of B_c and N.

    Cross-entropy in nats with the labels as shown. BatchNorm in evaluation mode, frozen parameters
    left out. Gradients in the model's dtype, sums over chunks in float64. One forward and one
    backward pass; holds up to 8 gradients. Nothing is drawn.
    """
    parameters = trainable(model)
    size = sum(p.numel() for p in parameters)
    whole = torch.zeros(size, dtype=torch.float64, device=parameters[0].device)
    loss, groups = 0.0, [_Sums() for _ in range(GROUPS)]
    with evaluation_mode(model):
        for number, chunk in enumerate(shown.chunks()):
            tick()
            mean, images = mean_loss(model, chunk), len(chunk.rows)
            gradient = flat(torch.autograd.grad(mean, parameters, materialize_grads=True))
            loss += images * mean.item()
            whole += images * gradient.double()
            groups[number % GROUPS].add(images, gradient)
    groups = [group for group in groups if group.chunks]
    estimate = _estimate(whole, groups)
    return {
        "loss": loss / shown.count,
        "gradient_norm": estimate.norm,
        "squared_gradient_norm": estimate.squared_norm,
        "gradient_covariance_trace": estimate.covariance,
        "noise_scale": estimate.scale,
        "noise_scale_standard_error": _jackknife(whole, groups),
        "samples": shown.count,
    }


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that count, in the order in which the network defines them."""
    if found := [p for p in model.parameters() if p.requires_grad]:
        return found
    raise Invalid("the network has no trainable parameters: its loss has no derivatives to measure")


def mean_loss(model: nn.Module, chunk: Chunk) -> Tensor:
    """Mean cross-entropy of a chunk, open for derivatives; from the logits on in float64, where
    1 - p of a fitted network still has its digits."""
    with torch.enable_grad():
        return cross_entropy(model(chunk.images).double(), chunk.labels)


def flat(tensors: tuple[Tensor, ...]) -> Tensor:
    """One vector (P,) of all parameters."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


class _Sums:
    """Over some chunks: images B_c, chunks, B_c |g_c|^2, B_c g_c."""

    def __init__(self) -> None:
        self.images, self.chunks, self.squares = 0, 0, 0.0
        self.gradient = torch.zeros(())

    def add(self, images: int, gradient: Tensor) -> None:
        self.images += images
        self.chunks += 1
        self.squares += images * _square(gradient)
        self.gradient = self.gradient.to(gradient) + images * gradient


@dataclass(frozen=True)
class _Estimate:
    norm: float
    squared_norm: float | None = None
    covariance: float | None = None
    scale: float | None = None


def _estimate(gradient: Tensor, groups: list[_Sums]) -> _Estimate:
    """gradient (P,) float64: sum_c B_c g_c over the chunks of all groups."""
    images, chunks = sum(g.images for g in groups), sum(g.chunks for g in groups)
    square = _square(gradient / images)
    if chunks == 1:
        return _Estimate(math.sqrt(square))
    covariance = (sum(g.squares for g in groups) - images * square) / (chunks - 1)
    unbiased = square - covariance / images
    scale = None if unbiased <= 0 else covariance / unbiased
    return _Estimate(math.sqrt(square), unbiased, covariance, scale)


def _jackknife(gradient: Tensor, groups: list[_Sums]) -> float | None:
    """sqrt((m - 1)/m sum_j (B_j - mean)^2), B_j the noise scale without group j of m (Efron 1982,
    The Jackknife, the Bootstrap and Other Resampling Plans, ch. 3)."""
    if len(groups) < 3:
        return None
    scales = []
    for j, group in enumerate(groups):
        others = groups[:j] + groups[j + 1 :]
        scale = _estimate(gradient - group.gradient.double(), others).scale
        if scale is None:
            return None
        scales.append(scale)
    mean = sum(scales) / len(scales)
    squares = sum((scale - mean) ** 2 for scale in scales)
    return math.sqrt(squares * (len(scales) - 1) / len(scales))


def _square(vector: Tensor) -> float:
    return vector.double().square().sum().item()
