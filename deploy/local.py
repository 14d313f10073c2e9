"""Local mode: Redis, an S3 server, workers and the API as child processes, with one data folder,
one log and one Ctrl-C.

    python -m deploy.local up --data DIR --port 8000
"""

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from logging import DEBUG, Formatter, Logger
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Any, Self

import httpx

from deploy import servers
from deploy.processes import Post, Program, await_ready
from deploy.servers import HOST, Credentials, Ports
from shared.settings import Settings

READY_SECONDS = 90.0
PORT_SECONDS = 5.0  # for the children of a killed supervisor to be gone
LEASE_SECONDS = 15
LOG_BYTES = 20 << 20
# The servers' own words are for the log file; the console is for the user's.
QUIET = ("redis", "store")


class LocalError(Exception):
    """Local mode cannot start; the message says why and what to do."""


class LocalMode:
    """`with LocalMode(data, port) as local: local.url ...`"""

    def __init__(
        self,
        data: Path,
        port: int = 0,
        workers: int = 1,
        say: Callable[[str], None] = lambda line: None,
        env: dict[str, str] | None = None,
        longest_pause: float = Post.LONGEST_PAUSE,
    ) -> None:
        self.data = data.resolve()
        self.port = port or servers.free_ports(1)[0]
        self.url = f"http://{HOST}:{self.port}"
        self._workers = [f"worker-{number}" for number in range(1, workers + 1)]
        self._say = say
        self._env = env or {}
        self._longest_pause = longest_pause
        self._posts: dict[str, Post] = {}
        self._last_lines: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=15))
        self._failure: Exception | None = None
        self._settled, self._stopping = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(self.data / "lock", self.url)
        try:
            self._log = _log(self.data / "hubel.log")
            if not _within(PORT_SECONDS, lambda: servers.is_free(self.port)):
                raise LocalError(f"Port {self.port} is in use: give another one with --port")
            self._place()
        except BaseException:
            self._lock.close()
            raise
        # All children are started from this one thread, which lives as long as they may.
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._supervisor.start()
        try:
            self._settled.wait()
            if self._failure:
                raise LocalError(str(self._failure)) from self._failure
        except BaseException:
            self._hurry()
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        try:
            self._supervisor.join()
        except KeyboardInterrupt:  # a second Ctrl-C
            self._hurry()
            self._supervisor.join()
        servers.remove_sockets(self.ports)
        self._log.handlers[0].close()
        self._lock.close()

    @property
    def pids(self) -> dict[str, int]:
        """Of the children that run now: redis, store, api, worker-1, ..."""
        posts = self._posts.items()
        return {name: post.child.pid for name, post in posts if post.child.exit_code is None}

    @property
    def worker_pids(self) -> list[int]:
        return [pid for name, pid in self.pids.items() if name in self._workers]

    def _place(self) -> None:
        """Ports and credentials, the same ones at each start where the ports are still free."""
        file = self.data / "local.json"
        if file.exists():
            kept = json.loads(file.read_text())
            self.credentials = Credentials(**kept["credentials"])
            self.ports = Ports(**kept["ports"])
            if not _within(PORT_SECONDS, self.ports.are_free):
                self.ports = Ports.free()
        else:
            self.credentials, self.ports = Credentials.random(), Ports.free()
        place = {"ports": asdict(self.ports), "credentials": asdict(self.credentials)}
        _write_secret(file, json.dumps(place, indent=1))
        fields: dict[str, Any] = dict(servers.settings_for(self.ports, self.credentials))
        self.settings = Settings(**fields, lease_seconds=LEASE_SECONDS)

    def _supervise(self) -> None:
        try:
            self._start()
        except Exception as error:  # noqa: BLE001  is raised again in the thread that waits
            self._failure = error
        self._settled.set()
        while not self._stopping.wait(0.2):
            for post in self._posts.values():
                post.mend()
        self._stop()

    def _start(self) -> None:
        place = (self.settings, self.ports, self.credentials)
        self._begin(servers.valkey(self.data / "redis", *place))
        self._begin(servers.seaweedfs(self.data / "store", *place))
        self._await("redis", "store")
        for name in self._workers:
            self._begin(self._python(name, "worker.main", lambda: True, grace_seconds=30))
        self._begin(self._python("api", "api.main", self._is_ready, grace_seconds=10))
        self._await("api", *self._workers)
        self._tell("local", f"ready {self.url}")

    def _stop(self) -> None:
        for group in (["api"], self._workers, ["store"], ["redis"]):
            children = [self._posts[name].child for name in group if name in self._posts]
            for child in children:
                child.ask_to_stop()
            for child in children:
                child.stop()
        self._tell("local", "stopped")

    def _begin(self, program: Program) -> None:
        self._posts[program.name] = Post(program, self._tell, self._longest_pause)

    def _await(self, *names: str) -> None:
        for name in names:
            try:
                await_ready(self._posts[name].child, READY_SECONDS)
            except (ChildProcessError, TimeoutError) as error:
                said = "\n  ".join(self._last_lines[name])
                raise LocalError(f"{error}. It said last:\n  {said}") from error

    def _python(
        self, name: str, module: str, is_ready: Callable[[], bool], grace_seconds: float
    ) -> Program:
        fields: dict[str, object] = {
            **servers.settings_for(self.ports, self.credentials),
            "lease_seconds": LEASE_SECONDS,
            "host": HOST,
            "port": self.port,
        }
        env = {f"HUBEL_{field.upper()}": str(value) for field, value in fields.items()}
        env["HUBEL_DATA_DIR"] = os.environ.get("HUBEL_DATA_DIR", f"{self.data}/datasets")
        env["PYTHONUNBUFFERED"] = "1"
        env["HUBEL_LOG_FORMAT"] = os.environ.get("HUBEL_LOG_FORMAT", "text")
        argv = [sys.executable, "-m", module]
        return Program(name, argv, is_ready, {**env, **self._env}, grace_seconds=grace_seconds)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _hurry(self) -> None:
        for pid in self.pids.values():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _tell(self, name: str, line: str) -> None:
        for secret in vars(self.credentials).values():  # the store tells its access key
            line = line.replace(secret, "***")
        self._last_lines[name].append(line)
        self._log.info("%-8s %s", name, line)
        if name not in QUIET:
            self._say(f"{name:<8} {line}")


