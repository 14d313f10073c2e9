"""A real Redis and a real S3 server for the whole session; a database and a bucket of one's own
for each test."""

import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from deploy import servers
from deploy.processes import Child, await_ready
from deploy.servers import Credentials, Ports
from shared.settings import Settings
from shared.storage import Storage


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would all that tests start. One
    thread for numerics: two spinning ones collapse as soon as anything else wants a core."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class Servers:
    folder: Path
    ports: Ports
    credentials: Credentials
    settings: Settings
    redis: Child
    store: Child
    lines: list[str]


@pytest.fixture(scope="session")
def servers_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Factory"]:
    factory = Factory(tmp_path_factory)
    yield factory
    factory.stop()


class Factory:
    """Starts pairs of servers; a test that kills one takes a pair of its own."""

    def __init__(self, paths: pytest.TempPathFactory) -> None:
        self._paths = paths
        self._started: list[Servers] = []

    def __call__(self) -> Servers:
        try:
            return self._start()
        except (OSError, TimeoutError, FileNotFoundError) as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no Redis and S3 server here: {error}")

    def _start(self) -> Servers:
        ports, credentials = Ports.free(), Credentials.random()
        settings = Settings(**servers.settings_for(ports, credentials))
        folder = self._paths.mktemp("servers")
        place = (settings, ports, credentials)
        lines: list[str] = []
        children = [
            Child(program, lambda name, line: lines.append(f"{name} {line}"))
            for program in (
                servers.valkey(folder / "redis", *place),
                servers.seaweedfs(folder / "store", *place),
            )
        ]
        started = Servers(folder, *[ports, credentials, settings], *children, lines)
        self._started.append(started)
        for child in children:
            await_ready(child, 60)
        return started

    def stop(self) -> None:
        for started in self._started:
            started.redis.stop()
            started.store.stop()
            servers.remove_sockets(started.ports)


@pytest.fixture(scope="session", name="servers")
def shared_servers(servers_factory: Factory) -> Servers:
    return servers_factory()


@pytest.fixture
def settings(servers: Servers, tmp_path: Path) -> Iterator[Settings]:
    """An empty bucket and an empty Redis."""
    url = servers.settings.redis_url.get_secret_value()
    with redis.Redis.from_url(url) as client:
        client.flushall()
    bucket = f"test-{secrets.token_hex(6)}"
    yield servers.settings.model_copy(
        update={"s3_bucket": bucket, "scratch_dir": tmp_path, "data_dir": tmp_path}
    )
    _remove_bucket(servers.settings, bucket)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return Storage(settings).open()


def _remove_bucket(settings: Settings, bucket: str) -> None:
    client = Storage(settings)._client
    if client.bucket_exists(bucket):
        client.remove_bucket(bucket)
