"""Numbers in JSON: NaN and infinity, which JSON has no words for, without losing them."""

import math
from typing import Any


def storable(value: Any) -> Any:
    """`value` with floats that are not finite as words that float() reads: "NaN", "Infinity"."""
    if isinstance(value, dict):
        return {key: storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return non_finite(value)
    return value


def non_finite(value: float) -> str | None:
    """The name of a value that JSON cannot hold; None for one that it can."""
    if math.isfinite(value):
        return None
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def shown(value: Any, path: str = "", lost: list[dict[str, str]] | None = None) -> Any:
    """`value` for an answer: what is not finite becomes null and is listed in `lost`."""
    if isinstance(value, dict):
        return {key: shown(item, f"{path}/{key}", lost) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item, f"{path}/{i}", lost) for i, item in enumerate(value)]
    name = value if value in ("NaN", "Infinity", "-Infinity") else None
    if isinstance(value, float):
        name = non_finite(value)
    if name is None:
        return value
    if lost is not None:
        lost.append({"pointer": path, "value": name})
    return None
