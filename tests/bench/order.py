"""How long a sweep takes on some workers: by the order of work, against what no order can be faster
than; and whether the time left is said rightly.

python -m tests.bench.order --presets 'fig3right' --repetitions 3 --measured '8:1'      tries it
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import machine, order_table
from tests.bench.order_measured import KINDS, once
from tests.bench.order_plans import simulated
from tests.bench.scale import _rounded
from tests.bench.scale_system import Scaled

Found = dict[str, Any]

PRESETS = "fig1a fig1c fig2right fig3right fig4left bottleneck pruning"
WORKERS = (1, 2, 4, 8)
MEASURED = "1:1 2:1 4:1 8:1"
PRESET = "fig3right"
"""Measured: of those with a deep trunk the one in which the order matters most on four workers."""
SEEDS_APART = 1000


def main() -> None:
    options = _options()
    found: Found = {"about": machine.about("order"), "options": vars(options) | {"out": None}}
    found["preset"] = PRESET
    found["simulated"] = _simulated(options)
    found["measured"] = _measured(options)
    text = order_table.markdown(found)
    print(text)
    if options.out:
        options.out.write_text(text)
        lines = json.dumps(_rounded(found)).replace("}, {", "},\n {")
        options.out.with_suffix(".json").write_text(lines + "\n")


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


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.order", description=__doc__)
    parser.add_argument("--presets", default=PRESETS, help="that are simulated")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--measured", default=MEASURED, help="WORKERS:TIMES, and so on")
    parser.add_argument("--seconds", type=float, default=240, help="that one worker takes")
    parser.add_argument("--out", type=Path, help="FILE.md, and FILE.json beside it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
