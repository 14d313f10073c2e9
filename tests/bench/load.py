"""What many waiting experiments and many pollers cost, beside MLflow's tracking server.

python -m tests.bench.load --experiments 10000 --clients 100 --minutes 2 --out tests/bench/LOAD.md
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench import load_mlflow, load_table, machine, processes
from tests.bench.load_mlflow import MLflow
from tests.bench.load_ours import Ours

PAUSE = 2.0
"""Seconds between two polls of a client: what the service asks for in Retry-After."""
LIST_EVERY = 10
"""One request in so many is for the newest page of the list."""
SAMPLE_SECONDS = 2.0

System = Any
Found = dict[str, Any]


def generate(system: System, **job: Any) -> Found:
    """One run of the load generator, in a process of its own."""
    text = json.dumps({"host": system.host, "port": system.port} | job)
    argv = [sys.executable, "-m", "tests.bench.load_client"]
    before = processes.cpu_seconds(system.children)
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True)
    after = processes.cpu_seconds(system.children)
    used = {name: round(after[name] - before[name], 2) for name in after}
    return dict(json.loads(done.stdout)) | {"server_cpu": used, "load": os.getloadavg()[0]}


@contextlib.contextmanager
def hurried(system: System, options: argparse.Namespace) -> Iterator[None]:
    """With a priority above other work here: what is paced takes no more than it needs."""
    if not options.priority:
        yield
        return
    pids = [os.getpid(), *(child.pid for child in system.children.values())]
    processes.set_priority(pids, options.priority)
    try:
        yield
    finally:
        processes.set_priority(pids, 0)


def main() -> None:
    options = _options()
    given = {name: value for name, value in vars(options).items() if not isinstance(value, Path)}
    found: Found = {"about": machine.about("load"), "options": given, "pause": PAUSE}
    systems: list[System] = []
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user
        try:
            systems.append(Ours(folder, replicas=2 if options.same else 1))
            for postgres in [] if options.alone else load_mlflow.found(options.mlflow):
                systems.append(MLflow(options.mlflow, folder / f"mlflow-{postgres}", postgres))
            _measure(systems, options, found)
        finally:
            for system in systems:
                system.stop()
    text = load_table.markdown(found)
    print(text)
    if options.out:
        options.out.write_text(text)
        options.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    if errors := load_table.errors(found):
        sys.exit(f"requests that were not answered 2xx: {errors}")


def _measure(systems: list[System], options: argparse.Namespace, found: Found) -> None:
    ours = systems[0]
    found["memory"] = {"empty": ours.memory()}
    ids = {system.name: _fill(system, options, found) for system in systems}
    found["memory"]["filled"] = ours.memory()
    longs = {system.name: system.long_history(options.points) for system in systems}
    for round in range(options.rounds):
        for system in systems[round % len(systems) :] + systems[: round % len(systems)]:
            say(f"round {round + 1}: {system.name}")
            _round(system, ids[system.name], longs[system.name], options, found)
    if options.minutes:
        _watch(ours, ids[ours.name], options, found)
    found["memory"]["after"] = ours.memory()
    if options.same:
        found["same"] = _same(ours, options)


def _fill(system: System, options: argparse.Namespace, found: Found) -> list[str]:
    """As many runs as asked for. Of MLflow's only some by HTTP: it would take half an hour."""
    mlflow = isinstance(system, MLflow)
    count = min(options.experiments, options.by_http) if mlflow else options.experiments
    say(f"{system.name}: {count} submits")
    key = "run.info.run_id" if mlflow else "id"
    made = generate(
        system, clients=options.parallel, once=True, requests=system.submits(count), keep=key
    )
    _note(found, system, "submit", made)
    ids: list[str] = made["kept"]
    if mlflow:
        described = [system.describe(id) for id in ids]
        told = generate(system, clients=options.parallel, once=True, requests=described)
        _note(found, system, "log", told)
        ids += system.multiply(options.experiments - count)
    return ids


def _round(
    system: System, ids: list[str], long: str, options: argparse.Namespace, found: Found
) -> None:
    clients = options.clients
    own = [_cycle(system, [id]) for id in random.sample(ids, min(clients, len(ids)))]
    job = {"clients": clients, "seconds": options.seconds}
    with hurried(system, options):
        _note(found, system, "paced", generate(system, **job, pause=PAUSE, requests=own))
    own_only = [[system.status(id)] for id in random.sample(ids, min(clients, len(ids)))]
    _note(found, system, "closed", generate(system, **job, requests=own_only))
    any = [[system.status(random.choice(ids)) for _ in range(500)] for _ in range(clients)]
    _note(found, system, "any", generate(system, **job, requests=any))
    lists = [[system.listing()] for _ in range(4)]
    _note(found, system, "lists", generate(system, clients=4, seconds=5, requests=lists))
    for request in system.histories(long, options.points):
        asked = [request] * options.reads
        _note(
            found, system, request["name"], generate(system, clients=1, once=True, requests=asked)
        )


