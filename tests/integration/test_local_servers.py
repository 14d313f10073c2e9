"""The servers out of wheels, and local mode around them: data survive, nothing is left running."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import redis

from deploy import servers
from deploy.local import LocalError, LocalMode
from deploy.processes import Child, Post, Program, await_ready
from deploy.servers import HOST, Ports
from shared.errors import StoreUnavailable
from shared.settings import Settings
from shared.storage import Storage

if TYPE_CHECKING:
    from tests.conftest import Factory
    from tests.conftest import Servers as Pair

pytestmark = pytest.mark.services


def test_data_survive_a_kill_and_a_start_on_other_ports(servers_factory: "Factory") -> None:
    pair = servers_factory()
    storage = Storage(pair.settings).open()
    sha = storage.write_blob(os.urandom(200_000))
    _redis(pair.settings).set("key", "value")
    time.sleep(1.1)  # Redis writes its file every second
    pair.redis.kill()
    pair.store.kill()

    ports = Ports.free()
    settings = Settings(**servers.settings_for(ports, pair.credentials))
    with _running(
        servers.valkey(pair.folder / "redis", settings, ports, pair.credentials),
        servers.seaweedfs(pair.folder / "store", settings, ports, pair.credentials),
    ):
        assert _redis(settings).get("key") == b"value"
        again = Storage(settings).open()
        assert len(again.read_blob(sha)) == 200_000
        again.write("new", b"1")
        assert again.read("new") == b"1"
    servers.remove_sockets(ports)


def test_without_the_password_neither_server_says_anything(
    servers: "Pair", storage: Storage, settings: Settings
) -> None:
    storage.write("secret", b"content-of-the-object")
    ports = servers.ports
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(HOST, ports.redis).ping()
    for port in (ports.s3, ports.filer, ports.volume, ports.master, ports.admin):
        for path in (f"/{settings.s3_bucket}/secret", f"/buckets/{settings.s3_bucket}/secret"):
            try:
                answer = httpx.get(f"http://{HOST}:{port}{path}", timeout=5)
            except httpx.HTTPError:
                continue
            assert b"content-of-the-object" not in answer.content, (port, path)


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from deploy import servers\n"
        "from deploy.processes import Child\n"
        "from shared.settings import Settings\n"
        "place = servers.Ports.free(), servers.Credentials.random()\n"
        "settings = Settings(**servers.settings_for(*place))\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for make in (servers.valkey, servers.seaweedfs):\n"
        "    child = Child(make(folder / make.__name__, settings, *place), lambda *_: None)\n"
        "    print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(_lives(pid) for pid in pids)
        parent.kill()
    _eventually(lambda: not any(_lives(pid) for pid in pids), 5)


def test_what_ends_is_started_again_after_a_growing_pause(tmp_path: Path) -> None:
    said: list[str] = []
    argv = [sys.executable, "-c", "print('here')"]
    program = Program("short", argv, lambda: True)
    post = Post(program, lambda name, line: said.append(line), longest_pause=1.5)
    ended: dict[str, float] = {}  # what it said of each end, and when
    began = time.monotonic()
    while len(ended) < 3:
        post.mend()
        for line in said[:]:
            if "again in" in line:
                ended.setdefault(line, time.monotonic())
        time.sleep(0.02)
        assert time.monotonic() - began < 60
    assert list(ended) == [f"short ended with code 0; again in {s} s" for s in ("0.5", "1", "1.5")]
    first, second, third = ended.values()
    assert second - first >= 0.45
    assert third - second >= 0.95
    _eventually(lambda: said.count("here") == 3, 5)


def test_one_interrupt_stops_all_and_the_data_are_there_next_time(tmp_path: Path) -> None:
    with _up(tmp_path) as process:
        url = (tmp_path / "ready").read_text()
        assert httpx.get(f"{url}/readyz").status_code == 200
        place = json.loads((tmp_path / "data/local.json").read_text())
        pids = _children(process.pid)
        assert len(pids) >= 4
        _storage(place).write("kept", b"1")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not any(_lives(pid) for pid in pids)

    with LocalMode(tmp_path / "data") as local:
        assert Storage(local.settings).open().read("kept") == b"1"
        assert asdict_of(local) == place
        assert len(local.worker_pids) == 1


def test_a_supervisor_that_is_killed_leaves_no_process_and_no_lock(tmp_path: Path) -> None:
    with _up(tmp_path) as process:
        pids = _children(process.pid)
        assert len(pids) >= 4
        process.kill()
        process.wait()
        _eventually(lambda: not any(_lives(pid) for pid in pids), 10)
    with _up(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_whatever_is_killed_comes_back(tmp_path: Path) -> None:
    with LocalMode(tmp_path) as local:
        storage = Storage(local.settings).open()
        storage.write("a", b"1")
        for name in ("worker-1", "api", "redis", "store"):
            before = local.pids[name]
            os.kill(before, signal.SIGKILL)
            _eventually(lambda n=name, b=before: local.pids.get(n, b) != b, 20)
        _eventually(lambda: _status(f"{local.url}/readyz") == 200, 30)
        _eventually(lambda: _reads(storage, "a") == b"1", 20)


def test_a_second_local_mode_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with (
        LocalMode(tmp_path) as local,
        pytest.raises(LocalError, match=f"in use by another local mode .*{local.url}"),
        LocalMode(tmp_path),
    ):
        pass


def test_a_port_in_use_is_said_to_be_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"Port {port} is in use.*--port"):
            LocalMode(tmp_path, port).__enter__()


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with LocalMode(tmp_path / "data"):
        pass
    data = tmp_path / "data"
    for file in ("local.json", "hubel.log", "redis/valkey.conf"):
        assert stat.S_IMODE((data / file).stat().st_mode) == 0o600, file
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def asdict_of(local: LocalMode) -> dict[str, object]:
    return {"ports": vars(local.ports), "credentials": vars(local.credentials)}


def _redis(settings: Settings) -> redis.Redis:
    return redis.Redis.from_url(settings.redis_url.get_secret_value())


def _storage(place: dict[str, dict[str, object]]) -> Storage:
    fields = servers.settings_for(
        Ports(**place["ports"]), servers.Credentials(**place["credentials"])
    )
    return Storage(Settings(**fields)).open()


@contextmanager
def _running(*programs: Program) -> Iterator[None]:
    children = [Child(program, lambda *_: None) for program in programs]
    try:
        for child in children:
            await_ready(child, 60)
        yield
    finally:
        for child in children:
            child.kill()


@contextmanager
def _up(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m deploy.local up`, ready."""
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "deploy.local", "up", "--data", str(folder / "data")]
    argv += ["--port", str(servers.free_ports(1)[0]), "--ready-file", str(ready), "--workers", "1"]
    with (folder / "out").open("wb") as out, subprocess.Popen(argv, stdout=out) as process:
        try:
            _eventually(lambda: ready.exists() or process.poll() is not None, 90)
            assert process.poll() is None, (folder / "out").read_text()
            yield process
        finally:
            process.kill()


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task")
    found = [task.joinpath("children").read_text().split() for task in path.iterdir()]
    return [int(child) for group in found for child in group]


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _status(url: str) -> int:
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.HTTPError:
        return 0


def _reads(storage: Storage, name: str) -> bytes | None:
    try:
        return storage.read(name)
    except StoreUnavailable:
        return None


def _eventually(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
