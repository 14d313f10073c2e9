"""What processes say and count: ids that follow a request into the worker, and metrics that are
right."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis
from api_process import Api, api_process
from prometheus_client.parser import text_string_to_metric_families
from serving import environment
from small import body, submit

from api import meters
from api.backlog import Backlog
from api.reconcile import Reconciler
from api.service import Service
from deploy.processes import Child, Program
from deploy.servers import free_ports
from shared.attempts import Attempt, History
from shared.live import Live
from shared.queue import Sender, make_app
from shared.records import Records
from shared.settings import Settings
from shared.storage import Storage

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

READ, ADMIN = "r" * 40, "a" * 40
AS_READER = {"Authorization": f"Bearer {READ}"}
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Site:
    """An API and workers as containers run them: JSON, metrics, tokens."""

    def __init__(self, settings: Settings, api: Api) -> None:
        self.settings, self.api = settings, api
        self.http = httpx.Client(
            base_url=api.url,
            timeout=60,
            trust_env=False,
            headers={"Authorization": f"Bearer {ADMIN}"},
        )
        self.lines: list[str] = []
        self.workers: list[Child] = []
        self.port = 0

    def start_worker(self, **env: str) -> Child:
        (self.port,) = free_ports(1)
        given = environment(self.settings) | {"HUBEL_METRICS_PORT": str(self.port)} | env
        program = Program("worker", [sys.executable, "-m", "worker.main"], lambda: True, given)
        self.workers.append(Child(program, lambda _, line: self.lines.append(line)))
        return self.workers[-1]

    def submit(self, request: str, **changes: object) -> str:
        answer = self.http.post(
            "/v1/experiments", json=body(**changes), headers={"X-Request-ID": request}
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def wait(self, id: str, seconds: float = 120) -> None:
        until(
            lambda: self.http.get(f"/v1/experiments/{id}").json()["state"] == "succeeded", seconds
        )

    def of_api(self) -> Samples:
        return samples(
            httpx.get(f"{self.api.url}/metrics", headers=AS_READER, trust_env=False).text
        )

    def of_worker(self) -> Samples:
        url = f"http://127.0.0.1:{self.port}/metrics"
        until(lambda: _answers(url))
        return samples(httpx.get(url, trust_env=False).text)

    def said(self) -> list[dict]:
        """By workers, after it was told in JSON."""
        return [json.loads(line) for line in list(self.lines) if line.startswith("{")]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.ConnectError:
        return False


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def samples(text: str) -> Samples:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """Not a number where it is not there: nothing holds of that."""
    return found.get((name, tuple(sorted(labels.items()))), float("nan"))


@pytest.fixture
def site(settings: Settings, storage: Storage) -> Iterator[Site]:
    quick = settings.model_copy(
        update={"reconcile_seconds": 0.3, "lease_seconds": 6.0, "require_tokens": True}
    )
    with api_process(quick, HUBEL_READ_TOKEN=READ, HUBEL_ADMIN_TOKEN=ADMIN) as api:
        made = Site(quick, api)
        yield made
        for worker in made.workers:
            worker.kill()


def test_a_request_is_followed_into_the_worker_and_counted_on_the_way(site: Site) -> None:
    """Also by what the reconcile loop sends: with no worker there, Redis loses its messages."""
    id = site.submit("from-the-lab-1")
    until(lambda: value(site.of_api(), "hubel_segments", state="queued") > 0)
    waiting = site.of_api()
    assert value(waiting, "hubel_segments", state="running") == 0
    assert value(waiting, "hubel_experiments", state="preparing") == 1
    with redis.Redis.from_url(site.settings.redis_url.get_secret_value()) as client:
        client.flushall()
    site.start_worker()
    site.wait(id)
    plan = site.http.get(f"/v1/experiments/{id}").json()["plan"]
    lines = [line for line in site.said() if line.get("experiment") == id]
    trained = {line["segment"] for line in lines if "trained" in line["message"]}
    assert len(trained) == plan["segments"]
    for line in lines:
        assert line["request"] == "from-the-lab-1"
        assert line["worker"].split(":")[1] == str(site.workers[0].pid)
        assert {"time", "level", "logger", "message", "segment"} <= line.keys()
    _counts_are_right(site, id, plan)


def _counts_are_right(site: Site, id: str, plan: dict) -> None:
    """Of the one experiment that there was."""
    api, worker = site.of_api(), site.of_worker()
    epochs = plan["epochs"]
    assert value(worker, "hubel_worker_epochs_total", kind="trained") == epochs["new"]
    assert value(worker, "hubel_worker_segments_total", outcome="trained") == plan["segments"]
    assert value(worker, "hubel_worker_segments_total", outcome="failed") == 0
    assert value(worker, "hubel_worker_device_seconds_total", kind="training") > 0
    assert value(worker, "hubel_worker_device_seconds_total", kind="measuring") > 0
    records = Records(Storage(site.settings))
    stored = {
        manifest.key: manifest
        for segment in records.plan(id).segments
        for manifest in records.spanning(segment.scope, segment.key, segment.start)
    }
    sizes = [len(records.store.read_blob(one.checkpoint)) for one in stored.values()]
    assert value(worker, "hubel_worker_checkpoint_bytes_total", direction="written") == sum(sizes)
    assert value(api, "hubel_planned_epochs_total", fate="new") == epochs["new"]
    shared = epochs["alone"] - epochs["shared"]
    assert value(api, "hubel_planned_epochs_total", fate="sharing") == shared > 0
    assert value(api, "hubel_planned_epochs_total", fate="store") == 0
    assert value(api, "hubel_experiments_accepted_total") == 1
    until(lambda: value(site.of_api(), "hubel_experiments_ended_total", state="succeeded") == 1)
    until(lambda: value(site.of_api(), "hubel_segments", state="queued") == 0)
    assert value(api, "hubel_reconcile_actions_total", action="prepared") > 0
    assert value(api, "hubel_reconcile_actions_total", action="planned") == 1
    seen = value(api, "hubel_http_request_duration_seconds_count", method="POST",
                 route="/v1/experiments", status="202")  # fmt: skip
    assert seen == 1
    assert value(api, "hubel_store_request_duration_seconds_count", operation="put") > 5
    assert value(worker, "hubel_redis_request_duration_seconds_count") > 5
    (info,) = (dict(labels) for name, labels in worker if name == "hubel_device_info")
    assert info["device"] == "cpu"
    assert info["numerics"] == next(iter(stored.values())).provenance["numerics"]
    used = value(worker, "hubel_device_memory_bytes", device="cpu", kind="used")
    assert 50e6 < used < value(worker, "hubel_device_memory_bytes", device="cpu", kind="total")
    for _, labels in [*api, *worker]:
        for _, label in labels:
            assert id not in label
            assert not any(key in label for key in stored)


def test_no_count_falls_when_a_child_is_killed(site: Site) -> None:
    site.start_worker()
    site.wait(site.submit("one"))
    before = {k: v for k, v in site.of_worker().items() if k[0].startswith("hubel_worker_")}
    pids = [line["worker"].rsplit(":", 1)[1] for line in site.said() if "worker" in line]
    id = site.submit("two", seeds=[7, 8, 9])
    until(lambda: value(site.of_worker(), "hubel_worker_busy") == 1)
    os.kill(int(pids[-1]), signal.SIGKILL)
    until(lambda: value(site.of_worker(), "hubel_worker_child_deaths_total",
                        reason="infrastructure") == 1)  # fmt: skip
    site.wait(id)
    after = site.of_worker()
    counters = [key for key in before if key[0].endswith("_total")]
    assert len(counters) > 10
    for key in counters:
        assert after[key] >= before[key], key
    trained = ("hubel_worker_epochs_total", (("kind", "trained"),))
    assert after[trained] > before[trained] > 0


def test_work_whose_worker_fell_silent_is_counted_once(site: Site) -> None:
    worker = site.start_worker()
    id = site.submit("one", training={"epochs_after_deficit": 40, "batch_size": 8})
    until(lambda: value(site.of_worker(), "hubel_worker_busy") == 1)
    until(lambda: value(site.of_worker(), "hubel_worker_epochs_total", kind="trained") > 0)
    worker.kill()
    until(lambda: value(site.of_api(), "hubel_lease_expiries_total") == 1)
    site.start_worker()
    until(lambda: value(site.of_worker(), "hubel_worker_epochs_total", kind="trained") > 0)
    assert value(site.of_api(), "hubel_lease_expiries_total") == 1
    assert site.http.post(f"/v1/experiments/{id}/cancel").status_code == 200


def test_work_goes_on_without_redis_and_is_not_counted_as_silent(settings: Settings) -> None:
    away = settings.model_copy(
        update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1")}
    )
    history = History([Attempt(time.time(), "somebody:1:2", None, None)])

    def noted(of: Settings) -> float:
        before = meters.EXPIRIES._value.get()
        service = Service(Records(Storage(of)), Live(of), Sender(make_app(of)), of)
        Reconciler(service)._note_expiry("work", history)
        return meters.EXPIRIES._value.get() - before

    assert noted(away) == 0
    Live(settings).take("work", "somebody:1:2")  # since it was seen to be idle
    assert noted(settings) == 0
    Live(settings).release("work", "somebody:1:2")
    assert noted(settings) == 1


def test_metrics_are_for_those_who_may_read(site: Site) -> None:
    url = f"{site.api.url}/metrics"
    assert httpx.get(url, trust_env=False).status_code == 401
    assert httpx.get(url, headers=AS_READER, trust_env=False).status_code == 200
    assert httpx.head(url, headers=AS_READER, trust_env=False).content == b""
    refused = httpx.post(
        f"{site.api.url}/v1/experiments", json=body(), headers=AS_READER, trust_env=False
    )
    assert refused.status_code == 403
    assert "'submit'" in refused.json()["detail"]
    text = httpx.get(
        url, headers=AS_READER | {"Accept": "application/openmetrics-text"}, trust_env=False
    )
    assert text.text.endswith("# EOF\n")


def test_whatever_is_asked_there_are_no_more_routes_than_operations(site: Site) -> None:
    for index in range(20):
        site.http.get(f"/v1/experiments/{index:024x}")
        site.http.get(f"/nothing/{index}")
        site.http.request(f"METHOD{index}", "/v1/experiments")
    site.http.head("/v1/presets")
    found = {
        dict(labels)["route"]: dict(labels)["method"]
        for name, labels in site.of_api()
        if name == "hubel_http_request_duration_seconds_count"
    }
    known = set(site.http.get("/openapi.json").json()["paths"]) | {"unmatched", "/openapi.json"}
    assert found.keys() <= known
    assert {"unmatched", "/v1/experiments/{id}", "/v1/presets"} <= found.keys()
    methods = {dict(labels).get("method", "GET") for _, labels in site.of_api()}
    assert methods <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}


def test_one_line_says_each_request_and_no_token(site: Site) -> None:
    site.http.get("/v1/presets", headers={"X-Request-ID": "look-1"})
    site.http.get("/healthz", headers={"X-Request-ID": "look-2"})
    site.http.get("/v1/presets", headers={"X-Request-ID": "look-3"})
    until(lambda: any("look-3" in line for line in list(site.api.lines)), 20)  # a thread reads
    lines = [json.loads(line) for line in site.api.lines if line.startswith("{")]
    (line,) = (one for one in lines if one.get("request") == "look-1")
    assert line["logger"] == "hubel.access"
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/presets", 200)
    assert line["principal"] == "HUBEL_ADMIN_TOKEN"
    assert 0 < line["seconds"] < 60
    assert not [one for one in lines if one.get("request") == "look-2"]
    said = "\n".join(site.api.lines)
    assert READ not in said
    assert ADMIN not in said


def test_a_port_that_is_taken_costs_the_metrics_and_not_the_worker(site: Site) -> None:
    port = site.api.url.rsplit(":", 1)[1]
    site.start_worker(HUBEL_METRICS_PORT=port)
    site.wait(site.submit("one"))
    assert any("no metrics are shown" in line["message"] for line in site.said())


def test_a_worker_shows_its_metrics_before_it_has_reached_redis(site: Site) -> None:
    site.start_worker(HUBEL_REDIS_URL="redis://127.0.0.1:1/0")
    assert value(site.of_worker(), "hubel_worker_busy") == 0
    assert ("hubel_build_info", "worker") in {
        (n, dict(ls).get("component")) for n, ls in site.of_worker()
    }


def test_work_is_counted_once_and_also_what_the_queue_has_no_room_for(settings: Settings) -> None:
    live = Live(settings)
    backlog, other = Backlog(live), Live(settings)
    assert other.backlog() is None
    works = [f"{i:064x}" for i in range(30_000)]
    backlog.note("a", "queued", works[:20_000], waiting=5)
    backlog.note("b", "running", works[10_000:], waiting=2)
    backlog.note("gone", "queued", ["x"])
    live.take(works[0], "somebody")
    live.take("dataset/of-another", "somebody")
    backlog.publish({"a", "b"}, ["repair/y"], 60)
    told = other.backlog()
    assert told is not None
    assert told["segments"] == {"waiting": 7, "queued": 30_000, "running": 2}
    assert told["experiments"] == {"preparing": 0, "queued": 1, "running": 1}


def test_nobody_is_told_of_a_backlog_while_redis_cannot_say_who_works(settings: Settings) -> None:
    away = settings.model_copy(
        update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1")}
    )
    backlog = Backlog(Live(away))
    backlog.note("a", "queued", ["x"])
    backlog.publish({"a"}, [], 60)
    assert Live(away).backlog() is None


def test_an_experiment_accepted_before_requests_were_noted_goes_on(lab) -> None:
    id = submit(lab)
    assert lab.service.accepted(id).request is None
    lab.start_worker()
    assert lab.wait(id)["state"] == "succeeded"


def test_what_killed_workers_left_in_scratch_is_removed_at_the_next_start(
    site: Site, tmp_path: Path
) -> None:
    left = [tmp_path / "hubel-prepare-dead", tmp_path / "hubel-datasets/hubel-fetch-dead"]
    for folder in left:
        folder.mkdir(parents=True)
    old, young = tmp_path / "hubel-worker-gone-7-8.log", tmp_path / "hubel-worker-here-7-8.log"
    for file in (old, young):
        file.touch()
    os.utime(old, (0, 0))
    site.start_worker()
    until(lambda: not any(path.exists() for path in [*left, old]))
    assert young.exists()
