"""What dashboards, rules and the scaling of workers ask is answered: by a real Prometheus that
watches the real API and a real worker, and by the API itself."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
import yaml
from api_process import api_process
from dashboards import (
    DEPLOY,
    METRIC,
    PROMETHEUS,
    SELECTOR,
    alerts,
    base_name,
    boards,
    found_at,
    infinity,
    interpolated,
    kept,
    rules,
    targets,
)
from prometheus import binaries, promtool
from serving import environment
from small import body

from deploy import servers
from deploy.processes import Child, Program, await_ready
from shared import rows
from shared.settings import Settings

pytestmark = pytest.mark.services

POISONED = str(Path(__file__).parent / "poisoned_worker.py")
SCRAPE_SECONDS = 1
LAST_RUN = "5"
"""The first runs of the sweep have no deficit."""
ENDED = ("succeeded", "failed", "cancelled")

SCALED_ON = 'max(hubel_segments{state="queued"}) + max(hubel_segments{state="running"})'
"""Where there are no manifests that say it otherwise."""
EMPTY = {
    'status=~"5.."': "no answer was an error of the server",
    'ALERTS{alertname=~"Hubel.*", alertstate="firing", severity!="info"}': "none fires so soon",
}
"""Parts of the queries that may have no result here, each with the reason."""
UNSEEN = {"_created": "when a counter began, which the client library may add"}
"""Ends of names of metrics that are on no dashboard and in no rule, each with the reason."""


@dataclass
class Watched:
    """A service that has trained one experiment and failed at another one, and who watched it."""

    api: httpx.Client
    worker: httpx.Client
    prometheus: httpx.Client
    succeeded: str = ""
    failed: str = ""
    since: float = 0.0

    def query(self, expression: str, instant: bool = True) -> list[dict]:
        """The series, without those that have no number at all."""
        span = {"start": self.since, "end": time.time(), "step": SCRAPE_SECONDS}
        path, when = ("query", {}) if instant else ("query_range", span)
        answer = self.prometheus.get(f"/api/v1/{path}", params={"query": expression, **when})
        assert answer.status_code == 200, (expression, answer.text)
        found = answer.json()["data"]["result"]
        return [
            one
            for one in found
            if any(v != "NaN" for _, v in one.get("values", [one.get("value")]))
        ]

    def grafana(self, expression: str) -> str:
        """As Grafana asks for it: with a rate over four scrapes."""
        seconds = int(time.time() - self.since)
        words = {"__rate_interval": f"{4 * SCRAPE_SECONDS}s", "__range": f"{seconds}s"}
        return interpolated(expression, words)


@pytest.fixture(scope="module")
def watched(servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    binaries()
    folder, token = tmp_path_factory.mktemp("watched"), token_hex(20)
    changes = {"s3_bucket": f"test-{token_hex(6)}", "scratch_dir": folder, "data_dir": folder}
    quick = {"reconcile_seconds": 0.3, "lease_seconds": 6.0, "max_attempts": 1}
    settings = servers.settings.model_copy(update=changes | quick)
    tokens = {"HUBEL_REQUIRE_TOKENS": "true", "HUBEL_READ_TOKEN": token}
    admin = token_hex(20)
    with ExitStack() as stack:
        api = stack.enter_context(api_process(settings, **tokens, HUBEL_ADMIN_TOKEN=admin))
        worker, address = start_worker(settings, folder)
        stack.callback(worker.kill)
        watcher, url = start_prometheus(folder, api.url.removeprefix("http://"), address, token)
        stack.callback(watcher.kill)
        reader = {"Authorization": f"Bearer {token}"}
        clients = [
            stack.enter_context(
                httpx.Client(base_url=base, headers=head, timeout=60, trust_env=False)
            )
            for base, head in ((api.url, reader), (f"http://{address}", {}), (url, {}))
        ]
        seen = Watched(*clients, since=time.time())
        # What is counted before Prometheus first looks is no increase.
        await_answer(seen, "count(up == 1) == 2")
        admin_too = {"Authorization": f"Bearer {admin}"}
        seen.succeeded, seen.failed = run_experiments(seen.api, admin_too)
        for state in ENDED[:2]:
            await_answer(seen, f'hubel_experiments_ended_total{{state="{state}"}} >= 1')
        await_answer(seen, 'ALERTS{alertname="HubelExperimentsFail"}')
        yield seen


def start_worker(settings: Settings, folder: Path) -> tuple[Child, str]:
    """Seed 101 raises an error in it."""
    (port,) = servers.free_ports(1)
    place = {"HUBEL_METRICS_PORT": str(port), "HUBEL_METRICS_HOST": "127.0.0.1"}
    poison = {"POISON_MEMORY": str(folder / "memory")}
    env = environment(settings) | place | poison
    return start("worker", [sys.executable, POISONED], f"http://127.0.0.1:{port}/metrics", env)


def start_prometheus(folder: Path, api: str, worker: str, token: str) -> tuple[Child, str]:
    """With the product's own configuration, but for where the two are and how often it asks."""
    (folder / "token").write_text(token)
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    often = f"{SCRAPE_SECONDS}s"
    config["global"] |= {"scrape_interval": often, "evaluation_interval": often}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    jobs["hubel-api"]["static_configs"] = [{"targets": [api]}]
    jobs["hubel-api"]["authorization"]["credentials_file"] = str(folder / "token")
    del jobs["hubel-worker"]["dns_sd_configs"]
    jobs["hubel-worker"]["static_configs"] = [{"targets": [worker]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    (port,) = servers.free_ports(1)
    flags = {
        "config.file": file,
        "storage.tsdb.path": folder / "tsdb",
        "web.listen-address": f"127.0.0.1:{port}",
    }
    argv = [binaries()["prometheus"], *(f"--{name}={value}" for name, value in flags.items())]
    child, address = start("prometheus", argv, f"http://127.0.0.1:{port}/-/ready", {})
    return child, f"http://{address}"


def start(name: str, argv: list[str], ready: str, env: dict[str, str]) -> tuple[Child, str]:
    lines: list[str] = []

    def is_ready() -> bool:
        try:
            return httpx.get(ready, timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    child = Child(Program(name, argv, is_ready, env), lambda _, line: lines.append(line))
    try:
        await_ready(child, 60)
    except (TimeoutError, ChildProcessError) as error:
        child.kill()
        pytest.fail(f"{error}\n" + "\n".join(lines[-20:]))
    return child, httpx.URL(ready).netloc.decode()


def run_experiments(client: httpx.Client, admin: dict[str, str]) -> list[str]:
    """One that succeeds, and one of which the only run fails."""
    poisoned = body(sweep={}, fisher=None, deficit=None, seeds=[101],
                    training={"epochs": 2, "batch_size": 64})  # fmt: skip
    ids = []
    for spec in (body(seeds=[0, 1]), poisoned):
        answer = client.post("/v1/experiments", json=spec, headers=admin)
        assert answer.status_code == 202, answer.text
        ids.append(answer.json()["id"])
    assert [ended(client, id) for id in ids] == ["succeeded", "failed"]
    return ids


def ended(client: httpx.Client, id: str) -> str:
    deadline = time.monotonic() + 120
    while (status := client.get(f"/v1/experiments/{id}").json())["state"] not in ENDED:
        assert time.monotonic() < deadline, status
        time.sleep(0.2)
    return str(status["state"])


def await_answer(seen: Watched, expression: str) -> None:
    deadline = time.monotonic() + 60
    while not seen.query(expression):
        assert time.monotonic() < deadline, seen.prometheus.get("/api/v1/targets").text
        time.sleep(0.2)


# --- Prometheus ---


def test_both_targets_are_up_and_every_rule_is_evaluated(watched):
    found = watched.prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
    assert {target["labels"]["job"]: target["lastError"] for target in found} == {
        "hubel-api": "",
        "hubel-worker": "",
    }
    groups = watched.prometheus.get("/api/v1/rules").json()["data"]["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert len(health) == len(rules())
    assert set(health.values()) == {"ok"}


def test_every_query_of_the_service_dashboard_has_a_result(watched):
    silent = []
    for where, target in targets(boards()["service"]):
        expression = target["expr"]
        found = watched.query(watched.grafana(expression), bool(target.get("instant")))
        if not found and not any(part in expression for part in EMPTY):
            silent.append((where, expression))
    assert not silent


def test_everything_that_a_rule_looks_at_is_there(watched):
    silent = []
    for rule in rules():
        for selector in SELECTOR.findall(rule["expr"]):
            if not watched.query(selector) and not any(part in selector for part in EMPTY):
                silent.append((rule.get("alert") or rule["record"], selector))
        if "record" in rule and not watched.query(rule["record"]):
            silent.append((rule["record"], "has no series"))
    assert not silent


def test_a_latency_that_an_alert_names_is_the_bound_of_a_bucket(watched):
    """Between two bounds a quantile is a guess."""
    for name, what in (("Status", "http"), ("Store", "store"), ("Redis", "redis")):
        bound = alerts()[f"Hubel{name}Slow"]["expr"].rsplit("> ", 1)[1].strip()
        buckets = f'hubel_{what}_request_duration_seconds_bucket{{le="{bound}"}}'
        assert watched.query(buckets), buckets


def test_an_alert_about_what_happened_here_is_pending_or_fires_with_its_words(watched):
    found = watched.prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
    said = {alert["labels"]["alertname"]: alert["annotations"] for alert in found}
    assert "HubelExperimentsFail" in said, "an experiment has failed"
    assert {"HubelApiDown", "HubelWorkerDown", "HubelNoLeader"}.isdisjoint(said)
    for name, words in said.items():
        assert words.keys() == alerts()[name]["annotations"].keys()
        assert not any("<error" in text for text in words.values())


def scaling_queries() -> list[str]:
    """Those by which Kubernetes scales the workers."""
    found = []
    for path in DEPLOY.glob("kubernetes/**/*.yaml"):
        for doc in filter(None, yaml.safe_load_all(path.read_text())):
            if doc.get("kind") == "ScaledObject":
                metadata = [trigger["metadata"] for trigger in doc["spec"]["triggers"]]
                found += [each["query"] for each in metadata if "query" in each]
    return found


def test_the_number_that_workers_are_scaled_on_is_one_number(watched):
    for query in scaling_queries() or [SCALED_ON]:
        assert len(watched.query(query)) == 1, query


def exposed(watched: Watched) -> dict[str, str]:
    answers = {"api": watched.api.get("/metrics"), "worker": watched.worker.get("/metrics")}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {name: answer.text for name, answer in answers.items()}


def test_promtool_has_nothing_to_say_against_the_names(watched):
    for name, text in exposed(watched).items():
        done = promtool("check", "metrics", stdin=text)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), name


def test_every_metric_is_looked_at_and_every_metric_looked_at_is_there(watched):
    lines = [line for text in exposed(watched).values() for line in text.splitlines()]
    defined = {line.split()[2] for line in lines if line.startswith("# TYPE hubel_")}
    asked = [target.get("expr", "") for board in boards().values() for _, target in targets(board)]
    asked += [rule["expr"] for rule in rules()] + scaling_queries()
    used = {base_name(name, defined) for text in asked for name in METRIC.findall(text)}
    recorded = {rule["record"].split(":")[1] for rule in rules() if "record" in rule}
    assert used - defined - recorded == set(), "nobody serves these"
    unseen = {name for name in defined - used if not name.endswith(tuple(UNSEEN))}
    assert unseen == set(), "nobody looks at these"


# --- Infinity ---


def fill(watched: Watched, url: str, metric: str) -> str:
    id = watched.failed if url.endswith("/failures") else watched.succeeded
    hour, now = 3_600_000, int(time.time() * 1000)
    span = {"__from": str(now - hour), "__to": str(now + hour)}
    return interpolated(url, {"experiment": id, "run": LAST_RUN, "metric": metric, **span})


def test_every_query_of_the_science_dashboard_is_answered_with_the_columns_that_it_names(watched):
    wrong = []
    for where, target in targets(boards()["science"]):
        answer = infinity(watched.api, fill(watched, target["url"], "test_accuracy"))
        assert answer.status_code == 200, (where, answer.text)
        at_root = found_at(answer.json(), target["root_selector"])
        found = at_root if isinstance(at_root, list) else [at_root]
        found = kept(found, target.get("filterExpression", ""))
        assert found, (where, "has no rows")
        wrong += [(where, one["selector"]) for one in target["columns"] if not fits(one, found)]
    assert not wrong


def fits(column: dict, found: list[dict]) -> bool:
    """Whether some row has it, and all that have it are of its type, or null."""
    values = []
    for row in found:
        try:
            values.append(found_at(row, column["selector"]))
        except KeyError:
            continue
    known = [value for value in values if value is not None]
    match column["type"]:
        case "number":
            return bool(values) and all(isinstance(v, int | float) for v in known)
        case "timestamp":
            return bool(values) and all(rows.moment(v, column["selector"]) for v in known)
    return bool(values)


def test_every_choice_of_a_metric_is_a_metric(watched):
    (variable,) = (v for v in boards()["science"]["templating"]["list"] if v["name"] == "metric")
    chosen = variable["query"].split(",")
    assert [option["value"] for option in variable["options"]] == chosen
    urls = {t["url"] for _, t in targets(boards()["science"]) if "${metric}" in t["url"]}
    for url in urls:
        for metric in chosen:
            assert watched.api.get(fill(watched, url, metric)).json(), (url, metric)


def test_the_deficits_of_the_chosen_run_lie_within_the_experiments_span(watched):
    path = f"/v1/experiments/{watched.succeeded}"
    status, windows = watched.api.get(path).json(), {}
    for run in watched.api.get(f"{path}/runs?page_size=200").json()["runs"]:
        marks = watched.api.get(f"{path}/annotations", params={"run": run["run"]}).json()
        (window,) = run["windows"]
        assert len(marks) == (window["end"] > 0)
        for mark in marks:
            assert status["created"] == mark["time"] < mark["timeEnd"] <= status["finished"]
            assert (mark["title"], mark["tags"]) == ("blur(resolution=4)", "blur")
            windows[window["end"]] = mark["timeEnd"]
    assert list(windows.values()) == sorted(set(windows.values()))
    everything = watched.api.get(f"{path}/annotations").json()
    assert [mark["timeEnd"] for mark in everything] == list(windows.values())


def test_the_plugins_own_headers_are_answered_with_json_or_csv(watched):
    path = f"/v1/experiments/{watched.succeeded}"
    for part in ("/metrics?shape=wide", "/metrics?shape=rows&metric=test_loss", "/annotations",
                 "/fisher?shape=rows", "/figures/critical_period"):  # fmt: skip
        answer = infinity(watched.api, path + part)
        assert answer.status_code == 200, (part, answer.text)
        assert answer.headers["content-type"] == "application/json", part
    for part in ("/metrics?shape=wide&format=csv", "/fisher?format=csv",
                 "/figures/critical_period"):  # fmt: skip
        answer = infinity(watched.api, path + part, "csv")
        assert answer.status_code == 200, (part, answer.text)
        assert answer.headers["content-type"].startswith("text/csv"), part
        assert len(answer.text.splitlines()) > 3


def test_a_dashboards_range_keeps_what_lies_in_it(watched):
    """`from` and `to` as Grafana gives them, in milliseconds."""
    path = f"/v1/experiments/{watched.succeeded}"
    status = watched.api.get(path).json()
    begin, end = (rows.moment(status[name], name).timestamp() for name in ("created", "finished"))
    middle = int(1000 * (begin + end) / 2)
    url = f"{path}/metrics?metric=test_loss&time=experiment"
    whole = infinity(watched.api, url).json()
    first = infinity(watched.api, f"{url}&to={middle}").json()
    second = infinity(watched.api, f"{url}&from={middle + 1}").json()
    assert 0 < len(first) < len(whole)
    assert len(first) + len(second) == len(whole)
    limit = rows.moment(str(middle), "to")
    assert all(rows.moment(row["time"], "time") <= limit for row in first)


def test_a_variable_is_a_text_and_a_value(watched):
    chosen = {
        variable["name"]: {column["text"]: column["selector"] for column in columns}
        for variable in boards()["science"]["templating"]["list"]
        if variable["type"] == "query"
        for columns in [variable["query"]["infinityQuery"]["columns"]]
    }
    assert chosen["experiment"] == {"__text": "name", "__value": "id"}
    listed = infinity(watched.api, "/v1/experiments?page_size=200").json()["experiments"]
    assert {one["id"] for one in listed} == {watched.succeeded, watched.failed}
