"""The empirical Fisher: true labels in place of the model's. It is not the Fisher information."""

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
    """Mean squared norm of the loss gradient of each image, y its label as it was shown.

        z(x, y) = || grad_w log p_w(y|x) ||^2

    Images (C, H, W); norms are exact, nothing is drawn. As an estimate of tr F it is biased
    (Kunstner, Balles & Hennig 2019, arXiv 1905.12558): on All-CNN 0.93 to 1.0 of it early in
    training, 0.03 on training images late, 1.3 to 4.4 on test images. Offered since others publish
    it under the Fisher's name; figures of the Fisher trace refuse it.
    """

    def seeds(log_p: Tensor, chunk: Chunk, recording: Recording) -> Iterable[tuple[float, Tensor]]:
        yield 1.0, score(log_p.exp(), chunk.labels.cpu())

    return estimate(model, shown, asked, seeds, draws, tick) | {"estimator": "empirical"}
