"""Mutual information of activations that are rounded to bins."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bins:
    """Of equal width: a value t lies in bin floor((t - origin) / size), the last one at most."""

    origin: float
    size: float
    last: float = math.inf

    @classmethod
    def over(cls, low: float, high: float, count: int) -> "Bins":
        """So many over a range. Of an empty range everything lies in one bin, of size 0."""
        return cls(low, (high - low) / count, count - 1)

    def codes(self, values: Tensor) -> Tensor:
        """float64, whole numbers: an integer might not hold them."""
        if self.size == 0:
            return torch.zeros_like(values)
        return ((values - self.origin) / self.size).floor_().clamp_(max=self.last).add_(0.0)


class Codes:
    """Which images have the same bin in every unit, learnt a few units at a time.

    Memory: a number for each image, beside the units that are looked at.
    """

    def __init__(self, count: int) -> None:
        self.of = [0] * count
        """A number for each image: the same for two that have agreed in all units so far."""

    def refine(self, codes: Tensor) -> None:
        """(N, c) float64. Exact: rows are compared as bytes, not as hashes."""
        if self.distinct == len(self.of):
            return  # what differs stays different
        names: dict[tuple[int, bytes], int] = {}
        rows = codes.cpu().numpy()
        self.of = [
            names.setdefault((before, row.tobytes()), len(names))
            for before, row in zip(self.of, rows, strict=True)
        ]

    @property
    def distinct(self) -> int:
        return len(set(self.of))


def entropy(values: Iterable[object]) -> float:
    """In bits, of values that are all equally likely: log2 N - 1/N sum_v n_v log2 n_v, which is
    log2 N exactly where all of them differ."""
    counts = Counter(values).values()
    total = sum(counts)
    return math.log2(total) - sum(n * math.log2(n) for n in counts) / total


def information(codes: Sequence[int], labels: Sequence[int]) -> tuple[float, float]:
    """I(X;T) and I(T;Y) in bits of codes T of N equally likely images X with labels Y.

        I(X;T) = H(T),    I(T;Y) = H(T) - H(T|Y) = H(T) + H(Y) - H(T,Y)

    since T is a function of X. Exact for these images; as an estimate for all images of their kind
    I(X;T) is too low and I(T;Y) too high, the more so the more of the codes are distinct: where
    all are, they are log2 N and H(Y) whatever the layer does. The estimator of Shwartz-Ziv & Tishby
    2017 (arXiv 1703.00810, 30 bins) and, with bins of a fixed size, of Saxe et al. 2018.
    """
    of_codes, of_labels = entropy(codes), entropy(labels)
    of_both = entropy(zip(codes, labels, strict=True))
    return of_codes, min(max(0.0, of_codes + of_labels - of_both), of_codes, of_labels)
