"""The service on real servers: worker processes, and the API's parts in this process."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import browser
import httpx
import pytest
from playwright.sync_api import Browser, Page
from serving import environment, serving

from api.reconcile import Reconciler
from api.service import Service
from deploy.processes import Child, Program
from shared.live import Live
from shared.queue import Sender, make_app
from shared.records import Records
from shared.settings import Settings
from shared.storage import Storage


@dataclass
class Lab:
    """A service whose reconcile loop runs, and workers that can be started and killed."""

    settings: Settings
    service: Service
    reconciler: Reconciler
    workers: list[Child] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def start_worker(self, *program_of: str, **env: str) -> Child:
        """The product's, unless another program is named; with these environment variables."""
        program = Program(
            f"worker-{len(self.workers)}",
            [sys.executable, *(program_of or ("-m", "worker.main"))],
            lambda: True,
            environment(self.settings) | env,
        )
        self.workers.append(Child(program, lambda name, line: self.lines.append(f"{name} {line}")))
        return self.workers[-1]

    def wait(
        self, id: str, until: Callable[[dict], bool] | None = None, seconds: float = 120
    ) -> dict:
        """The status once it is as wanted (by default: ended)."""
        wanted = until or (lambda s: s["state"] in ("succeeded", "failed", "cancelled"))
        deadline = time.monotonic() + seconds
        while not wanted(status := self.service.status(id)):
            tail = "\n".join(self.lines[-40:])
            assert time.monotonic() < deadline, f"still {status}\n{tail}"
            time.sleep(0.1)
        return status

    def wait_until(self, holds: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def lab(settings: Settings, storage: Storage) -> Iterator[Lab]:
    quick = settings.model_copy(update={"reconcile_seconds": 0.3, "lease_seconds": 6.0})
    records = Records(storage)
    service = Service(records, Live(quick), Sender(make_app(quick)), quick)
    made = Lab(quick, service, Reconciler(service))
    made.reconciler.start()
    yield made
    made.reconciler.stop()
    for worker in made.workers:
        worker.kill()


@pytest.fixture
def http(lab: Lab) -> Iterator[httpx.Client]:
    """The app beside the lab's own parts: one store, one Redis."""
    with (
        serving(lab.settings) as url,
        httpx.Client(base_url=url, timeout=120, trust_env=False) as client,
    ):
        deadline = time.monotonic() + 30
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.started() as made:
        yield made


@pytest.fixture
def page(chromium: Browser, http: httpx.Client) -> Iterator[Page]:
    """Of the same app as `http`: page.goto("/"). Fails where anything reached the console."""
    with browser.watched(chromium, str(http.base_url)) as made:
        yield made
