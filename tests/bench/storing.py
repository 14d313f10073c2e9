"""What storing costs a training: the worker's own crew on a real Redis and a real S3 server, each
segment stored before the next one is loaded (as it was) and beside it (as it is), in turns; and how
soon after a POST a warm worker trains.

python -m tests.bench.storing --rounds 3 --out tests/bench/STORING.md

A segment takes a few seconds, less than one of All-CNN does on a device of 0.7 s an epoch.
"""

import argparse
import dataclasses
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain as chain_of
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from deploy.local import LocalMode
from shared import cost
from shared.plan import Plan
from shared.queue import make_app
from shared.settings import Settings
from tests.bench import machine
from tests.bench.load_ours import Ours
from worker import datasets_cache
from worker.bench import Bench
from worker.crew import IN_PLACE_SECONDS, Crew
from worker.pulse import Pulse
from worker.train import Trainer

NETWORKS = {
    "All-CNN": ({"name": "all_cnn"}, 192),
    "All-CNN, width 0.25": ({"name": "all_cnn", "width": 0.25}, 2048),
    "ResNet-18": ({"name": "resnet18"}, 128),
}
"""With the images that take one core a few seconds."""
WAYS = {"before": "stored, then loaded", "now": "stored beside it, in place"}
SEGMENTS, TEST = 4, 16
EPOCH_SECONDS = 0.7
"""Of All-CNN on 50,000 images, as the fast path is meant to be."""
Found = dict[str, Any]


class Timed(Crew):
    """Notes when each epoch ended, and for how long it was trained and evaluated."""

    epochs: list[tuple[float, float]]

    def _bench(self, *args: Any, **kwargs: Any) -> Bench:
        made = super()._bench(*args, **kwargs)

        def after_epoch(row: dict[str, Any], took: float) -> None:
            self.epochs.append((time.monotonic(), took))
            made.after_epoch(row, took)

        return dataclasses.replace(made, after_epoch=after_epoch)


class Synchronous(Timed):
    """Goes on with nothing: a message is a segment, which is stored before the next is loaded."""

    def _next(self, *_: Any) -> None:
        return None


def images() -> bytes:
    draw, file = np.random.default_rng(0), io.BytesIO()
    np.savez(file, **{
        f"{split}_{what}": draw.integers(0, high, shape, dtype=kind)
        for split, n in (("train", 2048), ("test", TEST))
        for what, high, shape, kind in (("images", 256, (n, 32, 32, 3), np.uint8),
                                        ("labels", 10, (n,), np.int64))
    })  # fmt: skip
    return file.getvalue()


def submitted(system: Ours, network: str, seed: int, epochs: int) -> tuple[str, Plan]:
    model, count = NETWORKS[network]
    body = {
        "dataset": {"name": "bench", "train_samples": count, "test_samples": TEST},
        "model": model, "training": {"epochs": epochs, "batch_size": 64}, "seeds": [seed],
        "checkpoints": {"every": 1},
    }  # fmt: skip
    url = f"http://{system.host}:{system.port}/v1/experiments"
    answer = httpx.post(url, json=body, timeout=120, trust_env=False).raise_for_status()
    id = str(answer.json()["id"])
    stored = system.store.read_json(f"experiments/{id}/plan.json")
    return id, Plan.model_validate(stored)


def chain(crew: Timed, id: str, plan: Plan) -> Found:
    """`share`: from the end of the first segment's training to the end of the last one's, what is
    no training, over what is."""
    crew.epochs, began = [], time.monotonic()
    for index, segment in enumerate(plan.segments):
        if crew.records.manifest(segment.scope, segment.key) is None:
            crew.train(id, index)
    wall = time.monotonic() - began
    assert all(crew.records.manifest(one.scope, one.key) for one in plan.segments)
    ends, took = zip(*crew.epochs, strict=True)
    training = sum(took[1:])
    share = (ends[-1] - ends[0]) / training - 1 if len(ends) > 1 else 0.0
    return {"wall": wall, "training": sum(took), "share": share, "load": os.getloadavg()[0]}


