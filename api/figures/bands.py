"""Mean and interval of what figures draw: over seeds where there are several, else the error of the
one measurement."""

import math
from collections.abc import Sequence

from shared.results import Row
from shared.score import INTERVAL, spread

OF_LOGARITHM = "geometric mean, 95 % Student t over seeds of the logarithm"
LARGEST = math.log(1e300)
OVER_IMAGES = "95 % normal, from the standard error over images"


def band(values: Sequence[float], error: float | None, logarithmic: bool) -> Row:
    """{mean, low, high, n, interval} of values that cannot be negative.

    With several values the Student t interval, which holds each one's own error too; on a
    logarithmic axis of the logarithm. With a single one 1.96 of its standard errors. `interval`
    says which.
    """
    if logarithmic and len(values) > 1 and min(values) > 0:
        return _geometric(values)
    over = spread(values)
    low, high = over["interval"] or (None, None)
    interval = INTERVAL if over["n"] > 1 else None
    if over["n"] == 1 and error is not None:
        low, high = over["mean"] - 1.96 * error, over["mean"] + 1.96 * error
        interval = OVER_IMAGES
    low = None if low is None else max(0.0, low)
    return {"mean": over["mean"], "low": low, "high": high, "n": over["n"], "interval": interval}


def _geometric(values: Sequence[float]) -> Row:
    over = spread(math.log(value) for value in values)
    mean, low, high = (math.exp(min(value, LARGEST)) for value in (over["mean"], *over["interval"]))
    return {"mean": mean, "low": low, "high": high, "n": over["n"], "interval": OF_LOGARITHM}


def words(rows: Sequence[Row]) -> str:
    """Which intervals are drawn; nothing where there are none."""
    return " or ".join(dict.fromkeys(row["interval"] for row in rows if row["interval"]))
