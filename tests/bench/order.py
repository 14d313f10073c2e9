"""How long a sweep takes on some workers: by the order of work, against what no order can be faster
than; and whether the time left is said rightly.

python -m tests.bench.order --presets 'fig3right' --repetitions 3 --measured '8:1'      tries it
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.order_measured import KINDS, once
from tests.bench.order_plans import A_PROBE, QUARTERS, SIGMA, SIZE_SIGMA, simulated
from tests.bench.scale_system import Scaled

Found = dict[str, Any]

PRESETS = "fig1a fig1c fig2right fig3right fig4left bottleneck pruning"
WORKERS = (1, 2, 4, 8)
MEASURED = "1:1 2:1 4:2 8:2"
PRESET = "fig3right"
"""Measured: of those with a deep trunk the one in which the order matters most on four workers."""
SEEDS_APART = 1000

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


def main() -> None:
    options = _options()
    found: Found = {"about": machine.about("order"), "options": vars(options) | {"out": None}}
    found["simulated"] = _simulated(options)
    found["measured"] = _measured(options)
    text = markdown(found)
    print(text)
    if options.out:
        options.out.write_text(text)
        options.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


def _simulated(options: argparse.Namespace) -> list[Found]:
    rows = []
    for preset in options.presets.split():
        for workers in WORKERS:
            say(f"{preset} on {workers}, simulated")
            for row in simulated(preset, workers, options.repetitions):
                rows.append({"preset": preset, "workers": workers, **row})
    return rows


def _measured(options: argparse.Namespace) -> list[Found]:
    rows: list[Found] = []
    asked = [tuple(map(int, pair.split(":"))) for pair in options.measured.split()]
    with tempfile.TemporaryDirectory(prefix="order-") as folder:
        system = Scaled(Path(folder), replicas=1, epochs=10)
        try:
            for round in range(max((rounds for _, rounds in asked), default=0)):
                for workers in (count for count, rounds in asked if round < rounds):
                    for kind in KINDS if workers > 1 else ["urgent"]:
                        seed = SEEDS_APART * (1 + len(rows))
                        row = once(system, PRESET, kind, workers, options.seconds, seed)
                        row |= {"kind": kind, "workers": workers, "load": os.getloadavg()[0]}
                        say(json.dumps(row))
                        rows.append(row)
        finally:
            system.stop()
    return rows


# --- in Markdown ---


def markdown(found: Found) -> str:
    shares = ", ".join(f"{share:.0%}" for share in QUARTERS)
    options, measured = found["options"], found["measured"]
    head = HEAD.format(
        quarters=shares, sigma=SIGMA, size=SIZE_SIGMA, probe=A_PROBE,
        repetitions=options["repetitions"],
    )  # fmt: skip
    parts = [head, _table_of_orders(found["simulated"]), _table_of_estimates(found["simulated"])]
    if measured:
        loads = [row["load"] for row in measured]
        versions = ", ".join(f"{name} {one}" for name, one in found["about"]["versions"].items())
        real = REAL.format(
            preset=PRESET, sigma=SIGMA, mean=options["seconds"] / measured[0]["segments"],
            hardware=found["about"]["hardware"], load=f"{min(loads):.1f} to {max(loads):.1f}",
            versions=versions,
        )  # fmt: skip
        parts += [real, _table_of_measured(measured)]
    return "\n".join(parts)


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


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.order", description=__doc__)
    parser.add_argument("--presets", default=PRESETS, help="that are simulated")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--measured", default=MEASURED, help="WORKERS:TIMES, and so on")
    parser.add_argument("--seconds", type=float, default=300, help="that one worker takes")
    parser.add_argument("--out", type=Path, help="FILE.md, and FILE.json beside it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