def _locked(path: Path, url: str) -> IO[str]:
    """Held until it is closed, or the process ends, however it ends."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise LocalError(f"{path.parent} is in use by another local mode ({owner})") from error
    file.truncate(0)
    file.write(f"process {os.getpid()}, {url}")
    file.flush()
    return file


def _log(path: Path) -> Logger:
    path.touch(mode=0o600)
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=2, encoding="utf-8")
    handler.setFormatter(Formatter("%(asctime)s %(message)s"))
    logger = Logger("hubel.local", DEBUG)  # not in the process's tree: two may run in one test
    logger.addHandler(handler)
    return logger


def _write_secret(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(text)
    os.replace(part, path)


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return held


def usual_workers() -> int:
    """A process for each core, of one thread, trains the most (`tests/bench/TOGETHER.md`); four at
    most, each of which takes a gigabyte. One where there is a GPU: on one, more were never tried.
    """
    if Path("/dev/nvidia0").exists():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(4, cores or 1))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _up(data: Path, port: int, workers: int, ready_file: Path | None) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    if ready_file:
        ready_file.unlink(missing_ok=True)
    with LocalMode(data, port, workers, say=lambda line: print(line, flush=True)) as local:
        print(f"ready {local.url}  (log: {local.data / 'hubel.log'}; Ctrl-C stops all)", flush=True)
        if ready_file:
            ready_file.write_text(local.url)
        threading.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    up = parser.add_subparsers(dest="command", required=True).add_parser("up")
    up.add_argument("--data", type=Path, default=Path(".hubel"), help="folder for all data")
    up.add_argument("--port", type=int, default=8000, help="of the API, on loopback")
    up.add_argument("--workers", type=int, default=usual_workers())
    up.add_argument("--ready-file", type=Path, help="written with the URL once all is ready")
    options = parser.parse_args()
    try:
        _up(options.data, options.port, options.workers, options.ready_file)
    except LocalError as error:
        sys.exit(f"local mode: {error}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