def parts(crew: Crew, plan: Plan) -> Found:
    """Seconds of each step by itself."""
    config = plan.configs[0]
    arrays = datasets_cache.arrays(config, crew.store, crew.settings)
    trainer, store = Trainer(config, arrays), crew.store
    last = crew.records.manifest(plan.segments[-1].scope, plan.segments[-1].key)
    assert last is not None
    data = store.read_blob(last.checkpoint)
    trainer.load(data)
    snapshot = trainer.remember()
    steps: dict[str, Callable[[], Any]] = {
        "remember": trainer.remember,
        "dump": snapshot.dump,
        "put": lambda: store.write_blob(data),
        "get": lambda: store.read_blob(last.checkpoint),
        "load": lambda: trainer.load(data),
    }
    return {"bytes": len(data)} | {name: [seconds(call) for _ in range(5)]
                                   for name, call in steps.items()}  # fmt: skip


def seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def shares(rounds: int, networks: list[str]) -> Iterator[Found]:
    with tempfile.TemporaryDirectory() as folder:
        system = Ours(Path(folder))
        try:
            url = f"http://{system.host}:{system.port}/v1/datasets/bench"
            httpx.put(url, content=images(), timeout=120, trust_env=False).raise_for_status()
            changes = {"data_dir": Path(folder), "scratch_dir": Path(folder)}
            settings = system.settings.model_copy(update=changes)
            (settings.scratch / "hubel-datasets").mkdir(exist_ok=True)
            ways = {way: made(settings, make) for way, make in
                    {"before": Synchronous, "now": Timed}.items()}  # fmt: skip
            for network in networks:
                yield from one_network(system, network, rounds, ways)
        finally:
            system.stop()


def made(settings: Settings, make: type[Timed]) -> Timed:
    return make(settings, make_app(settings), Pulse())


def one_network(system: Ours, network: str, rounds: int, ways: dict[str, Timed]) -> Iterator[Found]:
    for seed, crew in enumerate(ways.values(), 1000):
        chain(crew, *submitted(system, network, seed, 1))  # warm
    for turn in range(rounds):
        for place, way in enumerate(sorted(ways, reverse=bool(turn % 2))):
            asked = submitted(system, network, 10 * turn + place, SEGMENTS)
            yield {"network": network, "way": way} | chain(ways[way], *asked)
    yield {"network": network, "way": "parts"} | parts(ways["now"], asked[1])


# --- from a POST to training ---


