"""What the demo's three curves show, in words that follow from the numbers alone."""

from typing import Any

Json = dict[str, Any]


def finding(summary: Json) -> str:
    """One honest sentence on the annealed blur and its two controls, from the paired losses of the
    latest removal (in points of final accuracy, with 95 % intervals over seeds)."""
    last = max(point["point"]["deficit.end"] for point in summary["points"])
    losses = {
        point["variant"]: point["drop"]
        for point in summary["points"]
        if point["point"]["deficit.end"] == last
    }
    blur, flip, restart = (
        losses[name] for name in ("blur", "vertical flip", "blur, learning rate restarted")
    )
    if any(loss is None or loss["interval"] is None for loss in (blur, flip, restart)):
        return "Too few runs have ended, or too few seeds, to say what the curves show."
    return (
        f"A blur removed only after epoch {last} {_costs(blur)} with the paper's annealing; "
        f"a vertical flip {_costs(flip)}; and the same blur {_costs(restart)} when the learning"
        f" rate is restarted at its removal: {_meaning(blur, restart)}."
    )


def _costs(loss: Json) -> str:
    low, high = (100 * end for end in loss["interval"])
    points = 100 * loss["mean"]
    if low > 0:
        return f"costs {points:.1f} points of accuracy ({_interval(low, high)})"
    if high < 0:
        return f"gains {-points:.1f} points ({_interval(-high, -low)})"
    return f"shows no loss beyond its interval ({points:.1f} points, {_interval(low, high)})"


def _interval(low: float, high: float) -> str:
    return f"95 % interval {low:.1f} to {high:.1f}, paired by seed"


def _meaning(blur: Json, restart: Json) -> str:
    if blur["interval"][0] <= 0:
        return "no critical period is shown here"
    if restart["interval"][0] <= 0:
        return (
            "at this size the whole loss comes from a learning rate that has decayed before the"
            " clean images arrive, and nothing shows that the network itself can no longer learn"
        )
    share = 100 * restart["mean"] / blur["mean"]
    return f"{share:.0f} % of the loss survives a fresh learning rate"
