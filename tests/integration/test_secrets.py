"""No secret in a log, a stored object or a list of processes; also where something goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from small import body

from deploy.local import LocalMode
from deploy.servers import free_ports
from shared.settings import Settings
from shared.storage import Storage

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

ADMIN = "7c1f0a3d9be24e5f8a6b7c8d9e0f1a2b3c4d5e6f"
READER = "0b9d4c2e7f1a3856b0c1d2e3f4a5968778695a4b"
WRONG = "wrong-9f8e7d6c5b4a39281706f5e4d3c2b1a0"
SPEC = body(dataset={"name": "gratings", "train_samples": 128, "test_samples": 64})


def command_lines() -> str:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return "\n".join(found)


def hubel(url: str, token: str, *arguments: str, input: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        env=os.environ | {"HUBEL_URL": url, "HUBEL_TOKEN": token},
        input=input, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert token not in done.stdout + done.stderr
    return done.stdout.strip()


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return held


def bucket(settings: Settings) -> Iterator[tuple[str, bytes]]:
    store = Storage(settings)
    return ((name, store.read(name)) for name in store.names(""))


def signature(link: str) -> str:
    return parse_qs(urlsplit(link).query)["X-Amz-Signature"][0]


def test_no_secret_is_told_in_a_run_with_tokens_that_stumbles(tmp_path: Path) -> None:
    (metrics_port,) = free_ports(1)
    env = {
        "HUBEL_ADMIN_TOKEN": ADMIN,
        "HUBEL_READ_TOKEN": READER,
        "HUBEL_METRICS_PORT": str(metrics_port),
        "HUBEL_LOG_FORMAT": "json",
        "HUBEL_REQUIRE_TOKENS": "true",
        "HUBEL_LOG_LEVEL": "debug",
    }
    with LocalMode(tmp_path / "data", env=env) as local:
        token = hubel(local.url, ADMIN, "token", "create", "us", "--scope", "submit")
        id = hubel(local.url, token, "submit", "-", "--watch", input=json.dumps(SPEC))
        assert hubel(local.url, token, "results", id)
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=local.url, headers=headers, timeout=60) as http:
            kept = http.get(f"/v1/experiments/{id}/checkpoints").json()["checkpoints"]
            link = http.get(kept[0]["links"]["self"]).json()["link"]
            assert http.get(link, headers={"Authorization": ""}).status_code == 200
            assert http.get("/v1/tokens").status_code == 403
            assert http.get("/v1/tokens", headers={"Authorization": ADMIN}).status_code == 401
            by = http.get(f"/v1/experiments/{id}").json()["submitted_by"]
            assert by == {"id": token.split("_")[1], "name": "us"}
            os.kill(local.pids["store"], signal.SIGKILL)
            os.kill(local.pids["redis"], signal.SIGKILL)
            answers = [http.post("/v1/experiments", json=SPEC | {"seeds": [7]}) for _ in range(2)]
            assert answers[0].status_code in (202, 503)
            assert within(90, lambda: http.get("/readyz").json().get("status") == "ready")
            reads = {"Authorization": f"Bearer {READER}"}
            metrics = http.get("/metrics", headers=reads).text
            metrics += httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text
            assert metrics.count("hubel_build_info{") == 2
        lines = command_lines()
        stored = list(bucket(local.settings))
        credentials = vars(local.credentials)
    log = "\n".join(file.read_text() for file in (tmp_path / "data").glob("hubel.log*"))
    assert "DEBUG" in log  # all that can be said is said
    assert len(stored) > 20
    secrets = {"admin": ADMIN, "reader": READER, "token": token.rsplit("_", 1)[1], **credentials}
    for what, secret in secrets.items():
        assert secret not in log, what
        assert secret not in lines, what
        assert secret not in metrics, what
        for name, data in stored:
            assert secret not in name, what
            assert secret.encode() not in data, (what, name)
    for text in (log, "".join(answer.text for answer in answers)):
        assert signature(link) not in text
        assert "X-Amz-Signature" not in text
    assert not any(b"X-Amz-Signature" in data for _, data in stored)


def said_by(module: str, settings: Settings, ask: Callable[[str], Any], **other: str) -> str:
    """What a process says that is given other credentials, and what it answers."""
    port = free_ports(1)[0]
    env = {k: v for k, v in os.environ.items() if not k.startswith("HUBEL_")} | {
        "HUBEL_S3_ENDPOINT": settings.s3_endpoint,
        "HUBEL_S3_BUCKET": settings.s3_bucket,
        "HUBEL_S3_ACCESS_KEY": settings.s3_access_key.get_secret_value(),
        "HUBEL_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        "HUBEL_REDIS_URL": settings.redis_url.get_secret_value(),
        "HUBEL_PORT": str(port),
        "HUBEL_LOG_LEVEL": "debug",
        "HUBEL_LOG_FORMAT": "text",
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        env=env | {f"HUBEL_{name.upper()}": value for name, value in other.items()},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        answers = ask(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        said, _ = process.communicate(timeout=30)
    return f"{said}\n{answers}"


def asked(url: str) -> str:
    def answers() -> bool:
        try:
            return httpx.get(f"{url}/readyz", timeout=30).status_code > 0
        except httpx.TransportError:
            return False

    assert within(60, answers)
    texts = [
        httpx.get(f"{url}/readyz", timeout=60).text,
        httpx.post(f"{url}/v1/experiments", json=SPEC, timeout=60).text,
        httpx.get(f"{url}/v1/checkpoints/{'0' * 64}", timeout=60).text,
    ]
    return "\n".join(texts)


def waited(_: str) -> str:
    time.sleep(12)
    return ""


def assert_untold(text: str, settings: Settings) -> None:
    url = settings.redis_url.get_secret_value()
    for secret in (
        WRONG, urlsplit(url).password or "-", settings.s3_secret_key.get_secret_value(),
        settings.s3_access_key.get_secret_value(), "X-Amz-Signature",
    ):  # fmt: skip
        assert secret not in text


@pytest.mark.parametrize(
    "wrong", [{"s3_secret_key": WRONG}, {"s3_access_key": WRONG}], ids=lambda one: next(iter(one))
)
def test_a_store_that_refuses_is_spoken_of_without_credentials(
    settings: Settings, storage: Storage, wrong: dict[str, str]
) -> None:
    text = said_by("api.main", settings, asked, **wrong)
    assert "refuses our credentials" in text
    assert_untold(text, settings)


def test_a_redis_that_refuses_is_spoken_of_without_its_password(
    settings: Settings, storage: Storage
) -> None:
    host = urlsplit(settings.redis_url.get_secret_value())
    wrong = f"redis://:{WRONG}@{host.hostname}:{host.port}/0"
    text = said_by("api.main", settings, asked, redis_url=wrong)
    assert "redis does not answer" in text
    assert_untold(text, settings)
    text = said_by("worker.main", settings, waited, redis_url=wrong)
    assert "password" in text.lower()
    assert_untold(text, settings)


def test_a_link_only_reads_and_only_for_a_while(settings: Settings, storage: Storage) -> None:
    storage.write("probe/linked", b"bytes")
    link = storage.link("probe/linked", 2)
    with httpx.Client(trust_env=False) as http:
        assert http.get(link).content == b"bytes"
        for method in ("PUT", "DELETE", "POST"):
            assert http.request(method, link, content=b"other").status_code in (403, 405), method
        elsewhere = link.replace("probe/linked", "probe/other")
        assert http.get(elsewhere).status_code == 403
        bare = link.partition("?")[0]
        assert http.get(bare).status_code == 403
        time.sleep(3)
        assert http.get(link).status_code == 403
    assert storage.read("probe/linked") == b"bytes"


def test_links_are_good_for_a_quarter_of_an_hour() -> None:
    assert Settings.model_fields["link_seconds"].default == 900
