"""What the training bench measured, in Markdown.

python -m tests.bench.train_table tests/bench/TRAIN.json      writes TRAIN.md again
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

Found = dict[str, Any]

HEAD = """# How fast we train

Written by `make bench` (`tests/bench/train.py`); the numbers are in `TRAIN.json`. {hardware};
{versions}; {date}; by `{command}`. Batches of 128 images of 32x32, SGD
with momentum, shifts and flips; loops take turns, {rounds} rounds; a ratio is of two loops of one
round: median (lower to upper quartile).

- **plain**: what one would write instead: torchvision's transforms, a DataLoader, eager, float32,
  torch's usual memory format and algorithms, as many threads as ours.
- **bound**: forward, backward and step alone on one fixed batch in memory, in the precision of its
  row, in our memory format, with deterministic algorithms.
- **ours**: an epoch as the product trains it, its evaluation left out; **blurred** to 8 pixels;
  **recorded**, on CUDA: each step a CUDA graph.
"""

SERVICE = """
## The whole service

From POST to `succeeded` on a warm worker in local mode, checkpoints stored, nothing measured,
against the same epochs in one process that stores nothing, in turns (All-CNN, width 0.25, 40 epochs
of 2,000 gratings, float32).

| | median | least to most | n |
|---|---|---|---|
"""


def table(found: Found) -> str:
    about = found["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    rounds = len(next(iter(found["loops"][0]["rates"].values())))
    head = HEAD.format(**about | {"versions": versions, "rounds": rounds})
    titles = ["network, width", "precision", "plain, images/s", "ours, images/s", "s an epoch*",
              "ours / bound", "blurred / bound", "ours / plain", "bound / plain"]  # fmt: skip
    if any("graph" in name for name in found["loops"][0]["rates"]):
        titles.append("recorded / ours")
    lines = [head, _row(titles), _row(["---"] * len(titles))]
    for one in found["loops"]:
        lines += [_row(cells) for cells in _loops(one)]
    lines += ["", "\\* Of 50,000 images."]
    if found["service"]:
        lines.append(SERVICE.rstrip())
        lines += _service(found["service"])
    return "\n".join(lines) + "\n"


def _loops(one: Found) -> list[list[str]]:
    rates: dict[str, list[float]] = one["rates"]
    precisions = [name.removeprefix("bound ") for name in rates if name.startswith("bound ")]
    rows = []
    for precision in precisions:
        bound, clean, blurred = (rates[f"{n} {precision}"] for n in ("bound", "clean", "blurred"))
        plain = rates["plain"]
        rows.append(
            [
                one["network"].replace(":", ", "),
                precision,
                f"{statistics.median(plain):,.0f}",
                f"{statistics.median(clean):,.0f}",
                f"{50_000 / statistics.median(clean):,.3g}",
                _percent(clean, bound),
                _percent(blurred, bound),
                _times(clean, plain),
                _times(bound, plain),
                *([_times(graph, clean)] if (graph := rates.get(f"graph {precision}")) else []),
            ]
        )
    return rows


def _service(found: list[dict[str, float]]) -> list[str]:
    whole, bare = ([one[name] for one in found] for name in ("service", "bare"))
    share = [100 * b / w for b, w in zip(bare, whole, strict=True)]
    rows = (("service", whole, " s"), ("bare loop", bare, " s"), ("bare / service", share, " %"))
    return [
        _row([words, f"{statistics.median(v):.3g}{unit}", _range(v, unit), str(len(v))])
        for words, v, unit in rows
    ]


def _percent(ours: list[float], theirs: list[float]) -> str:
    low, middle, high = _quartiles([100 * a / b for a, b in zip(ours, theirs, strict=True)])
    return f"{middle:.1f} % ({low:.0f} to {high:.0f})"


def _times(ours: list[float], theirs: list[float]) -> str:
    low, middle, high = _quartiles([a / b for a, b in zip(ours, theirs, strict=True)])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive")


def _range(values: list[float], unit: str) -> str:
    return f"{min(values):.3g} to {max(values):.3g}{unit}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    source = Path(sys.argv[1])
    source.with_suffix(".md").write_text(table(json.loads(source.read_text())))
