"""Local mode with its store and its Redis behind proxies, in which faults can be injected."""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Self

import httpx
import redis

from deploy.local import LocalMode
from deploy.processes import Child, Program
from deploy.servers import Credentials, Ports, free_ports, settings_for
from shared.settings import Settings
from shared.storage import Storage
from tests.faults import peers
from tests.faults.listener import HOST
from tests.faults.redis_proxy import RedisProxy
from tests.faults.store_proxy import Sender, StoreProxy

QUICK = {"HUBEL_LEASE_SECONDS": "6", "HUBEL_RECONCILE_SECONDS": "0.5"}
"""Outages are scaled with the lease: ten faults of the long run keep the production values."""
PRODUCTION = {
    f"HUBEL_{name.upper()}": str(Settings.model_fields[name].default)
    for name in ("lease_seconds", "reconcile_seconds")
}


class Site:
    """`with Site(folder) as site: site.http.post(...)`"""

    def __init__(self, data: Path, workers: int = 2, env: dict[str, str] | None = None) -> None:
        self.data = data
        self.lines: list[str] = []
        ports, credentials = _place(data)
        self.store = StoreProxy(lambda: self.local.ports.s3, self._sender)
        self.redis = RedisProxy(lambda: self.local.ports.redis)
        self.scratch = data / "scratch"
        self.env = QUICK | {"HUBEL_SCRATCH_DIR": str(self.scratch)} | (env or {})
        self._credentials, self._ports = credentials, ports
        self._workers = workers
        self.extra: list[Child] = []

    def __enter__(self) -> Self:
        self.store.__enter__()
        self.redis.__enter__()
        self.lease = float(self.env["HUBEL_LEASE_SECONDS"])
        self._start()
        return self

    def _start(self) -> None:
        through = dataclasses.replace(self._ports, s3=self.store.port, redis=self.redis.port)
        fields = settings_for(through, self._credentials)
        env = {f"HUBEL_{name.upper()}": value for name, value in fields.items()} | self.env
        # A process is killed many times a minute here: it must not be taken for a hopeless one.
        self.local = LocalMode(
            self.data, workers=self._workers, say=self.lines.append, env=env, longest_pause=1.0
        )
        self.local.__enter__()
        self.http = httpx.Client(base_url=self.local.url, timeout=60, trust_env=False)

    def restart(self) -> None:
        """All processes, with nothing but what is on the disk."""
        self.http.close()
        self.local.__exit__()
        self._start()

    def is_whole(self) -> bool:
        """Every process is there, and the API answers that it is ready."""
        workers = {peers.parent_of(pid) for pid in self.children}
        if len(self.local.pids) < 3 + self._workers or len(workers) < self._workers:
            return False
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def __exit__(self, *_: object) -> None:
        self.http.close()
        for child in self.extra:
            child.kill()
        self.local.__exit__()
        self.redis.__exit__()
        self.store.__exit__()

    # --- who is who ---

    @property
    def parents(self) -> list[int]:
        return self.local.worker_pids

    @property
    def children(self) -> list[int]:
        """The processes in which the workers do their work."""
        return [pid for pid in peers.descendants(self.parents) if pid not in self.parents]

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def _sender(self, port: int) -> Sender:
        """The process that has a connection from this port, and what it is."""
        started = {**self.local.pids, **{c.program.name: c.pid for c in self.extra}}
        for name, pid in started.items():
            if name not in ("redis", "store") and (
                found := peers.owner_of(port, peers.descendants([pid]))
            ):
                return found, name
        return None, ""

    # --- the harness's own way to the servers, past the proxies ---

    def direct_store(self) -> Storage:
        return Storage(self.local.settings)

    def direct_redis(self) -> "redis.Redis":
        return redis.Redis.from_url(self.local.settings.redis_url.get_secret_value())

    # --- more processes than local mode starts ---

    def start(self, module: str, env: dict[str, str]) -> Child:
        """Another worker or API, with the same settings but for `env`."""
        argv = [sys.executable, "-m", module]
        program = self.local._python(module, module, lambda: True, grace_seconds=10)
        program = Program(module, argv, lambda: True, program.env | env)
        child = Child(program, lambda name, line: self.lines.append(f"{name}* {line}"))
        self.extra.append(child)
        return child

    def replica(self) -> tuple[Child, str]:
        """A second API, and its address."""
        port = free_ports(1)[0]
        return self.start("api.main", {"HUBEL_PORT": str(port)}), f"http://{HOST}:{port}"


def _place(data: Path) -> tuple[Ports, Credentials]:
    """Chosen before local mode starts, in the file in which it keeps them: what it starts is told
    of proxies that need the same credentials."""
    (data / "scratch").mkdir(parents=True, exist_ok=True)
    file = data / "local.json"
    if file.exists():
        kept = json.loads(file.read_text())
        return Ports(**kept["ports"]), Credentials(**kept["credentials"])
    ports, credentials = Ports.free(), Credentials.random()
    place = {"ports": dataclasses.asdict(ports), "credentials": dataclasses.asdict(credentials)}
    file.write_text(json.dumps(place))
    return ports, credentials
