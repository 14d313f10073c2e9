"""The sum over all classes: nothing is drawn, what remains is the choice of images."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from worker.fisher.trace import estimate, score


def trace(
    model: nn.Module, images: Tensor, generator: torch.Generator, tick: Callable[[], None]
) -> dict[str, Any]:
    """tr F over these images without sampling: one backward pass per batch and class.

        z(x) = sum_y p_w(y|x) || grad_w log p_w(y|x) ||^2;   tr F = mean of z

    Images (n, C, H, W) in the model's dtype; sums in float64; `generator` is not used. Its cost
    grows with the number of classes (10 classes: about 10 times `label`); its standard error holds
    the differences between images alone.
    """

    def seeds(p: Tensor, rows: slice) -> Iterable[tuple[Tensor, Tensor]]:
        for label in range(p.shape[1]):
            yield p[:, label], score(p, torch.full((len(p),), label))

    return estimate(model, images, seeds, tick) | {"estimator": "exact"}
