"""Bounds on the mutual information of activations to which Gaussian noise is added."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.information.activations import columns

ROWS = 256
"""Of the matrix of distances, that are looked at together."""
KL, BHATTACHARYYA = 1 / 2, 1 / 8
"""Over d^2 / s^2: the divergence of two Gaussians, and their Chernoff divergence at 1/2."""


@dataclass(frozen=True)
class Information:
    """In bits."""

    xt_lower: float
    xt_upper: float
    ty_lower: float
    ty_upper: float
    ty_kl: float
    ty_bhattacharyya: float


class Gram:
    """Inner products G = (T - mean)(T - mean)^T of the activations T (N, units), float64 (N, N).

    The mean over images is taken out unit by unit before anything is squared, so that what all
    images have in common does not cost the digits in which they differ. Memory: N^2 float64 (200 MB
    for 5,000 images) and a copy of `COLUMNS` units.
    """

    def __init__(self, count: int, device: torch.device | None = None) -> None:
        self.products = torch.zeros(count, count, dtype=torch.float64, device=device)

    def add(self, block: Tensor, tick: Callable[[], None]) -> None:
        for part in columns(block):
            tick()
            part -= part[0].clone()  # a unit that is the same for all is now exactly 0
            part -= part.mean(0)
            self.products.addmm_(part, part.T)

    def variance(self) -> float:
        """Of all units together: sum_u var(T_u), with N in the denominator."""
        return self.products.diagonal().mean().item()

    def squared_distances(self) -> Tensor:
        """|T_i - T_j|^2, (N, N) float64, on the CPU; 0 on the diagonal."""
        products = self.products.cpu()
        squares = products.diagonal()
        found = products.mul(-2).add_(squares[:, None]).add_(squares).clamp_(min=0)
        return found.fill_diagonal_(0)


def information(
    squared: Tensor, variance: float, labels: Tensor, tick: Callable[[], None]
) -> Information:
    """Bounds in bits for T = h(X) + N(0, s^2 I), X one of N equally likely images, Y its label.

    T is a mixture of N Gaussians. With d_ij^2 = |h(x_i) - h(x_j)|^2, and H(T|X) that of the noise,

        I(X;T) = H(T) - H(T|X)
               <= - 1/N sum_i log 1/N sum_j exp(- d_ij^2 / 2 s^2)     (Kullback-Leibler)
               >= - 1/N sum_i log 1/N sum_j exp(- d_ij^2 / 8 s^2)     (Bhattacharyya)

    by equations 10 and 11 of Kolchinsky & Tracey 2017 (arXiv 1706.02419). Both are 0 where all
    activations are the same, log2 N where all are far from each other, and never outside. Given a
    label the same bounds hold for the mixture of its images, so that

        I(T;Y) = I(X;T) - sum_y p_y I(X;T|y)

    lies between lower - upper and upper - lower of the two terms, and in 0 to H(Y): `ty_lower` and
    `ty_upper`, which hold but may lie far apart. `ty_kl` and `ty_bhattacharyya` take the same bound
    in both terms, as is common (Saxe et al. 2018): estimates, and bounds of nothing.

    squared (N, N) float64; labels (N,) int64; both on the CPU. Exact sums in float64 for these
    images and this noise; about images of their kind they say at most log2 N. Memory: 256 rows
    beside the matrix. A variance of 0 is that of a layer which is the same for all images.
    """
    shares: list[tuple[float, float, float]] = []
    for rows in _by_label(labels):
        part = squared[rows][:, rows]
        shares.append((len(rows) / len(labels), *_bounds(part, variance, tick)))
    upper, lower = _bounds(squared, variance, tick)
    given_upper = sum(share * up for share, up, _ in shares)
    given_lower = sum(share * low for share, _, low in shares)
    most = min(sum(share * math.log2(1 / share) for share, _, _ in shares), upper)

    def held(value: float) -> float:
        return min(max(0.0, value), most)

    return Information(
        lower, upper, held(lower - given_upper), held(upper - given_lower),
        held(upper - given_upper), held(lower - given_lower),
    )  # fmt: skip


def _by_label(labels: Tensor) -> Iterator[Tensor]:
    for label in labels.unique():
        yield (labels == label).nonzero().flatten()


def _bounds(squared: Tensor, variance: float, tick: Callable[[], None]) -> tuple[float, float]:
    """(upper, lower) of I(X;T) in bits."""
    count = len(squared)
    sums = torch.zeros(2, dtype=torch.float64)
    for rows in squared.split(ROWS):
        tick()
        scaled = rows / variance if variance > 0 else torch.zeros_like(rows)
        for i, factor in enumerate((KL, BHATTACHARYYA)):
            sums[i] += (scaled * -factor).logsumexp(1).sum()
    upper, lower = (math.log(count) - sums / count).div(math.log(2)).clamp(min=0).tolist()
    return upper, lower
