"""What the load bench measured, in Markdown."""

import statistics
from typing import Any

Found = dict[str, Any]


def summary(made: Found) -> Found:
    """Of one run of the load generator: rates, percentiles, sizes, what went wrong."""
    seconds = made["seconds"]
    return {
        "seconds": round(seconds, 2),
        "statuses": made["statuses"],
        "server_cpu": made["server_cpu"],
        "client_cpu": round(made["cpu_seconds"], 2),
        "load": round(made["load"], 1),
        "requests": {
            name: {
                "n": len(values),
                "rate": round(len(values) / seconds, 1),
                "p50": round(percentile(values, 50), 2),
                "p99": round(percentile(values, 99), 2),
                "most": max(values),
                "bytes": made["bytes"][name] // len(values),
            }
            for name, values in made["milliseconds"].items()
        },
    }


def percentile(values: list[float], which: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * which // 100)]


def markdown(found: Found) -> str:
    return str(found["memory"])


def spread(values: list[float]) -> str:
    """Median (least to most)."""
    middle = f"{statistics.median(values):,.3g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.3g} to {max(values):,.3g})"
