"""Several runs on one device: one after another, in processes, in threads (on CUDA on streams of
their own), or stacked into one model; images per second of all runs together, in turns.

python -m tests.bench.together --out tests/bench/TOGETHER.md                (make bench-together)
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from threading import Thread
from typing import Any

import numpy as np
import torch

from shared.arrays import Arrays
from tests.bench import machine, stacked
from tests.bench.train_loops import BATCH, Network, config, options, wait
from worker import allocator
from worker.graph import by_cuda
from worker.train import Trainer

NETWORKS = {"cpu": ["all_cnn:0.083", "all_cnn:0.25", "mlp:0.25"], "cuda": ["all_cnn:1", "mlp:1"]}
IMAGES = 1024
"""A run's epoch."""


@dataclass(frozen=True)
class Way:
    words: str
    processes: int = 1
    runs: int = 1
    """Of each process."""
    how: str = "in turn"
    threads: int = 1
    """Of torch, in each process."""


WAYS = {
    "cpu": [
        Way("one process, one thread"),
        Way("one process, two threads", threads=2),
        Way("two processes", processes=2),
        Way("three processes", processes=3),
        Way("two runs in threads of one process", runs=2, how="in threads"),
        Way("two runs stacked", runs=2, how="stacked"),
        Way("four runs stacked", runs=4, how="stacked"),
        Way("two processes of two runs stacked", processes=2, runs=2, how="stacked"),
    ],
    "cuda": [
        Way("one process"),
        *(Way(f"{n} processes", processes=n) for n in (2, 3, 4, 6)),
        *(Way(f"{n} runs on streams of one process", runs=n, how="in threads") for n in (2, 4)),
        *(Way(f"{n} runs stacked", runs=n, how="stacked") for n in (2, 4, 8)),
    ],
}


def main() -> None:
    asked = _arguments()
    if asked.child:
        _child(asked)
        return
    ways = WAYS[asked.device]
    found: dict[str, Any] = {"about": machine.about("together"), "networks": {}}
    for network in asked.networks or NETWORKS[asked.device]:
        rates: dict[str, list[float]] = {way.words: [] for way in ways}
        for turn in range(asked.rounds):
            for way in ways if turn % 2 == 0 else reversed(ways):
                rates[way.words].append(_together(way, network, asked))
            print(f"# {network} {turn + 1}/{asked.rounds}", flush=True)
        found["networks"][network] = {"rates": rates, "difference": stacked.difference(network)}
    text = table(found, asked)
    print(text)
    if asked.out:
        asked.out.write_text(text)
        asked.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = options(__doc__, rounds=5)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def _together(way: Way, network: str, asked: argparse.Namespace) -> float:
    """Images per second of all processes: they start at one moment."""
    command = [sys.executable, "-m", "tests.bench.together", "--device", asked.device]
    command += ["--precision", asked.precision, "--seconds", str(asked.seconds)]
    command += ["--networks", network, "--child", json.dumps(asdict(way))]
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(way.processes)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return sum(float(child.communicate()[0]) for child in children)


def _child(asked: argparse.Namespace) -> None:
    way = Way(**asked.child)
    torch.set_num_threads(way.threads)
    allocator.keep_freed()
    name, _, width = asked.networks[0].partition(":")
    network = Network(name, float(width or 1))
    make = stacked.epochs if way.how == "stacked" else _in_threads
    epoch = make(network, way.runs, asked.device, asked.precision)
    epoch()
    print("ready", flush=True)
    sys.stdin.readline()
    begun, epochs = time.perf_counter(), 0
    while time.perf_counter() - begun < asked.seconds:
        epoch()
        epochs += 1
    print(way.runs * IMAGES * epochs / (time.perf_counter() - begun))


def _in_threads(network: Network, runs: int, device: str, precision: str) -> Callable[[], None]:
    """One epoch of each run, each in a thread; a single one in this."""
    record = by_cuda if device == "cuda" else None
    arrays = images(network)
    trainers = [
        Trainer(config(network, arrays, precision) | {"seed": seed}, arrays, device, record)
        for seed in range(runs)
    ]
    streams = [torch.cuda.Stream() if device == "cuda" else None for _ in trainers]

    def train(trainer: Trainer, stream: Any) -> None:
        with torch.cuda.stream(stream) if stream else nullcontext():
            trainer.train_epoch(0, [], 0.05, lambda: None)

    def epoch() -> None:
        if runs == 1:
            trainers[0].train_epoch(0, [], 0.05, lambda: None)
        else:
            threads = [Thread(target=train, args=a) for a in zip(trainers, streams, strict=True)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        wait(device)

    return epoch


def images(network: Network) -> Arrays:
    draw = np.random.default_rng(0)
    size = (IMAGES, *network.shape)
    return Arrays(
        draw.integers(0, 256, size, dtype=np.uint8),
        draw.integers(0, 10, IMAGES),
        draw.integers(0, 256, (2, *network.shape), dtype=np.uint8),
        draw.integers(0, 10, 2),
    )


def table(found: dict[str, Any], asked: argparse.Namespace) -> str:
    about = found["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        "# Several runs on one device",
        "",
        "Written by `make bench-together` (`tests/bench/together.py`). Images per second of all"
        f" runs together: All-CNN and MLP by width, batches of {BATCH} images of 32x32,"
        f" {asked.precision}; median of n = {asked.rounds} (least to most), ways in turns;"
        f" {about['hardware']}; {versions}; {about['date']}; by `{about['command'].strip()}`.",
        "",
        "**Stacked**: weights of the runs as one tensor, `torch.func.vmap` over them, as grouped"
        " convolutions; without augmentation, which makes it look faster than it is.",
    ]
    for network, one in found["networks"].items():
        first = next(iter(one["rates"].values()))
        lines += ["", f"## {network.replace(':', ', width ')}", ""]
        lines += ["| | images/s | times the first |", "|---|---|---|"]
        for words, values in one["rates"].items():
            ratio = statistics.median(a / b for a, b in zip(values, first, strict=True))
            low, high = min(values), max(values)
            middle = statistics.median(values)
            lines.append(f"| {words} | {middle:,.0f} ({low:,.0f} to {high:,.0f}) | {ratio:.2f} |")
        lines += ["", f"Stacked against alone: {one['difference']}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
