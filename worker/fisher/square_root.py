"""Square roots B of the logit Fisher, B B^T = H = diag(p) - p p^T, one (K, K) for each image.

Random signs e on any of them are unbiased; their variance is that of `e^T B^T G B e` with
G = J J^T (K, K) the image's logit kernel: 2 sum_{i != j} (B^T G B)_ij^2. It is least where B turns
G into a diagonal matrix.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from worker.fisher.recording import Recording

MANY_CLASSES = 256
"""Above it eigenvalues cost more than they save."""
BUDGET = 0.1
"""Of the forward pass's multiply-adds, for finding the rotation."""


def symmetric(log_p: Tensor, recording: Recording) -> Tensor:
    """B = H^(1/2). log_p (N, K) float64 -> (N, K, K)."""
    if log_p.shape[1] > MANY_CLASSES:
        return closed(log_p)
    values, vectors = _eigen(logit_fisher(log_p))
    return vectors * values.sqrt()[:, None, :] @ vectors.mT


def rotated(log_p: Tensor, recording: Recording) -> Tensor:
    """B = H^(1/2) Q, with Q the eigenvectors of H^(1/2) G' H^(1/2) and G' the kernel of one late
    layer's output gradients summed over positions: (N, K, K) float64.

    The layer is the earliest from which K backward passes to the logits stay within the budget; of
    the last layer G' is I. Within an image the squared coefficient of variation falls from 0.94 to
    0.09 in mid-training and from 1.96 to 0.02 late (All-CNN of width 0.25, 40 images; `symmetric`
    first), for a few percent more time. Where eigenvalues lie close, rounding turns their
    eigenvectors: another precision or device then errs as other draws would, without bias.
    """
    if log_p.shape[1] > MANY_CLASSES:
        return closed(log_p)
    root = symmetric(log_p, recording)
    late = recording.summed_jacobian(BUDGET)
    if late is None:
        kernel = root @ root
    else:
        late = late.to("cpu", torch.float64)
        # Only its eigenvectors count: scaled, so that no layer's size matters.
        late = late / late.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1e-300)
        half = root @ late
        kernel = half @ half.mT
    return root @ _eigen(kernel)[1]


def closed(log_p: Tensor) -> Tensor:
    """B = D (I - r r^T), D = diag(r), r = sqrt(p): no eigenvalues, a larger variance."""
    root = (log_p / 2).exp()
    return torch.diag_embed(root) - log_p.exp()[:, :, None] * root[:, None, :]


def logit_fisher(log_p: Tensor) -> Tensor:
    """H (N, K, K) of log p (N, K). The diagonal as p_i sum_{j != i} p_j: 1 - p loses its digits
    where p is close to one."""
    p = log_p.exp()
    h = -p[:, :, None] * p[:, None, :]
    h.diagonal(dim1=1, dim2=2).zero_()
    h.diagonal(dim1=1, dim2=2).copy_(-h.sum(2))
    return h


def _eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, not below 0, and eigenvectors; nan for what is not finite."""
    scale = matrices.abs().amax((1, 2), keepdim=True)
    finite = torch.isfinite(scale)
    # Scaled to 1: a confident prediction's matrix may be as small as float64 goes.
    safe = torch.where(finite, matrices / scale.clamp(min=1e-300), 0.0)
    values, vectors = torch.linalg.eigh(safe)
    lost = torch.where(finite, 0.0, torch.nan)
    return values.clamp(min=0) * scale[:, :, 0] + lost[:, :, 0], vectors + lost


SquareRoot = Callable[[Tensor, Recording], Tensor]

SQUARE_ROOTS: dict[str, SquareRoot] = {"symmetric": symmetric, "rotated": rotated}
