"""Random signs on a square root of the logit Fisher: the default."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from worker import rng
from worker.fisher.recording import Recording
from worker.fisher.square_root import SQUARE_ROOTS
from worker.fisher.trace import Asked, Tick, estimate
from worker.shown import Chunk, Shown


def trace(
    model: nn.Module, shown: Shown, asked: Asked, draws: rng.Stream, tick: Tick
) -> dict[str, Any]:
    """tr F by one backward pass for each batch.

        z(x) = || J^T B e ||^2,  B B^T = H = diag(p) - p p^T,  e in {-1, +1}^K;   tr F = E z

    Unbiased, since E e e^T = I: Hutchinson's estimator (Hutchinson 1990, Commun. Stat. Simul.
    Comput. 19) of the trace of B^T J J^T B. Images (C, H, W), K classes, B (K, K) for each image.
    Variance within an image: 2 sum_{i != j} (B^T J J^T B)_ij^2, which `square_root` makes small;
    where norms are sketched theirs comes on top (`worker/fisher/affine.py`). Squared coefficient of
    variation of z, all of it, on All-CNN of width 1 and CIFAR-10: 0.61 in mid-training, 3.35 on a
    fitted network, nearly all of it between images (0.46 and 3.27); one drawn label has 2.1 and 29.
    """
    root = SQUARE_ROOTS[asked["square_root"]]

    def seeds(log_p: Tensor, chunk: Chunk, recording: Recording) -> Iterable[tuple[float, Tensor]]:
        signs = draws.part("labels").signs(chunk.rows, log_p.shape[1]).cpu().double()
        yield 1.0, (root(log_p, recording) @ signs[:, :, None])[:, :, 0]

    return estimate(model, shown, asked, seeds, draws, tick) | {"estimator": "signs"}
