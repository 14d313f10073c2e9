"""One label per image, drawn from the model: what the paper defines (Achille et al. 2019)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from worker.fisher.trace import estimate, score


def trace(
    model: nn.Module, images: Tensor, generator: torch.Generator, tick: Callable[[], None]
) -> dict[str, Any]:
    """tr F by one drawn label per image: one backward pass per batch.

        z(x) = || grad_w log p_w(y|x) ||^2,  y ~ p_w(y|x);   tr F ~ mean of z

    Images (n, C, H, W) in the model's dtype; sums in float64; `generator` on the CPU. Unbiased.
    The squared coefficient of variation of z is about 3 at the start of training and 1 in the
    middle, but over 40 on a fitted network, where a drawn label rarely gives a large gradient:
    few images then often miss it, and the stated standard error with it. Prefer `exact` there.
    """
    # One uniform per image, drawn at once: the draws do not depend on how images are batched.
    uniforms = torch.rand(len(images), 1, dtype=torch.float64, generator=generator)

    def seeds(p: Tensor, rows: slice) -> Iterable[tuple[float, Tensor]]:
        below = (p.cumsum(1) <= uniforms[rows]).sum(1)
        yield 1.0, score(p, below.clamp(max=p.shape[1] - 1))

    return estimate(model, images, seeds, tick) | {"estimator": "label"}
