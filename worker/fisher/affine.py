"""Squared norms of the per-image gradients of convolutions and linear layers.

With input a_t and output gradient b_t at positions t the gradient of one image is
`g = sum_t b_t a_t^T`, O x D. No such gradient is kept; of several forms the cheapest is taken:

    direct   || sum_t b_t a_t^T ||^2
    Gram     sum_{t,s} <a_t, a_s> <b_t, b_s>      (Rochette et al. 2019, arXiv 1912.06015;
                                                    for one position Goodfellow 2015, 1510.01799)
    sketch   1/k || sum_t (S b_t) a_t^T ||^2,  S a k x O matrix of random signs, new for each image

The first two are exact. The sketch is unbiased, E S^T S = k I, with a variance within an image of
2/k (||g g^T||^2 - sum_o (g g^T)_oo^2) at most, a squared coefficient of variation below 2/k = 0.25:
small beside the differences between images, at a fraction of the cost.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from worker.fisher.convolution import Convolution, Dense

K = 8
"""Rows of a sketch."""
PATCH, SHIFT, TAP = 60, 24, 6
"""Multiply-adds in the time of moving one number into patches, or onto a canvas, and of adding one
to a Gram matrix: as measured on a CPU, where they only decide which exact form is taken."""
WORTH = 1.5
"""A sketch is taken where it is this many times cheaper than the cheapest exact form."""

Term = Convolution | Dense
Signs = Callable[[int], Tensor]
"""size -> (N, size) of -1 and +1"""

AFFINE: dict[type[nn.Module], type[Term]] = {
    nn.Conv1d: Convolution,
    nn.Conv2d: Convolution,
    nn.Conv3d: Convolution,
    nn.Linear: Dense,
}


def weight_norms(terms: list[Term], signs: Signs | None) -> Tensor:
    """|| sum over terms of their gradients ||^2 of each image: (N,) float64.

    Several terms are several uses of one weight. Without `signs`: exact.
    """
    exact = {form: sum(map(cost, terms)) for form, cost in EXACT.items()}
    if len(terms) > 1:
        exact.pop("gram", None)
    best = min(exact, key=exact.__getitem__)
    if signs is not None:
        sketched = {form: sum(_sketch(term, form) for term in terms) for form in FORMS}
        form = min(sketched, key=sketched.__getitem__)
        if WORTH * sketched[form] < exact[best]:
            return _sketched_norms(terms, form, signs)
    if best == "gram":
        (term,) = terms
        product = term.gram() * (term.b.mT @ term.b)
        return product.flatten(1).sum(1, dtype=torch.float64).clamp(min=0)
    return squares(_summed(terms, best, None))


def _sketched_norms(terms: list[Term], form: str, signs: Signs) -> Tensor:
    """The same signs for every use of one weight: what is sketched is the sum."""
    groups, rows, dtype = terms[0].groups, terms[0].rows, terms[0].b.dtype
    left = signs(groups * K * rows).view(-1, groups, K, rows).to(dtype)
    return squares(_summed(terms, form, left)) / K


def _summed(terms: list[Term], form: str, left: Tensor | None) -> Tensor:
    parts = [FORMS[form](t, t.b if left is None else left @ t.b) for t in terms]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def squares(gradient: Tensor) -> Tensor:
    """|| g ||^2 of each image: (N, ...) -> (N,) float64."""
    flat = gradient.flatten(1)
    if flat.dtype == torch.bfloat16:
        flat = flat.float()
    return flat.square().sum(1, dtype=torch.float64)


def _product(term: Term, form: str, rows: int) -> int:
    """Cost of sum_t left_t a_t^T for as many rows of left, over all groups."""
    if form == "shifts":
        moved = rows * term.taps * term.inputs
        return moved * (SHIFT * (term.taps > 1) + term.channels)
    patches = term.groups * term.columns * term.positions
    return PATCH * patches * (term.taps > 1) + rows * term.columns * term.positions


def _sketch(term: Term, form: str) -> int:
    projection = K * term.groups * term.rows * term.positions
    return projection + _product(term, form, K * term.groups)


def _gram(term: Term) -> int:
    squared = term.groups * term.inputs**2
    return squared * (term.channels + TAP * term.taps) + term.groups * term.positions**2 * term.rows


FORMS: dict[str, Callable[[Term, Tensor], Tensor]] = {
    "patches": lambda term, left: term.by_patches(left),
    "shifts": lambda term, left: term.by_shifts(left),
}
EXACT: dict[str, Callable[[Term], int]] = {
    "patches": lambda term: _product(term, "patches", term.rows * term.groups),
    "shifts": lambda term: _product(term, "shifts", term.rows * term.groups),
    "gram": _gram,
}
