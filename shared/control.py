"""What of a critical period is left under a control: the loss of a curve beside that of its twin,
which has the same seeds and a learning rate that has not decayed when the deficit ends."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from shared.partners import points, span
from shared.plan import RunPlan
from shared.results import Results
from shared.score import drops, spread

FIELLER = "95 % Fieller (1954) over seeds, paired"


def surviving(results: Results) -> list[dict[str, Any]]:
    """Of each point of a twin that has a deficit: its loss beside that of the curve's own point.

        share = mean loss of the twin / mean loss of the curve

    over seeds that have both, each loss against the run `without_deficit` of its own config. 0:
    nothing of the loss is left under the control; 1: all of it. The interval is `fieller`'s.
    `share` is null where there is no loss of which it could be a share: where the curve's own 95 %
    interval is not wholly above 0 (with one seed: where its loss is not). `reason` says so.
    """
    found = drops(results)
    runs = {_name(run.variant, run.point, run.seed): run for run in results.plan.runs}
    twins = [group for group in points(results.plan) if group[0].control and span(group[0])]
    return [_point(group, runs, found) for group in twins]


def fieller(numerator: Sequence[float], denominator: Sequence[float]) -> list[float] | None:
    """The 95 % interval of a ratio of two paired means (Fieller 1954, J. R. Stat. Soc. B 16, 175).

    All r for which mean(y - r x) lies within t(0.975, n - 1) standard errors of 0, x the
    denominator and y the numerator, each (n,):

        (m_y - r m_x)^2 <= t^2 / n (s_yy - 2 r s_xy + r^2 s_xx)

    float64, without a unit. None where that is no finite interval: with one pair, or where the
    interval of the denominator's mean holds 0. Exact for normal pairs; not symmetric about the
    ratio.
    """
    y, x = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    n = len(x)
    if n < 2:
        return None
    from scipy.special import stdtrit  # 0.6 s to import: not when the API starts

    scale = float(stdtrit(n - 1, 0.975)) ** 2 / n
    ((s_yy, s_xy), (_, s_xx)) = np.cov(y, x)
    a = float(x.mean() ** 2 - scale * s_xx)
    b = float(x.mean() * y.mean() - scale * s_xy)
    c = float(y.mean() ** 2 - scale * s_yy)
    if a <= 0:
        return None
    root = math.sqrt(max(b * b - a * c, 0.0))  # below 0 by rounding alone
    return [(b - root) / a, (b + root) / a]


def _name(variant: str | None, point: dict[str, Any], seed: int) -> str:
    return json.dumps([variant, point, seed], sort_keys=True)


def _point(
    twins: list[RunPlan], runs: dict[str, RunPlan], found: dict[int, float]
) -> dict[str, Any]:
    pairs = [(runs.get(_name(twin.base, twin.point, twin.seed)), twin) for twin in twins]
    losses = [
        (found[base.index], found[twin.index])
        for base, twin in pairs
        if base is not None and base.index in found and twin.index in found
    ]
    of_base, of_twin = [base for base, _ in losses], [twin for _, twin in losses]
    share, interval, why = _share(of_base, of_twin)
    same = all(base is not None and base.segments == twin.segments for base, twin in pairs)
    is_own = "the control changes nothing here: the twin is the same training" if same else None
    there = span(twins[0])
    return {
        "base": twins[0].base,
        "control": twins[0].control,
        "point": twins[0].point,
        "epoch": there[1] if there else None,
        "loss": spread(of_base),
        "control_loss": spread(of_twin),
        "share": share,
        "interval": interval,
        "interval_kind": FIELLER if interval else None,
        "n": len(losses),
        "reason": "; ".join(filter(None, (is_own, why))) or None,
    }


def _share(
    losses: list[float], of_twin: list[float]
) -> tuple[float | None, list[float] | None, str | None]:
    """(share, its interval, why not)."""
    whole = spread(losses)
    if not losses:
        return None, None, "no seed has finished both, and their runs without a deficit"
    low = whole["mean"] if whole["interval"] is None else whole["interval"][0]
    if low <= 0:
        high = whole["mean"] if whole["interval"] is None else whole["interval"][1]
        what = "includes 0" if high >= 0 else "lies below 0"
        return None, None, f"the interval of the loss itself {what}: there is nothing to share"
    share = float(np.mean(of_twin) / np.mean(losses))
    interval = fieller(of_twin, losses)
    return share, interval, "one seed: no interval" if len(losses) == 1 else None