def _cycle(system: System, ids: list[str]) -> list[Found]:
    requests = [system.status(id) for id in ids * (LIST_EVERY - 1)]
    requests.append(system.listing())
    random.shuffle(requests)  # so that not all clients list at once
    return requests


def _watch(ours: Ours, ids: list[str], options: argparse.Namespace, found: Found) -> None:
    """Memory over minutes of polling, each client another experiment each time."""
    say(f"{ours.name}: {options.minutes} minutes of polling")
    cycles = [_cycle(ours, random.sample(ids, min(100, len(ids)))) for _ in range(options.clients)]
    seconds = options.minutes * 60
    samples: list[tuple[float, dict[str, float]]] = []
    stop = _every(SAMPLE_SECONDS, lambda now: samples.append((now, ours.memory())))
    job = {"clients": options.clients, "seconds": seconds, "pause": PAUSE}
    with hurried(ours, options):
        made = generate(ours, **job, requests=cycles)
    stop()
    _note(found, ours, "minutes", made)
    found["memory"]["slopes"] = {
        name: _slope([(now, sample[name]) for now, sample in samples]) for name in samples[0][1]
    }
    found["memory"]["samples"] = samples


def _same(ours: Ours, options: argparse.Namespace) -> Found:
    """Equal POSTs to two replicas at once: how many experiments, and how much work, they make."""
    found = {}
    for name, key in (("one Idempotency-Key", "load"), ("no key", None)):
        say(f"{options.same} equal POSTs with {name}")
        before = ours.counted()
        began = time.monotonic()
        requests = [ours.equal(key)] * options.same
        with ThreadPoolExecutor(2) as both:
            half = {"clients": 50, "once": True, "keep": "id", "again_at": 409}
            parts = [requests[::2], requests[1::2]]
            asked = [
                both.submit(generate, ours, port=port, requests=part, **half)
                for port, part in zip(ours.ports, parts, strict=True)
            ]
            made = [one.result() for one in asked]
        ids = {id for one in made for id in one["kept"]}
        waited = time.monotonic() - began
        found[name] = {
            "posts": options.same, "ids": len(ids), "seconds": round(waited, 1),
            "listed": ours.counted() - before, "segments": len(ours.segments(ids)),
            "statuses": [one["statuses"] for one in made],
        }  # fmt: skip
        say(f"  {found[name]}")
    return found


def _every(seconds: float, do: Callable[[float], None]) -> Callable[[], None]:
    stop, began = threading.Event(), time.monotonic()

    def loop() -> None:
        while not stop.wait(seconds):
            do(time.monotonic() - began)

    threading.Thread(target=loop, daemon=True).start()
    return stop.set


def _slope(points: list[tuple[float, float]]) -> dict[str, float]:
    """MiB a minute in both halves: what fills a cache ends, a leak does not."""
    middle = len(points) // 2
    halves = {"first": points[:middle], "second": points[middle:]}
    return {
        name: 60 * statistics.linear_regression(*zip(*part, strict=True)).slope
        for name, part in halves.items()
        if len(part) > 2
    }


def _note(found: Found, system: System, phase: str, made: Found) -> None:
    made = {key: value for key, value in made.items() if key != "kept"}
    made["milliseconds"] = {
        name: [round(one, 2) for one in values] for name, values in made["milliseconds"].items()
    }
    summary = load_table.summary(made)
    say(f"  {phase}: {json.dumps(summary)}")
    found.setdefault("found", {}).setdefault(system.name, {}).setdefault(phase, []).append(summary)


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("--experiments", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--parallel", type=int, default=8, help="clients that submit")
    parser.add_argument("--seconds", type=float, default=20, help="of each kind of polling")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=5, help="of polling, watching memory")
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--reads", type=int, default=20, help="of the long history, in a round")
    parser.add_argument("--by-http", type=int, default=300, help="MLflow's runs made by HTTP")
    parser.add_argument("--mlflow", type=Path, default=Path(".venv-bench/bin/mlflow"))
    parser.add_argument("--same", type=int, default=1000, help="equal POSTs at once")
    parser.add_argument("--priority", type=int, default=0, help="nice value of what is paced")
    parser.add_argument("--alone", action="store_true", help="without MLflow")
    parser.add_argument("--out", type=Path, help="FILE.md, and FILE.json beside it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
