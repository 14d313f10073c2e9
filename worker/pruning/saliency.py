"""Do criteria rank alike: Spearman's rank correlation of every two of them."""

from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worker.pruning.scores import CRITERIA, Scored

Values = dict[str, Any]


def measure(asked: Scored) -> Values:
    """For every two criteria the correlation of their ranks, over all that can be pruned in the
    network and in each layer: in -1..1, ties at their mean rank, null where one of the two is the
    same everywhere. The criteria and what they look at are those of pruning (`scores.py`).

    Of n weights without any relation it has a standard deviation of 1 / sqrt(n - 1).
    """
    names = [name for name in CRITERIA if name != "theis" or asked.granularity == "channels"]
    scores = {name: CRITERIA[name](asked) for name in names}
    ranks = {name: [_ranks(part) for part in found] for name, found in scores.items()}
    whole = {name: _ranks(torch.cat([p.flatten() for p in s])) for name, s in scores.items()}
    pairs = [
        {
            "one": one,
            "other": other,
            "correlation": _correlation(whole[one], whole[other]),
            "layers": [_correlation(a, b) for a, b in zip(ranks[one], ranks[other], strict=True)],
        }
        for one, other in combinations(names, 2)
    ]
    return {
        "criteria": names,
        "pairs": pairs,
        "layers": [
            {"name": layer.name, "ranked": len(found)}
            for layer, found in zip(asked.layers, ranks["magnitude"], strict=True)
        ],
        "ranked": len(whole["magnitude"]),
        "samples": asked.shown.count,
    }


def _ranks(scores: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Less their mean."""
    from scipy.stats import rankdata  # slow to import, and seldom needed

    ranks = rankdata(scores.flatten().numpy())
    return np.asarray(ranks - ranks.mean(), dtype=np.float64)


def _correlation(one: Any, other: Any) -> float | None:
    norm = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / norm if norm > 0 else None
