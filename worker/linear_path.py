"""Loss along the straight line between two networks' weights."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from worker.accuracy import evaluate, reestimate
from worker.shown import Shown

SPLITS = ("train", "test")


def measure(
    there: nn.Module,
    here: nn.Module,
    shown: Mapping[str, Shown],
    points: int,
    batch_size: int,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """Loss and accuracy at `points` points of the line from `there` (a = 0) to `here` (a = 1).

        w(a) = (1 - a) w_there + a w_here,        a = 0, 1 / (points - 1), ..., 1

    of every parameter, BatchNorm's too. What is no parameter, its running statistics, is estimated
    anew at each point from the `train` images, as `accuracy.measure` does: statistics that are
    averaged fit neither network. The height of the barrier, on each split:

        B = max_a [ L(a) - ((1 - a) L(0) + a L(1)) ]

    with L the mean cross-entropy in nats (accuracy 0..1); 0 where the line lies nowhere above its
    chord. With few points B is underestimated. Networks are not permuted: two runs of one seed
    begin at the same weights. `distance` is |w_here - w_there|, the length of the line, and
    `relative_distance` that over |w_there|. Both networks are left as they were. nan where the loss
    is not finite.

    Source: Goodfellow et al. 2015, section 3; barrier: Entezari et al. 2022, eq. 2 (Frankle et al.
    2020 take the mean of both ends for the chord); statistics: Jordan et al. 2023.
    """
    with torch.no_grad():
        rows = [_at(there, here, i / (points - 1), shown, batch_size, tick) for i in range(points)]
    distance, length = _norms(there, here)
    return {
        "points": rows,
        "barrier": {split: barrier([(row["a"], row[split]["loss"]) for row in rows])
                    for split in SPLITS},
        "distance": distance,
        "relative_distance": distance / length if length > 0 else math.nan,
        "batchnorm_statistics": "reestimated",
        "statistics_samples": rows[0]["statistics_samples"],
    }  # fmt: skip


def barrier(line: list[tuple[float, float]]) -> float:
    """How far (a, loss) lies above the chord between its ends, at most."""
    first, last = line[0][1], line[-1][1]
    above = [loss - ((1 - a) * first + a * last) for a, loss in line[1:-1]]
    if not all(math.isfinite(height) for height in above):  # max would depend on their order
        return math.nan
    return max(0.0, *above)


def _at(
    there: nn.Module,
    here: nn.Module,
    a: float,
    shown: Mapping[str, Shown],
    batch_size: int,
    tick: Callable[[], None],
) -> dict[str, Any]:
    network = copy.deepcopy(here).eval()
    for own, other in zip(network.parameters(), there.parameters(), strict=True):
        own.copy_((1 - a) * other + a * own)
    used = reestimate(network, shown["train"], batch_size, tick)
    found = {split: evaluate(network, shown[split], tick) for split in SPLITS}
    return {"a": a, **found, "statistics_samples": used}


def _norms(there: nn.Module, here: nn.Module) -> tuple[float, float]:
    """|here - there| and |there|, in float64."""
    pairs = list(zip(here.parameters(), there.parameters(), strict=True))
    return _norm([own - other for own, other in pairs]), _norm([other for _, other in pairs])


def _norm(parts: list[Tensor]) -> float:
    return float(sum(part.detach().double().square().sum().item() for part in parts) ** 0.5)
