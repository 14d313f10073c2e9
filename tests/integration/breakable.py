"""A whole deployment that may be broken: a Redis and a store of its own, two API replicas, workers.
What has ended is started again, as local mode does."""

import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import redis
from serving import environment, serving

from deploy.processes import Child, Program, await_ready
from deploy.servers import free_ports
from shared.settings import Settings

WORKERS = 2


class Breakable:
    """`servers` is a pair of its own, as `servers_factory` starts it."""

    def __init__(self, servers, folder: Path) -> None:
        self.servers = servers
        changes = {
            "s3_bucket": f"breakable-{secrets.token_hex(6)}",
            "scratch_dir": folder,
            "data_dir": folder,
            "reconcile_seconds": 0.3,
            "lease_seconds": 4.0,
            "max_infrastructure_attempts": 1000,  # killed again and again is not poison here
            "retry_seconds": 0.2,
            "port": free_ports(1)[0],
        }
        self.settings: Settings = servers.settings.model_copy(update=changes)
        self.lines: list[str] = []
        self.workers: list[Child] = []
        self.replicas: list[httpx.Client] = []

    @contextmanager
    def running(self) -> Iterator["Breakable"]:
        url = f"http://127.0.0.1:{self.settings.port}"
        api = self._start("api", "api.main", lambda: _is_ready(url))
        try:
            await_ready(api, 90)
            with serving(self.settings) as other:
                self.replicas = [_client(url), _client(other)]
                self.mend()
                yield self
        finally:
            for child in [api, *self.workers]:
                child.kill()

    def _start(self, name: str, module: str, is_ready=lambda: True) -> Child:
        argv = [sys.executable, "-m", module]
        program = Program(name, argv, is_ready, environment(self.settings))
        return Child(program, lambda name, line: self.lines.append(f"{name} {line}"))

    def mend(self) -> None:
        """A worker in the place of each that has ended."""
        self.workers = [worker for worker in self.workers if worker.exit_code is None]
        while len(self.workers) < WORKERS:
            self.workers.append(self._start("worker", "worker.main"))

    def kill_child(self, index: int) -> None:
        for child in children_of(self.workers[index].pid)[:1]:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def kill_worker(self, index: int) -> None:
        """The parent alone: its child has to see to itself."""
        with suppress(ProcessLookupError):
            os.kill(self.workers[index].pid, signal.SIGKILL)

    @property
    def redis_is_up(self) -> bool:
        return self.servers.redis.exit_code is None

    def kill_redis(self) -> None:
        self.servers.redis.kill()

    def start_redis(self) -> None:
        program = self.servers.redis.program
        self.servers.redis = Child(program, lambda name, line: self.lines.append(f"{name} {line}"))
        await_ready(self.servers.redis, 30)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.settings.redis_url.get_secret_value())


def children_of(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        tasks = Path(f"/proc/{pid}/task")
        return [int(c) for task in tasks.iterdir() for c in (task / "children").read_text().split()]
    return []


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=60, trust_env=False)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
