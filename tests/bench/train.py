"""How fast we train: our loop beside a user's plain one and beside the bound, in turns; and the
whole service beside our bare loop.

python -m tests.bench.train --out tests/bench/TRAIN.md                             (make bench)
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from shared.arrays import Arrays
from tests.bench import machine, train_table
from tests.bench.train_loops import BATCH, Epoch, Network, bound, options, ours, plain
from tests.bench.train_service import service
from worker import allocator
from worker.graph import by_cuda

NETWORKS = {
    "cpu": ["all_cnn:0.125", "all_cnn:0.25", "all_cnn:1", "resnet18:0.25", "mlp:1"],
    "cuda": ["all_cnn:1", "resnet18:1", "mlp:1"],
}
PRECISIONS = {"cpu": ["float32", "bfloat16"], "cuda": ["float32", "tf32", "bfloat16"]}
STIMULI: dict[str, list[dict[str, Any]]] = {
    "clean": [],
    "blurred": [{"name": "blur", "resolution": 8}],
}
ROUND_SECONDS = 1.0
"""About how long one loop runs in a round."""
MOST_IMAGES = 50_000


def main() -> None:
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    allocator.keep_freed()
    found: dict[str, Any] = {"about": machine.about("train"), "loops": [], "service": []}
    for network in map(_network, asked.networks or NETWORKS[asked.device]):
        found["loops"] += _measured(network, asked)
    if asked.service:
        for one in service(asked.service, asked.device):
            _say(str(one))
            found["service"].append(one)
    text = train_table.table(found)
    print(text)
    if asked.out:
        asked.out.write_text(text)
        asked.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = options(__doc__, rounds=15)
    parser.add_argument("--service", type=int, default=3, help="rounds of the whole service")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loaders", type=int, default=0, help="processes of the plain DataLoader")
    return parser.parse_args()


def _network(text: str) -> Network:
    name, _, width = text.partition(":")
    return Network(name, float(width or 1))


def _measured(network: Network, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Of one network: images per second of every loop, a number a round."""
    images = _images(network, asked)
    arrays = _arrays(network, images)
    loops: dict[str, Epoch] = {"plain": plain(network, arrays, asked.device, asked.loaders)}
    for precision in PRECISIONS[asked.device]:
        loops[f"bound {precision}"] = bound(network, images, precision, asked.device)
        for words, stimulus in STIMULI.items():
            made = ours(network, arrays, precision, asked.device, stimulus)
            loops[f"{words} {precision}"] = made
        if asked.device == "cuda":
            made = ours(network, arrays, precision, asked.device, [], by_cuda)
            loops[f"graph {precision}"] = made
    for loop in loops.values():
        loop()  # a warm-up
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(asked.rounds):
        for name in sorted(loops, reverse=turn % 2 == 1):
            rates[name].append(images / loops[name]())
        _say(f"{network} {turn + 1}/{asked.rounds}: " + _rates(rates))
    yield {"network": str(network), "images": images, "rates": rates}


def _images(network: Network, asked: argparse.Namespace) -> int:
    """Whole batches, so many that a loop of ours takes about ROUND_SECONDS."""
    trial = bound(network, 2 * BATCH, "float32", asked.device)
    trial()
    batches = round(2 * ROUND_SECONDS / trial())
    return BATCH * max(2, min(batches, MOST_IMAGES // BATCH))


def _arrays(network: Network, images: int) -> Arrays:
    """What an image shows costs nothing."""
    draw = np.random.default_rng(0)
    return Arrays(
        draw.integers(0, 256, (images, *network.shape), dtype=np.uint8),
        draw.integers(0, 10, images),
        draw.integers(0, 256, (2, *network.shape), dtype=np.uint8),
        draw.integers(0, 10, 2),
    )


def _rates(rates: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {values[-1]:,.0f}" for name, values in rates.items())


def _say(words: str) -> None:
    print(f"# {words}", flush=True)


if __name__ == "__main__":
    main()
