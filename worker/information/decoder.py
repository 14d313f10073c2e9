"""A lower bound on the information about the label: what a decoder finds in activations that it has
not seen."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker import rng

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST = 8
"""Images, below which nothing is held out."""
PENALTIES = [10.0**power for power in range(1, -6, -1)]
HELD_OUT = 4
"""One image in so many of a fold says which penalty to take."""
RESOLVED = 1e-10
"""Of the largest eigenvalue: directions below are rounding."""
STEPS = 200


@dataclass(frozen=True)
class Decoded:
    """In bits; accuracy in 0 to 1."""

    information: float
    standard_error: float
    cross_entropy: float
    accuracy: float


def information(
    products: Tensor, labels: Tensor, classes: int, draws: rng.Stream, tick: Callable[[], None]
) -> Decoded | None:
    """I(T;Y) >= H(Y) - CE, with CE the mean of -log2 q(y|t) over images that q was not fitted to.

    It holds for every q(y|t), by the expected divergence of p(y|t) from it (Barber & Agakov 2003;
    "usable information", Xu et al. 2020, arXiv 2002.10689). Here q is multinomial logistic
    regression on all units of the activations themselves, without noise:

        minimise  1/n sum_i -log softmax(W^T z_i + b)_{y_i} + l/2 |W|^2

    found in the coordinates that the Gram matrix (N, N) gives, so that its cost does not depend on
    the number of units; z are scaled to a mean squared norm of 1. The images are split in two
    halves, label by label and by keyed draws; each half is decoded by the fit to the other. The
    penalty l, of 10 down to 1e-5, is the one that decodes a quarter of the half that is fitted to
    best. q is mixed with 1/(n + 1) of the labels' frequencies, so that no image costs infinitely
    much.

    Of the population that the images are drawn from, up to sampling: unlike the other estimators
    it does not grow with coincidences. `standard_error` is that of the mean over images, with H(Y)
    estimated from the same ones; that the two fits share their data is not in it. A bound, and
    biased downwards: what no linear rule finds in N/2 images is not counted. 0 where it is below.
    None for fewer than 8 images. labels (N,) int64 below `classes`.
    """
    if len(labels) < LEAST:
        return None
    gram, shown = products.cpu().numpy(), labels.numpy()
    halves = _halves(shown, draws)
    scores = np.empty(len(shown))
    right = np.empty(len(shown), dtype=bool)
    for fitted, held in (halves, halves[::-1]):
        log_q = _decoded(gram, shown, classes, fitted, held, tick)
        scores[held] = log_q[np.arange(len(held)), shown[held]]
        right[held] = log_q.argmax(1) == shown[held]
    shares = np.bincount(shown, minlength=classes)[shown] / len(shown)
    gained = (scores - np.log(shares)) / math.log(2)
    return Decoded(
        information=max(0.0, gained.mean().item()),
        standard_error=gained.std(ddof=1).item() / math.sqrt(len(shown)),
        cross_entropy=-scores.mean().item() / math.log(2),
        accuracy=right.mean().item(),
    )


def _halves(labels: Ints, draws: rng.Stream) -> tuple[Ints, Ints]:
    """Two halves with as many images of each label, as far as that goes."""
    rows = torch.arange(len(labels))
    drawn = draws.part("halves").uniforms(rows, 1)[:, 0].numpy()
    order = np.lexsort((drawn, labels))
    return order[::2], order[1::2]


def _decoded(
    gram: Floats, labels: Ints, classes: int, fitted: Ints, held: Ints, tick: Callable[[], None]
) -> Floats:
    """log q (held, classes), natural."""
    known, seen = _coordinates(gram, fitted, held)
    weights = _chosen(known, labels[fitted], classes, tick)
    counts = np.bincount(labels[fitted], minlength=classes) + 1
    prior = np.log(counts / counts.sum())
    mixed = 1 / (len(fitted) + 1)
    found = _log_softmax(_logits(weights, seen, classes))
    both = np.logaddexp(found + math.log1p(-mixed), prior + math.log(mixed))
    return np.asarray(both, dtype=np.float64)


def _coordinates(gram: Floats, fitted: Ints, held: Ints) -> tuple[Floats, Floats]:
    """Of the images fitted and held out (n, r), r the rank: with the same inner products as the
    activations with those that are fitted, which is all that the fit depends on."""
    inner = gram[np.ix_(fitted, fitted)]
    scale = inner.diagonal().mean() or 1.0
    values, vectors = np.linalg.eigh(inner / scale)
    kept = values > RESOLVED * max(values[-1], RESOLVED)
    roots = np.sqrt(values[kept])
    known = vectors[:, kept] * roots
    return known, gram[np.ix_(held, fitted)] / scale @ (vectors[:, kept] / roots)


def _chosen(known: Floats, labels: Ints, classes: int, tick: Callable[[], None]) -> Floats:
    """Weights at the best penalty. From strong to weak, each fit begun at the one before, until the
    quarter that is held out is decoded worse."""
    held = np.arange(len(labels)) % HELD_OUT == 0
    weights = np.zeros((known.shape[1] + 1) * classes)
    best, chosen = math.inf, PENALTIES[0]
    for penalty in PENALTIES:
        tick()
        weights = _fit(known[~held], labels[~held], classes, penalty, weights)
        log_q = _log_softmax(_logits(weights, known[held], classes))
        cost = -log_q[np.arange(held.sum()), labels[held]].mean()
        if cost >= best:
            break
        best, chosen = cost, penalty
    tick()
    return _fit(known, labels, classes, chosen, weights)


def _fit(known: Floats, labels: Ints, classes: int, penalty: float, start: Floats) -> Floats:
    """Weights (r, K) and biases (K,), flat. Where it ends early q is a worse one, and a bound."""
    from scipy.optimize import minimize  # 0.6 s to import: not in every child that trains

    there = np.eye(classes)[labels]

    def cost(flat: Floats) -> tuple[float, Floats]:
        log_q = _log_softmax(_logits(flat, known, classes))
        change = (np.exp(log_q) - there) / len(labels)
        weights = flat[:-classes]
        slope = np.concatenate([(known.T @ change).ravel() + penalty * weights, change.sum(0)])
        return -(there * log_q).sum() / len(labels) + penalty / 2 * weights @ weights, slope

    limits = {"maxiter": STEPS}
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options=limits)
    return np.asarray(found.x, dtype=np.float64)


def _logits(flat: Floats, points: Floats, classes: int) -> Floats:
    return points @ flat[:-classes].reshape(-1, classes) + flat[-classes:]


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)), dtype=np.float64)
