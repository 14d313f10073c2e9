"""The Hessian of the mean loss, through its products with vectors: largest eigenvalue and trace."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from worker import rng
from worker.curvature.gradient import flat, mean_loss, trainable
from worker.fisher.recording import evaluation_mode
from worker.shown import Chunk, Shown

TOLERANCE = 1e-2
MAX_PRODUCTS = 60


def eigenvalue(
    model: nn.Module,
    shown: Shown,
    asked: dict[str, Any],
    draws: rng.Stream,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """The largest (not: largest in size) eigenvalue of the Hessian of the mean loss, by Lanczos.

        beta_k v_{k+1}  =  H v_k - alpha_k v_k - beta_{k-1} v_{k-1},   alpha_k = v_k^T H v_k

    The largest eigenvalue theta of the tridiagonal matrix of alpha and beta, with eigenvector s,
    grows with k, and |lambda - theta| <= beta_k |s_k| for an eigenvalue lambda of H (Paige 1980,
    Linear Algebra Appl. 34). `converged` where that bound is 1 % of theta; theta itself is then
    nearer by far. Without convergence after 60 products it is a lower bound. v_1 is Gaussian.

    Three vectors are held and none is orthogonalised again: what rounding brings back are copies
    of eigenvalues that have converged already. Products in the model's dtype, sums over chunks and
    the recurrence in float64. A product costs about four forward and backward passes; 5 to 25 are
    usual. Nats per squared unit of the parameters; the loss as in `gradient`. nan if it is not
    finite.
    """
    parameters = trainable(model)
    start = [draws.part(str(i)).normals(_row(p, 0), p.numel()) for i, p in enumerate(parameters)]
    vector = flat(tuple(start)).double()
    vector, before = vector / vector.norm(), torch.zeros_like(vector)
    alphas: list[float] = []
    betas: list[float] = []
    theta, converged = math.nan, False
    with evaluation_mode(model):
        while len(alphas) < MAX_PRODUCTS and not converged:
            loss, product = _mean_product(model, parameters, shown, vector, tick)
            if betas:
                product -= betas[-1] * before
            alphas.append((product @ vector).item())
            product -= alphas[-1] * vector
            beta = product.norm().item()
            if not math.isfinite(alphas[-1] + beta):
                theta = math.nan
                break
            theta, error = _largest(alphas, betas, beta)
            converged = error <= TOLERANCE * abs(theta)
            if not converged:
                betas.append(beta)
                before, vector = vector, product / beta
    return {
        "hessian_eigenvalue": theta,
        "converged": converged,
        "products": len(alphas),
        "loss": loss,
        "samples": shown.count,
    }


def trace(
    model: nn.Module,
    shown: Shown,
    asked: dict[str, Any],
    draws: rng.Stream,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """The trace of the Hessian of the mean loss, by random signs: one vector e_c for each chunk.

        z_c = e_c^T H_c e_c,   E z_c = tr H_c;    tr H  ~  sum_c w_c z_c,   w_c = B_c / N

    H_c is the Hessian of the mean loss over the B_c images of chunk c (Hutchinson 1990, Commun.
    Stat. Simul. Comput. 19). Unbiased. Two chunks share neither images nor signs, so the spread of
    their values shows the error of both choices, as if images were drawn independently: its square
    is C / (C - 1) sum_c w_c^2 (z_c - tr H)^2, null for one chunk; exact for equal chunks, nearly
    so with a smaller last one (Cochran 1977, Sampling Techniques, ch. 6).

    Products in the model's dtype, sums in float64; nats per squared unit of the parameters; the
    loss as in `gradient`. Costs about four forward and backward passes of each image.
    """
    parameters = trainable(model)
    values, weights = [], []
    with evaluation_mode(model):
        for number, chunk in enumerate(shown.chunks()):
            signs = [
                draws.part(str(i)).signs(_row(p, number), p.numel())
                for i, p in enumerate(parameters)
            ]
            vector = flat(tuple(signs)).double()
            _, product = _product(model, parameters, chunk, vector, tick)
            values.append((product @ vector).item())
            weights.append(len(chunk.rows) / shown.count)
    mean, error = _mean_and_error(values, weights)
    return {"hessian_trace": mean, "standard_error": error, "samples": shown.count}


def _mean_product(
    model: nn.Module,
    parameters: list[nn.Parameter],
    shown: Shown,
    vector: Tensor,
    tick: Callable[[], None],
) -> tuple[float, Tensor]:
    """Mean loss over all chunks and its Hessian times `vector` (P,), float64."""
    loss, total = 0.0, torch.zeros_like(vector)
    for chunk in shown.chunks():
        mean, product = _product(model, parameters, chunk, vector, tick)
        loss += len(chunk.rows) * mean
        total += len(chunk.rows) * product
    return loss / shown.count, total / shown.count


def _product(
    model: nn.Module,
    parameters: list[nn.Parameter],
    chunk: Chunk,
    vector: Tensor,
    tick: Callable[[], None],
) -> tuple[float, Tensor]:
    """Mean loss of a chunk and its Hessian times `vector` (P,): H v = grad <grad L, v>
    (Pearlmutter 1994), float64."""
    tick()
    with torch.enable_grad():
        loss = mean_loss(model, chunk)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
        parts = vector.to(gradients[0]).split([p.numel() for p in parameters])
        along = torch.stack(
            [gradient.flatten() @ part for gradient, part in zip(gradients, parts, strict=True)]
        ).sum()
    product = torch.autograd.grad(along, parameters, materialize_grads=True)
    return loss.item(), flat(product).double()


def _largest(alphas: list[float], betas: list[float], beta: float) -> tuple[float, float]:
    """The largest eigenvalue of the tridiagonal matrix, and how far at most one of H is from it."""
    from scipy.linalg import eigh_tridiagonal  # 0.4 s to import: not in every child that trains

    last = len(alphas) - 1
    values, vectors = eigh_tridiagonal(alphas, betas, select="i", select_range=(last, last))
    return float(values[0]), beta * abs(float(vectors[-1, 0]))


def _mean_and_error(values: list[float], weights: list[float]) -> tuple[float, float | None]:
    count = len(values)
    mean = sum(w * z for w, z in zip(weights, values, strict=True))
    if count == 1:
        return mean, None
    squares = sum((w * (z - mean)) ** 2 for w, z in zip(weights, values, strict=True))
    return mean, math.sqrt(squares * count / (count - 1))


def _row(parameter: Tensor, number: int) -> Tensor:
    return torch.tensor([number], device=parameter.device)
