"""The service with a stopwatch, filled with experiments, and what it takes over some time."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import redis

from deploy.processes import Program
from shared import names
from shared.plan import Plan
from shared.work import work_name
from tests.bench import processes
from tests.bench.load_ours import Ours
from tests.bench.scale_api import MARK

SEEDS = 8
REMOVALS = 5
"""Deficits of one experiment: each run leaves the one without end at another epoch."""
STRETCHES = REMOVALS - 1 + REMOVALS * REMOVALS
"""Segments of one seed: what the runs share, and five of each after it."""
PARALLEL = 4
"""Clients that submit at once."""


@dataclass
class Work:
    """One segment of an experiment: what it waits for, and since when it could be done."""

    parent: str | None
    accepted: float


class Scaled(Ours):
    """Redis, store and API processes; the first to start reconciles."""

    def __init__(self, folder: Path, replicas: int, epochs: int) -> None:
        self.passes: list[dict[str, Any]] = []
        self.requests: dict[str, int] = {}
        self.epochs = epochs
        self.works: dict[str, Work] = {}
        """Of all segments that were accepted."""
        self.ended_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._made = 0
        super().__init__(folder, replicas)
        self.folder = folder

    # --- experiments ---

    def accept(self, segments: int) -> dict[str, Any]:
        """Experiments of together about as many segments, over HTTP; how long it took."""
        count = max(1, round(segments / (SEEDS * STRETCHES)))
        began, cpu = time.monotonic(), processes.cpu_seconds(self.children)
        with ThreadPoolExecutor(PARALLEL) as pool:
            ids = list(pool.map(lambda _: self.submit(), range(count)))
        seconds = time.monotonic() - began
        after = processes.cpu_seconds(self.children)
        for id, at in ids:
            self._remember(id, at)
        mine = sum(len(self.plan(id).segments) for id, _ in ids)
        return {
            "experiments": count, "segments": mine, "seconds": seconds,
            "cpu": {name: after[name] - cpu[name] for name in after},
            "ids": [id for id, _ in ids],
        }  # fmt: skip

    def submit(self) -> tuple[str, float]:
        """Its id, and when it was answered."""
        with self._lock:
            number, self._made = self._made, self._made + 1
        url = f"http://{self.host}:{self.ports[number % len(self.ports)]}/v1/experiments"
        answer = httpx.post(url, json=self.body(number), timeout=120, trust_env=False)
        return str(answer.raise_for_status().json()["id"]), time.monotonic()

    def body(self, number: int) -> dict[str, Any]:
        """A sweep of the removal of a deficit over seeds that no other experiment has. Cut every
        `epochs` epochs, as the grid cuts a larger network."""
        length = self.epochs
        return {
            "name": f"scale {number}",
            "dataset": {"name": "gratings", "train_samples": 128, "test_samples": 64},
            "model": {"name": "all_cnn", "width": 0.05},
            "training": {"epochs_after_deficit": REMOVALS * length, "batch_size": 64},
            "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
            "sweep": {"deficit.end": [length * i for i in range(REMOVALS)]},
            "seeds": [number * SEEDS + i for i in range(SEEDS)],
            "checkpoints": {"every": length},
        }

    def plan(self, id: str) -> Plan:
        stored = self.store.read_json(names.experiment_object(id, "plan.json"))
        return Plan.model_validate(stored)

    def _remember(self, id: str, at: float) -> None:
        plan = self.plan(id)
        enders = {segment.key: work_name(segment) for segment in plan.segments}
        for segment in plan.segments:
            parent = enders.get(segment.parent) if segment.start else None
            self.works[work_name(segment)] = Work(parent, at)

    def remember(self, made: list[tuple[str, float]]) -> None:
        for id, at in made:
            self._remember(id, at)

    def active(self) -> int:
        return sum(1 for _ in self.store.names(names.ACTIVE))

    def states(self, ids: list[str]) -> dict[str, int]:
        """How many experiments are in which state, as the API says it."""
        found: dict[str, int] = {}
        for id in ids:
            url = f"http://{self.host}:{self.port}/v1/experiments/{id}"
            state = httpx.get(url, timeout=60, trust_env=False).raise_for_status().json()["state"]
            found[state] = found.get(state, 0) + 1
        return found

    # --- what it takes ---

    def look(self) -> dict[str, Any]:
        """Counters and clocks, now."""
        with redis.Redis.from_url(self.settings.redis_url.get_secret_value()) as client:
            said = client.info()
            length = client.llen("hubel")
        return {
            "at": time.monotonic(),
            "cpu": processes.cpu_seconds(self.children),
            "memory": self.memory(),
            "redis_commands": said["total_commands_processed"],
            "redis_clients": said["connected_clients"],
            "queue": length,
            "passes": len(self.passes),
            "api_requests": sum(self.requests.values()),
        }

    def _say(self, name: str, line: str) -> None:
        if line.startswith(MARK):
            said = json.loads(line.removeprefix(MARK))
            self.requests[name] = said["requests"]
            self.passes.append(said | {"process": name})
        else:
            super()._say(name, line)

    def _api(self, index: int, port: int) -> Program:
        made = super()._api(index, port)
        argv = [sys.executable, "-m", "tests.bench.scale_api"]
        return Program(made.name, argv, made.is_ready, made.env | {"HUBEL_LOG_LEVEL": "warning"})


def between(before: dict[str, Any], after: dict[str, Any], passes: list[dict[str, Any]]) -> Any:
    """Of each what a second took."""
    seconds = after["at"] - before["at"]
    made = passes[before["passes"] : after["passes"]]
    return {
        "seconds": seconds,
        "cpu": {n: (after["cpu"][n] - before["cpu"][n]) / seconds for n in after["cpu"]},
        "memory": after["memory"],
        "redis_commands": (after["redis_commands"] - before["redis_commands"]) / seconds,
        "redis_clients": after["redis_clients"],
        "queue": after["queue"],
        "api_requests": (after["api_requests"] - before["api_requests"]) / seconds,
        "passes": [one["seconds"] for one in made],
        "plans_read": sum(one["plans"] for one in made),
        "looks": sum(one["looks"] for one in made),
        "longest_look": max((one["longest_look"] for one in made), default=0.0),
        "watched": made[-1]["watched"] if made else 0,
    }


def wait_until(done: Any, seconds: float, every: float = 1.0) -> Iterator[float]:
    """Seconds since the beginning, until it is done or the time is over."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds and not done():
        yield passed
        time.sleep(every)
