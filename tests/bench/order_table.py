"""What the bench of the order of work found, in Markdown.

python -m tests.bench.order_table tests/bench/ORDER.json      writes ORDER.md again
"""

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.bench.order_plans import A_PROBE, QUARTERS, SIGMA, SIZE_SIGMA

Found = dict[str, Any]

GOAL = 1.1
"""Of the bound."""

HEAD = """# How long a sweep takes, by the order of work

Written by `make bench-order` (`tests/bench/order.py`); the numbers are in `ORDER.json`. Each number
is a ratio, median (lowest to highest).

- **urgent**: a free worker takes the segment from which the longest path is left. **first come**:
  the one that was ready first.
- **bound**: the most of all work over all workers, and the longest path. **reachable**: also that
  what cannot begin before a moment, and is followed by something, takes place in between: where
  few segments can begin at first, or end last, no order reaches the bound.
- **time left**: what was said after {quarters} of the epochs, over what was then left.

## Simulated

Plans of the paper's scale. A segment's time is log-normal with a sigma of {sigma:g}; a size of
network takes what its multiply-adds let expect, times a factor of its own with a sigma of
{size:g}; a measurement takes {probe:g} epochs. Neither the order nor the estimate knows what was
drawn, the bounds do. The estimate is the API's own code; n = {repetitions}.
"""
REAL = """
## Measured

The plan of `{preset}` through the real API with its reconcile loop, Valkey and SeaweedFS;
simulated workers run the worker's own code and pause in place of training (sigma {sigma:g}), for
about {mean:.1f} s a segment. Bounds are those of the segments as they took, from training to
storing: what passes between two of them counts for the order. The time left is the status
endpoint's. {hardware}, beside other work; load average {load}. {versions}.
"""


def markdown(found: Found) -> str:
    shares = ", ".join(f"{share:.0%}" for share in QUARTERS)
    options, measured = found["options"], found["measured"]
    head = HEAD.format(
        quarters=shares, sigma=SIGMA, size=SIZE_SIGMA, probe=A_PROBE,
        repetitions=options["repetitions"],
    )  # fmt: skip
    rows = found["simulated"]
    parts = [head, _table_of_orders(rows), _beyond(rows), _table_of_estimates(rows)]
    if measured:
        loads = [row["load"] for row in measured]
        versions = ", ".join(f"{name} {one}" for name, one in found["about"]["versions"].items())
        real = REAL.format(
            preset=found["preset"], sigma=SIGMA, mean=options["seconds"] / measured[0]["segments"],
            hardware=found["about"]["hardware"], load=f"{min(loads):.1f} to {max(loads):.1f}",
            versions=versions,
        )  # fmt: skip
        parts += [real, _table_of_measured(measured)]
    parts += [f"- {note}" for note in found.get("notes", [])]  # written by hand, into the JSON
    return "\n".join(parts).rstrip() + "\n"


def _table_of_orders(rows: list[Found]) -> str:
    lines = ["| preset | workers | urgent / bound | first come / bound | urgent / reachable |"]
    lines.append("|---|---|---|---|---|")
    for preset, workers, group in _grouped(rows, "preset"):
        told = [
            _spread(row[kind] / row[least] for row in group)
            for kind, least in (
                ("urgent", "simple bound"), ("first come", "simple bound"), ("urgent", "bound"),
            )
        ]  # fmt: skip
        lines.append(f"| `{preset}` | {workers} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def _beyond(rows: list[Found]) -> str:
    """Where the goal is missed, and by how much at least it would be in any order."""
    told = []
    for preset, workers, group in _grouped(rows, "preset"):
        ratio = statistics.median(row["urgent"] / row["simple bound"] for row in group)
        least = statistics.median(row["bound"] / row["simple bound"] for row in group)
        if ratio > GOAL:
            told.append(f"`{preset}` on {workers} ({ratio:.2f}; in any order {least:.2f} or more)")
    return f"More than {GOAL - 1:.0%} above the bound: {', '.join(told) or 'none'}.\n"


def _table_of_estimates(rows: list[Found]) -> str:
    lines = ["| time left | workers | " + " | ".join(f"{q:.0%}" for q in QUARTERS) + " |"]
    lines.append("|---|---|" + "---|" * len(QUARTERS))
    lines += [
        f"| `{preset}` | {workers} | {' | '.join(_estimates(group))} |"
        for preset, workers, group in _grouped(rows, "preset")
    ]
    return "\n".join(lines) + "\n"


def _table_of_measured(rows: list[Found]) -> str:
    lines = ["| workers | order | n | makespan, s | / bound | / reachable | "]
    lines[0] += " | ".join(f"left, {q:.0%}" for q in QUARTERS) + " |"
    lines.append("|---|---|---|---|---|---|" + "---|" * len(QUARTERS))
    for kind, workers, group in sorted(_grouped(rows, "kind"), key=lambda one: one[1]):
        told = [
            _spread((row["makespan"] for row in group), 1),
            _spread(row["makespan"] / row["simple bound"] for row in group),
            _spread(row["makespan"] / row["bound"] for row in group),
            *_estimates(group),
        ]
        lines.append(f"| {workers} | {kind} | {len(group)} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def _grouped(rows: list[Found], name: str) -> list[tuple[str, int, list[Found]]]:
    keys = dict.fromkeys((row[name], row["workers"]) for row in rows)
    return [(a, b, [r for r in rows if (r[name], r["workers"]) == (a, b)]) for a, b in keys]


def _estimates(rows: list[Found]) -> list[str]:
    columns = zip(*(row["estimates"] for row in rows), strict=True)
    return [_spread(one for one in column if one is not None) for column in columns]


def _spread(values: Iterable[float], digits: int = 2) -> str:
    found = sorted(values)
    if not found:
        return "-"
    middle, low, high = (
        f"{one:.{digits}f}" for one in (statistics.median(found), found[0], found[-1])
    )
    return middle if low == high else f"{middle} ({low} to {high})"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.with_suffix(".md").write_text(markdown(json.loads(path.read_text())))
