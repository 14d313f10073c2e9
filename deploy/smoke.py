"""Tries a running service as a user would, with the standard library alone, and says what it tried.

    python3 deploy/smoke.py [--url http://127.0.0.1:8000] [--wait 300]

The token comes from HUBEL_TOKEN or HUBEL_ADMIN_TOKEN, of the environment or else of the .env beside
the compose file. It submits a sweep of 9 small runs, twice: the second has to train nothing. Exit
status 1 where something is not as it should be.
"""

import argparse
import contextlib
import hashlib
import json
import os
import sys
import time
import uuid
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

Json = dict[str, Any]

SWEEP: Json = {
    "name": "smoke test",
    "dataset": {"name": "gratings", "train_samples": 256, "test_samples": 128},
    "model": {"name": "all_cnn", "width": 0.08},
    "training": {"epochs_after_deficit": 4, "batch_size": 64, "augmentation": {"shift": 2}},
    "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
    "sweep": {"deficit.end": [0, 2, 4]},
    "seeds": [0, 1, 2],
    "fisher": {"every": 2, "samples": 64},
    "tags": {"for": "smoke"},
}
ENDED = ("succeeded", "failed", "cancelled")
PAUSE_SECONDS = 0.5
AWAY = (URLError, HTTPException, OSError)
"""Nobody answers, or not to the end."""


class Wrong(Exception):
    """What is not as it should be."""


class Service:
    def __init__(self, url: str, token: str | None) -> None:
        self.url, self.token = url.rstrip("/"), token
        self._open = build_opener(ProxyHandler({})).open  # lab addresses are not a proxy's to see

    def ask(
        self, method: str, path: str, body: Json | None = None, token: bool = True, key: str = ""
    ) -> tuple[int, bytes]:
        """Status and body, of refusals too; URLError where nobody answers."""
        headers = {"Accept": "*/*"} | ({"Idempotency-Key": key} if key else {})
        if token and self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        address = path if path.startswith("http") else self.url + path
        request = Request(address, data, headers, method=method)  # noqa: S310
        try:
            with self._open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except HTTPError as refusal:
            return refusal.code, refusal.read()

    def json(self, method: str, path: str, body: Json | None = None, key: str = "") -> Any:
        status, data = self.ask(method, path, body, key=key)
        if status >= 400:
            raise Wrong(f"{method} {path} was answered {status}: {data.decode()[:500]}")
        return json.loads(data)

    def pages(self, path: str, part: str) -> list[Json]:
        found: list[Json] = []
        token = ""
        while True:
            query = urlencode({"page_size": 200} | ({"page_token": token} if token else {}))
            page = self.json("GET", f"{path}?{query}")
            found += page[part]
            token = page.get("next_page_token") or ""
            if not token:
                return found


def is_ready(service: Service) -> str:
    """ "" or why not."""
    try:
        status, data = service.ask("GET", "/readyz", token=False)
    except AWAY as error:
        return f"{service.url} does not answer: {error}"
    ready = status == 200 and b'"status":"ready"' in data.replace(b" ", b"")
    return "" if ready else f"{status}: {data.decode(errors='replace')[:300]}"


def wait_ready(service: Service, seconds: float) -> None:
    until = time.monotonic() + seconds
    while reason := is_ready(service):
        if time.monotonic() > until:
            raise Wrong(f"not ready after {seconds:.0f} s: {reason}")
        time.sleep(PAUSE_SECONDS)


def submit(service: Service, spec: Json) -> str:
    """The same key twice, as after a lost answer: one experiment."""
    key = str(uuid.uuid4())
    first, second = (service.json("POST", "/v1/experiments", spec, key)["id"] for _ in range(2))
    if first != second:
        raise Wrong(f"one Idempotency-Key made two experiments: {first} and {second}")
    return str(first)


def wait_ended(service: Service, id: str, seconds: float) -> Json:
    """The status at its end. A service that is away meanwhile is waited for."""
    until = time.monotonic() + seconds
    while True:
        status, data = 0, b"nobody answers"
        with contextlib.suppress(*AWAY):
            status, data = service.ask("GET", f"/v1/experiments/{id}")
        found = json.loads(data) if status == 200 else {}
        if found.get("state") in ENDED:
            if found["state"] != "succeeded":
                raise Wrong(f"experiment {id} has {found['state']}: {found['failures']}")
            return dict(found)
        if time.monotonic() > until:
            raise Wrong(f"experiment {id} has not ended after {seconds:.0f} s: {data.decode()}")
        time.sleep(PAUSE_SECONDS)


