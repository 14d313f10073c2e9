"""Who may do what, over HTTP, on a real store and a real Redis."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from click.testing import CliRunner
from freezing import frozen
from serving import serving
from small import body

from api import auth, cli, events
from api.main import refusal
from shared import names
from shared.settings import Settings
from shared.storage import Storage
from shared.tokens import FORM, NewToken, Tokens

pytestmark = pytest.mark.services

ADMIN = "a" * 40
SPEC = body(dataset={"name": "gratings", "train_samples": 128, "test_samples": 64})


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    """As on a network: nobody without a token."""
    return settings.model_copy(
        update={
            "require_tokens": True,
            "admin_token": Settings(admin_token=ADMIN).admin_token,
            "reconcile_seconds": 60.0,
        }
    )


@pytest.fixture
def url(guarded: Settings, storage: Storage) -> Iterator[str]:
    with serving(guarded) as url:
        yield url


Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(url: str) -> Iterator[Ask]:
    """ask(token, method, path, ...)"""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:

        def asked(token: str | None, method: str, path: str, **parts: Any) -> httpx.Response:
            headers = parts.pop("headers", {})
            if token is not None:
                headers = headers | {"Authorization": f"Bearer {token}"}
            return client.request(method, path, headers=headers, **parts)

        yield asked


def make(ask: Ask, *scopes: str, **more: Any) -> dict[str, Any]:
    answer = ask(ADMIN, "POST", "/v1/tokens", json={"name": "ours", "scopes": scopes, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def operations(ask: Ask) -> Iterator[tuple[str, str, dict[str, Any]]]:
    document = ask(None, "GET", "/openapi.json").json()
    for path, of_path in document["paths"].items():
        for method, operation in of_path.items():
            yield method, path.replace("{id}", "0" * 24).replace("{key}", "0" * 64), operation


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)
    return str(answer.json()["detail"])


def test_every_operation_but_health_wants_a_token_and_says_so(ask: Ask) -> None:
    open_ones = set()
    for method, path, operation in operations(ask):
        if "security" not in operation:
            open_ones.add(path)
            continue
        assert {"401", "403", "429"} <= set(operation["responses"])
        assert [*operation["security"][0]] == ["token"]
        assert "token is needed" in ask(None, method, path).json()["title"].lower()
        for wrong in ("nonsense", "hubel_" + "0" * 20 + "_" + "0" * 64, ADMIN + "a", "-"):
            problem(ask(wrong, method, path), 401)
    assert open_ones == {"/healthz", "/readyz"}


def test_a_header_of_another_scheme_is_no_token(ask: Ask) -> None:
    basic = {"Authorization": "Basic YTpi"}
    assert "'Bearer'" in problem(ask(None, "GET", "/v1/models", headers=basic), 401)
    lower = {"Authorization": f"bearer {ADMIN}"}
    assert ask(None, "GET", "/v1/models", headers=lower).status_code == 200


def test_each_operation_needs_the_scope_that_it_declares(ask: Ask) -> None:
    order = ("read", "submit", "admin")
    tokens = {scope: make(ask, scope)["token"] for scope in order}
    seen = set()
    for method, path, operation in operations(ask):
        if "security" not in operation:
            continue
        needed = max(operation["security"][0]["token"], key=order.index)
        seen.add(needed)
        assert needed != "read" or method == "get"
        for scope, token in tokens.items():
            answer = ask(token, method, path)
            if order.index(scope) < order.index(needed):
                assert f"scope '{needed}'" in problem(answer, 403)
            else:
                assert answer.status_code not in (401, 403), (method, path, answer.text)
    assert seen == set(order)


def test_a_token_is_shown_once_and_kept_as_a_hash(ask: Ask, storage: Storage) -> None:
    made = make(ask, "submit", device_seconds=10, expires="2030-01-01T00:00:00+01:00")
    assert FORM.fullmatch(made["token"])
    assert made["scopes"] == ["read", "submit"]
    assert made["expires"] == "2029-12-31T23:00:00.000Z"
    shown = ask(ADMIN, "GET", f"/v1/tokens/{made['id']}").json()
    assert shown == {name: value for name, value in made.items() if name != "token"}
    listed = ask(ADMIN, "GET", "/v1/tokens").json()
    assert listed["tokens"] == [shown]
    secret = made["token"].rsplit("_", 1)[1]
    kept = [storage.read(name) for name in storage.names("tokens/")]
    assert kept
    assert not any(secret.encode() in data for data in kept)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": ["read"]}, "/name"),
        ({"name": "x"}, "/scopes"),
        ({"name": "x", "scopes": []}, "/scopes"),
        ({"name": "x", "scopes": ["root"]}, "/scopes/0"),
        ({"name": "x", "scopes": ["read"], "expires": "2020-01-01T00:00:00Z"}, "/expires"),
        ({"name": "x", "scopes": ["read"], "expires": "9999-12-31T23:59:59-23:59"}, "/expires"),
        ({"name": "x", "scopes": ["read"], "expires": "2030-01-01T00:00:00"}, "/expires"),
        ({"name": "x", "scopes": ["read"], "requests_per_minute": 0}, "/requests_per_minute"),
        ({"name": "x", "scopes": ["read"], "device_seconds": -1}, "/device_seconds"),
        ({"name": "x", "scopes": ["read"], "id": "x"}, "/id"),
    ],
)
def test_an_impossible_token_is_refused_by_field(
    ask: Ask, body: dict[str, Any], pointer: str
) -> None:
    answer = ask(ADMIN, "POST", "/v1/tokens", json=body)
    problem(answer, 422)
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_revoked_token_ends_within_seconds_in_every_process(
    ask: Ask, guarded: Settings, storage: Storage
) -> None:
    made = make(ask, "read")
    headers = {"Authorization": f"Bearer {made['token']}"}
    with serving(guarded) as other, httpx.Client(base_url=other, trust_env=False) as replica:
        assert replica.get("/v1/models", headers=headers).status_code == 200
        path = f"/v1/tokens/{made['id']}"
        assert ask(ADMIN, "DELETE", path).status_code == 204
        assert "was revoked at" in problem(ask(made["token"], "GET", "/v1/models"), 401)
        deadline = time.monotonic() + auth.FRESH_SECONDS + 1
        while replica.get("/v1/models", headers=headers).status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        problem(replica.get("/v1/models", headers=headers), 401)
    first = ask(ADMIN, "GET", path).json()
    assert first["state"] == "revoked"
    assert ask(ADMIN, "DELETE", path).status_code == 204
    assert ask(ADMIN, "GET", path).json() == first
    problem(ask(ADMIN, "DELETE", "/v1/tokens/" + "0" * 20), 404)
    problem(ask(ADMIN, "DELETE", "/v1/tokens/x"), 404)


def test_a_stream_ends_with_its_token(ask: Ask, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.1)
    made = make(ask, "read")
    id = ask(ADMIN, "POST", "/v1/experiments", json=SPEC).json()["id"]
    headers = {"Authorization": f"Bearer {made['token']}"}
    with (
        httpx.Client(base_url=url, timeout=10, trust_env=False) as client,
        client.stream("GET", f"/v1/experiments/{id}/events", headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        until = time.monotonic() + auth.FRESH_SECONDS + 1
        while time.monotonic() < until:
            next(lines)
        assert ask(ADMIN, "DELETE", f"/v1/tokens/{made['id']}").status_code == 204
        until = time.monotonic() + auth.FRESH_SECONDS + 2
        for line in lines:
            assert time.monotonic() < until
            assert line != "event: end"


def test_an_upload_whose_token_ends_on_the_way_stores_nothing(ask: Ask, storage: Storage) -> None:
    made = make(ask, "submit")
    file = io.BytesIO()
    images, labels = np.zeros((8, 8, 8, 3), np.uint8), np.arange(8) % 2
    np.savez(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    whole = file.getvalue()

    def slowly() -> Iterator[bytes]:
        yield whole[:100]
        time.sleep(0.5)  # it is admitted, and the rest is under way
        assert ask(ADMIN, "DELETE", f"/v1/tokens/{made['id']}").status_code == 204
        time.sleep(auth.FRESH_SECONDS + 0.5)
        yield whole[100:]

    said = problem(ask(made["token"], "PUT", "/v1/datasets/ours", content=slowly()), 401)
    assert "ended while the request was under way" in said
    assert list(storage.names("datasets/")) == []
    again = make(ask, "submit")["token"]
    stored = ask(again, "PUT", "/v1/datasets/ours", content=whole)
    assert stored.status_code == 201, stored.text


def test_damage_neither_ends_a_token_nor_brings_back_a_revoked_one(
    storage: Storage,
) -> None:
    tokens = Tokens(storage)
    made, _ = tokens.make(NewToken(name="x", scopes=["read"]), "test")
    for end in (None, tokens.revoke):
        if end is not None:
            end(made.id)
        state = tokens.find(made.id).state
        for name in storage.names("tokens/"):
            storage.write(name, storage.read(name).replace(b"20", b"21"))
        assert tokens.find(made.id).state == state
    assert state == "revoked"


def test_a_token_that_is_damaged_twice_hides_no_other_and_can_be_revoked(
    ask: Ask, storage: Storage
) -> None:
    lost, other = make(ask, "read"), make(ask, "read")
    for name in (names.token(lost["id"]), names.copy(names.token(lost["id"]))):
        storage.write(name, storage.read(name).replace(b"20", b"21"))
    listed = ask(ADMIN, "GET", "/v1/tokens").json()
    assert other["id"] in [token["id"] for token in listed["tokens"]]
    assert [token["id"] for token in listed["unreadable"]] == [lost["id"]]
    assert ask(ADMIN, "DELETE", f"/v1/tokens/{lost['id']}").status_code == 204
    assert storage.exists(names.revocation(lost["id"]))


def test_a_token_expires(ask: Ask) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    made = make(ask, "read", expires=soon)
    assert ask(made["token"], "GET", "/v1/models").status_code == 200
    time.sleep(5.1)
    assert "was expired at" in problem(ask(made["token"], "GET", "/v1/models"), 401)
    assert ask(ADMIN, "GET", f"/v1/tokens/{made['id']}").json()["state"] == "expired"


def test_a_rate_is_kept_by_all_processes_together(ask: Ask, guarded: Settings) -> None:
    made = make(ask, "submit", requests_per_minute=6)
    if time.time() % 60 > 50:  # the minute would end in between
        time.sleep(61 - time.time() % 60)
    with serving(guarded) as other, httpx.Client(base_url=other, trust_env=False) as replica:
        headers = {"Authorization": f"Bearer {made['token']}"}
        statuses = [replica.get("/v1/models", headers=headers).status_code for _ in range(3)]
        # A submission passes two checks of scope and is one request.
        answers = [
            ask(made["token"], "POST", "/v1/experiments?dry_run=true", json=SPEC) for _ in range(5)
        ]
        statuses += [answer.status_code for answer in answers]
    assert statuses == [200] * 6 + [429] * 2
    assert "6 times a minute" in problem(answers[-1], 429)
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    assert ask(ADMIN, "GET", "/v1/models").status_code == 200


def test_without_redis_nobody_counts_and_nobody_is_refused(
    ask: Ask, servers: Any, guarded: Settings
) -> None:
    made = make(ask, "read", requests_per_minute=1)
    assert ask(made["token"], "GET", "/v1/models").status_code == 200
    with frozen(servers.redis.pid):
        assert ask(made["token"], "GET", "/v1/models").status_code == 200
    with redis.Redis.from_url(guarded.redis_url.get_secret_value()) as client:
        client.flushall()
    assert ask(made["token"], "GET", "/v1/models").status_code == 200


def test_keys_are_each_principals_own_and_the_spec_says_who_submitted(
    ask: Ask, storage: Storage
) -> None:
    one, two = make(ask, "submit"), make(ask, "submit")
    key = {"Idempotency-Key": "same"}
    ids = [
        ask(token, "POST", "/v1/experiments", json=SPEC, headers=key).json()["id"]
        for token in (one["token"], two["token"], one["token"], ADMIN)
    ]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3
    for id, who in zip(ids, (one["id"], two["id"], one["id"], "admin"), strict=True):
        by = storage.read_json(f"experiments/{id}/spec.json")["submitted_by"]
        assert by["id"] == who
        assert ask(two["token"], "GET", f"/v1/experiments/{id}").json()["submitted_by"] == by


# --- on loopback ---


def test_on_loopback_no_token_is_needed_and_a_given_one_counts(
    settings: Settings, storage: Storage
) -> None:
    _, read = Tokens(storage).make(NewToken(name="x", scopes=["read"]), "test")
    with serving(settings) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/v1/tokens").status_code == 200
        assert client.post("/v1/experiments?dry_run=true", json=SPEC).status_code == 200
        headers = {"Authorization": f"Bearer {read}"}
        assert client.get("/v1/models", headers=headers).status_code == 200
        answer = client.post("/v1/experiments?dry_run=true", json=SPEC, headers=headers)
        problem(answer, 403)
        problem(client.get("/v1/models", headers={"Authorization": "Bearer x"}), 401)
        document = client.get("/openapi.json").json()
        assert document["paths"]["/v1/models"]["get"]["security"][0] == {}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("attacker.example", 401), ("attacker.example:8000", 401), ("LOCALHOST:1", 200),
        ("127.0.0.1", 200), ("[::1]:8000", 200), ("app.localhost:8000", 200), ("hubel", 200),
        ("10.0.0.1:8000", 200), ("127.0.0.1.attacker.example", 401), ("attacker.example.", 401),
    ],
)  # fmt: skip
def test_a_web_page_whose_domain_points_to_loopback_is_not_this_machine(
    settings: Settings, storage: Storage, host: str, status: int
) -> None:
    with serving(settings) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/v1/models", headers={"Host": host}).status_code == status


def test_a_service_on_a_network_starts_once_the_store_holds_a_live_token(
    settings: Settings, storage: Storage
) -> None:
    everywhere = settings.model_copy(update={"host": "0.0.0.0"})
    assert "there is no token" in (refusal(everywhere) or "")
    made, _ = Tokens(storage).make(NewToken(name="x", scopes=["admin"]), "test")
    assert refusal(everywhere) is None
    Tokens(storage).revoke(made.id)
    assert "there is no token" in (refusal(everywhere) or "")


def test_the_command_line_makes_lists_and_revokes_tokens(url: str) -> None:
    def hubel(token: str, *arguments: str) -> Any:
        env = {"HUBEL_URL": url, "HUBEL_TOKEN": token}
        return CliRunner().invoke(cli.main, arguments, env=env)

    limits = ("--scope", "submit", "--rate", "100", "--quota", "60", "--days", "7")
    made = hubel(ADMIN, "token", "create", "a student", *limits)
    assert made.exit_code == 0, made.output
    token = made.stdout.strip()
    id = FORM.fullmatch(token)[1]  # type: ignore[index]
    assert hubel(token, "list").exit_code == 0
    listed = hubel(ADMIN, "token", "list")
    for part in (id, "live", "submit", "a student", "100 requests", "0 of 60 device seconds"):
        assert part in listed.stdout
    assert json.loads(hubel(ADMIN, "token", "list", "--json").stdout)[0]["id"] == id
    refused = hubel(token, "token", "list")
    assert refused.exit_code == 2
    assert "scope 'admin'" in refused.stderr
    assert hubel(ADMIN, "token", "revoke", id).stdout == f"{id} revoked\n"
    ended = hubel(token, "list")
    assert ended.exit_code == 2
    for said in (refused, ended, listed):
        assert token not in said.output
        assert ADMIN not in said.output


def test_many_requests_with_a_new_token_ask_the_store_once(
    url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked = make(ask, "read"), []
    find = Tokens.find
    monkeypatch.setattr(Tokens, "find", lambda *args: (asked.append(1), find(*args))[1])
    statuses: list[int] = []

    def one() -> None:
        headers = {"Authorization": f"Bearer {made['token']}"}
        answer = httpx.get(f"{url}/v1/models", headers=headers, timeout=30, trust_env=False)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 16
    assert len(asked) <= 3  # one, and another where the machine was slow