def starts(times: int) -> Iterator[Found]:
    """Milliseconds from sending the POST to the end of a first epoch of one step."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalMode(Path(folder)) as local,
        httpx.Client(base_url=local.url, timeout=120, trust_env=False) as http,
    ):
        for turn in range(times + 2):
            found = started(http, turn)
            if turn >= 2:  # the first one prepares the data set, imports torch
                yield {"network": "start", "way": "start"} | found


def started(http: httpx.Client, seed: int) -> Found:
    body = {
        "dataset": {"name": "gratings", "train_samples": 128, "test_samples": 16},
        "model": {"name": "all_cnn", "width": 0.25}, "seeds": [seed],
        "training": {"epochs": 1, "batch_size": 128},
    }  # fmt: skip
    time.sleep(0.3 + 0.7 * (seed * 0.618 % 1))  # at any moment of the reconcile loop
    sent = time.time()
    answer = http.post("/v1/experiments", json=body).raise_for_status()
    posted = time.time()
    path = answer.headers["Location"]
    while http.get(path).json()["finished"] is None:
        time.sleep(0.2)
    (row,) = http.get(f"{path}/metrics", params={"metric": "test_loss"}).json()
    ended = datetime.fromisoformat(row["time"]).timestamp()
    return {"post": 1000 * (posted - sent), "first": 1000 * (ended - sent)}


# --- what is said of it ---


def spread(values: list[float], scale: float = 1.0, digits: int = 1) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return " (".join(f"{scale * one:.{digits}f}" for one in (middle, low)) + (
        f" to {scale * high:.{digits}f})"
    )


def table(everything: list[Found], about: Found) -> str:
    each = [one["training"] / SEGMENTS for one in everything if "training" in one]
    lines = [
        "# What storing costs a training",
        "",
        f"{SEGMENTS} segments of one run, each of {min(each):.1f} to {max(each):.1f} s;"
        f" {about['hardware']}, {about['date']};"
        f" torch {about['versions']['torch']}. The worker's crew on Valkey and SeaweedFS, both ways"
        f" in turns. Median (range). By `{about['command'].strip()}`.",
        "",
        "| network | | share of the training time | whole chain | load average | n |",
        "|---|---|---|---|---|---|",
    ]
    names = [name for name in NETWORKS if any(one["network"] == name for one in everything)]
    for name in names:
        for way, words in WAYS.items():
            its = [one for one in everything if (one["network"], one["way"]) == (name, way)]
            share, wall, load = ([one[what] for one in its] for what in ("share", "wall", "load"))
            lines.append(
                f"| {name} | {words} | {spread(share, 100)} % | {spread(wall)} s"
                f" | {spread(load)} | {len(its)} |"
            )
    lines += [
        "",
        "The share: from the end of the first segment's training to the end of the last one's, what"
        " is no training over what is. The whole chain has its begin and its last storing too. The"
        " store's processes share the cores with the training, which is slower for it.",
        "",
        "| network | checkpoint | kept | dumped | put | got | loaded |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        one = next(one for one in everything if (one["network"], one["way"]) == (name, "parts"))
        cells = [spread(one[step], 1000, 0) for step in ("remember", "dump", "put", "get", "load")]
        lines.append(f"| {name} | {one['bytes'] / 1e6:.1f} MB | " + " ms | ".join(cells) + " ms |")
    lines += ["", *projected(everything)]
    if found := [one for one in everything if one["way"] == "start"]:
        lines += ["", "## From a POST to training", "",
                  "A warm worker in local mode, All-CNN (0.25), to the end of a first epoch of one"
                  f" step; n = {len(found)}. The POST is answered after"
                  f" {spread([one['post'] for one in found], 1, 0)} ms, the epoch has ended after"
                  f" {spread([one['first'] for one in found], 1, 0)} ms."]  # fmt: skip
    return "\n".join([*lines, ""])


def projected(everything: list[Found]) -> Iterator[str]:
    """From the medians above, for the default grid and a stated epoch."""
    base = cost.multiply_adds({"name": "all_cnn", "width": 1.0}, (32, 32, 3), 10)
    for name, (fields, _) in NETWORKS.items():
        one = next((one for one in everything
                    if (one["network"], one["way"]) == (name, "parts")), None)  # fmt: skip
        if one is None:
            continue
        model = {"width": 1.0} | fields
        work = cost.multiply_adds(model, (32, 32, 3), 10)
        dataset = {"shape": [32, 32, 3], "classes": 10, "train_samples": 50_000}
        grid = cost.segment_grid({"model": model, "dataset": dataset})
        segment = EPOCH_SECONDS * grid * work / base
        steps = {step: statistics.median(one[step])
                 for step in ("remember", "dump", "put", "get", "load")}  # fmt: skip
        before = sum(steps.values()) - steps["remember"]
        yield (
            f"- {name} at {EPOCH_SECONDS} s an epoch of All-CNN and as many operations a second:"
            f" {grid} epochs a segment are {segment:.1f} s; stored, then loaded"
            f" {100 * before / segment:.1f} %; beside the training"
            f" {100 * max(0.0, before - steps['get'] - steps['load'] - segment) / segment:.1f} %"
            f" is waited for, and {100 * before / IN_PLACE_SECONDS:.1f} % where it goes to another"
            f" path after {IN_PLACE_SECONDS:.0f} s."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Found] = []
    for one in chain_of(shares(options.rounds, options.networks), starts(options.times)):
        print({k: v for k, v in one.items() if not isinstance(v, list)}, flush=True)
        found.append(one)
    about = machine.about("storing")
    text = table(found, about)
    print(text)
    if options.out:
        options.out.write_text(text)
        kept = json.dumps({"about": about, "found": found}, indent=1)
        options.out.with_suffix(".json").write_text(kept + "\n")


if __name__ == "__main__":
    main()
