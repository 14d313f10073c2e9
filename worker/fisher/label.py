"""One label per image, drawn from the model: what the paper defines (Achille et al. 2019)."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from worker import rng
from worker.fisher.recording import Recording
from worker.fisher.trace import Asked, Tick, estimate, score
from worker.shown import Chunk, Shown


def trace(
    model: nn.Module, shown: Shown, asked: Asked, draws: rng.Stream, tick: Tick
) -> dict[str, Any]:
    """tr F by one drawn label per image: one backward pass per batch.

        z(x) = || grad_w log p_w(y|x) ||^2,  y ~ p_w(y|x);   tr F = E z

    Images (C, H, W); norms are exact. Unbiased. The squared coefficient of variation of z is 2.1 in
    mid-training and 29 on a fitted network (All-CNN of width 1, CIFAR-10), where a drawn label
    rarely gives a large gradient: few images then often miss it, and the stated standard error
    with it. For comparison with others' numbers; `signs` is better from mid-training on.
    """

    def seeds(log_p: Tensor, chunk: Chunk, recording: Recording) -> Iterable[tuple[float, Tensor]]:
        p = log_p.exp()
        uniforms = draws.part("labels").uniforms(chunk.rows, 1).cpu()
        below = (p.cumsum(1) <= uniforms).sum(1)
        yield 1.0, score(p, below.clamp(max=p.shape[1] - 1))

    return estimate(model, shown, asked, seeds, draws, tick) | {"estimator": "label"}