def results_digest(service: Service, id: str) -> str:
    """Of all numbers and all weights: SHA-256 of every run's checkpoints and rows without times."""
    rows = json.loads(
        service.ask("GET", f"/v1/experiments/{id}/metrics?shape=wide&page_size=100000")[1]
    )
    checkpoints = service.pages(f"/v1/experiments/{id}/checkpoints", "checkpoints")
    weights = sorted(
        (run, one["epoch"], one["sha256"]) for one in checkpoints for run in one["runs"]
    )
    numbers = [{k: v for k, v in row.items() if "time" not in k} for row in rows]
    if not weights or not numbers:
        raise Wrong(f"experiment {id} has {len(weights)} checkpoints and {len(numbers)} rows")
    return hashlib.sha256(json.dumps([numbers, weights], sort_keys=True).encode()).hexdigest()


def check_door(service: Service) -> str:
    status, _ = service.ask("GET", "/v1/experiments", token=False)
    if service.token and status != 401:
        raise Wrong(f"without a token GET /v1/experiments was answered {status}, not 401")
    return "refused without a token" if status == 401 else "open to this machine's programs"


def check_plan(service: Service) -> str:
    plan = service.json("POST", "/v1/experiments?dry_run=true", SWEEP)["plan"]
    if plan["runs"] != 9:
        raise Wrong(f"the dry run plans {plan['runs']} runs, not 9")
    return f"dry run: {plan['runs']} runs, {plan['epochs']['new']} epochs to train"


def check_results(service: Service, id: str) -> str:
    points = service.json("GET", f"/v1/experiments/{id}/summary")["points"]
    if [point["n"] for point in points] != [3, 3, 3]:
        raise Wrong(f"the summary does not have three points of three seeds: {points}")
    status, data = service.ask("GET", f"/v1/experiments/{id}/figures/critical_period?format=svg")
    if status != 200 or b"<svg" not in data[:1000]:
        raise Wrong(f"the figure was answered {status}: {data[:200]!r}")
    means = ", ".join(f"{100 * point['mean']:.1f} %" for point in points)
    return f"final accuracy {means}; figure of {len(data)} bytes"


def check_link(service: Service, id: str) -> str:
    one = service.pages(f"/v1/experiments/{id}/checkpoints", "checkpoints")[0]
    link = service.json("GET", one["links"]["self"])["link"]
    try:
        status, data = service.ask("GET", link, token=False)
    except AWAY:
        return "a checkpoint has a link, which is not reached from here (HUBEL_S3_PUBLIC_ENDPOINT)"
    if status != 200 or hashlib.sha256(data).hexdigest() != one["sha256"]:
        raise Wrong(f"checkpoint {one['key']} was answered {status} and does not verify")
    return f"a checkpoint of {len(data)} bytes was downloaded and verifies"


def check_again(service: Service, seconds: float) -> str:
    again = wait_ended(service, submit(service, SWEEP), seconds)
    if again["plan"]["epochs"]["new"] or again["progress"]["epochs"]["trained"]:
        raise Wrong(f"the same sweep again trains: {again['plan']['epochs']}")
    return "the same sweep again: nothing was trained"


def check_metrics(service: Service) -> str:
    status, data = service.ask("GET", "/metrics")
    if status != 200 or b"\nhubel_planned_epochs_total" not in data:
        raise Wrong(f"/metrics was answered {status}: {data[:200]!r}")
    return f"/metrics has {data.count(b'# TYPE hubel_')} families"


def run(service: Service, seconds: float) -> str:
    """The digest of the sweep's results."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    wait_ready(service, seconds)
    say("ready")
    say(check_door(service))
    say(check_plan(service))
    id = submit(service, SWEEP)
    say(f"submitted {id}, once for two requests of one key")
    status = wait_ended(service, id, seconds)
    say(f"succeeded: {status['progress']['epochs']['trained']} epochs trained")
    for check in (check_results, check_link):
        say(check(service, id))
    say(check_again(service, seconds))
    say(check_metrics(service))
    digest = results_digest(service, id)
    say(f"results {digest}")
    return digest


def token_here() -> str | None:
    if token := os.environ.get("HUBEL_TOKEN") or os.environ.get("HUBEL_ADMIN_TOKEN"):
        return token
    env = Path(__file__).parent.parent / ".env"
    if not env.exists():
        return None
    lines = [line.partition("=") for line in env.read_text().splitlines()]
    named = {name: value for name, _, value in lines}
    return named.get("HUBEL_TOKEN") or named.get("HUBEL_ADMIN_TOKEN")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--url", default=os.environ.get("HUBEL_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--wait", type=float, default=300, help="seconds, for each thing")
    options = parser.parse_args()
    try:
        run(Service(options.url, token_here()), options.wait)
    except (Wrong, *AWAY, KeyError, ValueError) as error:
        sys.exit(f"smoke: {type(error).__name__}: {error}")
    print("smoke: all is as it should be")


if __name__ == "__main__":
    main()
