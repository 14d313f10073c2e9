"""The service as local mode starts it, without a worker.

Filled with experiments that stay queued, and with one that has a long history."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import redis

from deploy import servers
from deploy.processes import Child, Program, await_ready
from deploy.servers import HOST, Credentials, Ports
from shared import names
from shared.chain import Manifest
from shared.plan import Plan
from shared.settings import Settings
from shared.storage import Storage
from worker.preparation import prepare

Request = dict[str, Any]

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate")


class Ours:
    """Redis, store and `replicas` API processes."""

    name = "Hubel"

    def __init__(self, folder: Path, replicas: int = 1) -> None:
        ports, credentials = Ports.free(), Credentials.random()
        place = servers.settings_for(ports, credentials)
        self.settings = Settings(**place)  # type: ignore[arg-type]
        self._ports_of_store = ports
        self.log = (folder / "ours.log").open("a")
        redis_server = servers.valkey(folder / "redis", self.settings, ports, credentials)
        store = servers.seaweedfs(folder / "store", self.settings, ports, credentials)
        self.children = {p.name: Child(p, self._say) for p in (redis_server, store)}
        self._ready("redis", "store")
        self.store = Storage(self.settings).open()
        scratch = self.settings.model_copy(update={"data_dir": folder, "scratch_dir": folder})
        prepare("gratings", self.store, scratch)
        self.env = {f"HUBEL_{name.upper()}": value for name, value in place.items()}
        self.ports = servers.free_ports(replicas)
        for index, port in enumerate(self.ports):
            self.children[f"api-{index}"] = Child(self._api(index, port), self._say)
        self._ready(*self.children)
        self.host, self.port = HOST, self.ports[0]

    def stop(self) -> None:
        for child in reversed(self.children.values()):
            child.kill()
        servers.remove_sockets(self._ports_of_store)
        self.log.close()

    def memory(self) -> dict[str, float]:
        """MiB resident, by process; of Redis also what it says its data take."""
        found = {name: _resident(child.pid) for name, child in self.children.items()}
        with redis.Redis.from_url(self.settings.redis_url.get_secret_value()) as client:
            return found | {"redis data": client.info("memory")["used_memory"] / (1 << 20)}

    # --- what there is to ask ---

    def submits(self, count: int) -> list[Request]:
        bodies = (json.dumps(small(i)) for i in range(count))
        post = {"name": "submit", "method": "POST", "path": "/v1/experiments"}
        return [post | {"body": body} for body in bodies]

    def status(self, id: str) -> Request:
        return {"name": "status", "method": "GET", "path": f"/v1/experiments/{id}"}

    def equal(self, key: str | None) -> Request:
        """Always the same body; one that nothing else has trained."""
        body = small(0) | {"name": "equal", "seeds": [10**6 + (key is None)]}
        post = {"name": "submit", "method": "POST", "path": "/v1/experiments"}
        headers = {} if key is None else {"headers": {"Idempotency-Key": key}}
        return post | {"body": json.dumps(body)} | headers

    def counted(self) -> int:
        return sum(1 for _ in self.store.names(names.INDEX))

    def segments(self, ids: set[str]) -> set[str]:
        """What a worker would have to train for all of these experiments together."""
        plans = (self.store.read_json(names.experiment_object(id, "plan.json")) for id in ids)
        return {segment["key"] for plan in plans for segment in plan["segments"]}

    def listing(self) -> Request:
        return {"name": "list", "method": "GET", "path": "/v1/experiments?page_size=50"}

    def histories(self, id: str, points: int) -> Iterator[Request]:
        path = f"/v1/experiments/{id}/metrics?metric=test_loss&page_size={points}"
        yield {"name": "history", "method": "GET", "path": path}
        yield {"name": "history, wide", "method": "GET", "path": f"{path}&shape=wide"}

    # --- one long history ---

    def long_history(self, points: int) -> str:
        """An experiment of one run with this many epochs, whose records are written by hand."""
        body = small(0) | {"name": "long", "training": {"epochs": points, "batch_size": 64}}
        url = f"http://{self.host}:{self.port}/v1/experiments"
        answer = httpx.post(url, json=body, timeout=120, trust_env=False).raise_for_status()
        id = str(answer.json()["id"])
        stored = self.store.read_json(names.experiment_object(id, "plan.json"))
        for segment in Plan.model_validate(stored).segments:
            epochs = range(segment.start + 1, segment.end + 1)
            provenance = {
                "experiment": id, "numerics": "none", "wall_seconds": 1.0,
                "epoch_times": [_time(epoch) for epoch in epochs],
            }  # fmt: skip
            manifest = Manifest(
                key=segment.key, parent=segment.parent, start=segment.start, end=segment.end,
                checkpoint="0" * 64, provenance=provenance,
                metrics=self.store.write_blob(json.dumps([_row(e) for e in epochs]).encode()),
            )  # fmt: skip
            name = names.manifest(segment.scope, segment.key)
            self.store.create_json(name, manifest.model_dump())
        return id

    def _api(self, index: int, port: int) -> Program:
        env = {**self.env, "HUBEL_PORT": str(port), "HUBEL_HOST": HOST, "PYTHONUNBUFFERED": "1"}

        def is_ready() -> bool:
            try:
                url = f"http://{HOST}:{port}/readyz"
                return httpx.get(url, timeout=5, trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        return Program(f"api-{index}", [sys.executable, "-m", "api.main"], is_ready, env)

    def _ready(self, *names: str) -> None:
        for name in names:
            await_ready(self.children[name], 90)

    def _say(self, name: str, line: str) -> None:
        if not self.log.closed:
            self.log.write(f"{name} {line}\n")
            self.log.flush()


def small(index: int) -> dict[str, Any]:
    """An experiment of one run and two epochs, which shares nothing with the others."""
    return {
        "name": f"load {index}",
        "dataset": {"name": "gratings", "train_samples": 128, "test_samples": 64},
        "model": {"name": "all_cnn", "width": 0.05},
        "training": {"epochs": 2, "batch_size": 64},
        "seeds": [index],
        "tags": {"lab": f"lab-{index % 10}"},
    }


def _row(epoch: int) -> dict[str, Any]:
    values = {name: (place + 1) / (epoch + 3) for place, name in enumerate(METRICS)}
    return {"epoch": epoch, "stimulus": [], **values}


def _time(epoch: int) -> str:
    minutes, seconds = divmod(epoch, 60)
    hours, minutes = divmod(minutes, 60)
    return f"2026-01-01T{hours:02d}:{minutes:02d}:{seconds:02d}.000Z"


def _resident(pid: int) -> float:
    """MiB of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
