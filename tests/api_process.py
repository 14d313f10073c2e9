"""The API as the process that users run, which can be measured, signalled and killed."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from serving import environment

from deploy import servers
from deploy.processes import Child, Program, await_ready
from shared.settings import Settings


@dataclass
class Api:
    url: str
    child: Child
    lines: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def rss(self) -> int:
        """Bytes of memory that are this process's own or shared, and resident."""
        with open(f"/proc/{self.child.pid}/statm") as file:
            return int(file.read().split()[1]) * 4096


@contextmanager
def api_process(
    settings: Settings, seconds: float = 60, port: int = 0, **environ: str
) -> Iterator[Api]:
    """Killed at the end, if it has not ended by itself. On a free port, unless one is given."""
    port = port or servers.free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    lines: list[str] = []
    program = Program(
        "api",
        [sys.executable, "-m", "api.main"],
        lambda: _is_ready(url),
        {**environment(settings.model_copy(update={"port": port})), **environ},
    )
    child = Child(program, lambda _, line: lines.append(line))
    try:
        await_ready(child, seconds)
        yield Api(url, child, lines)
    finally:
        child.kill()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        time.sleep(0.05)
        return False
