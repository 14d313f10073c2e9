"""Whatever is sent, the answer is a problem that names the field and says what is allowed."""

import json
import re
import secrets
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter, ValidationError
from serving import serving

from api import limits
from api.faults import parameter_faults
from shared.arrays import NAMES

pytestmark = pytest.mark.services

MEDIA_TYPE = "application/problem+json"
GOOD = {
    "dataset": {"name": "gratings"},
    "model": {"name": "mlp", "width": 0.01},
    "training": {"epochs": 3},
}


@pytest.fixture(scope="module")
def url(servers: Any) -> Iterator[str]:
    bucket = f"test-{secrets.token_hex(6)}"
    with serving(servers.settings.model_copy(update={"s3_bucket": bucket})) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    assert len(response.content) < 30_000
    body = response.json()
    assert set(body) == {
        "type", "title", "status", "detail", "instance", "errors", "request_id"
    }  # fmt: skip
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    return dict(body)


def post(client: httpx.Client, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(
        "/v1/experiments", content=raw, headers={"Content-Type": "application/json", **headers}
    )


def spec(**parts: Any) -> dict[str, Any]:
    return GOOD | parts


@pytest.mark.parametrize(
    ("body", "pointer", "word"),
    [
        (spec(nmae="x"), "/nmae", "did you mean 'name'"),
        (spec(training={"epochs": 3, "optimiser": {}}), "/training/optimiser", "optimizer"),
        (spec(training={}), "/training/epochs", "epochs_after_deficit"),
        (spec(training=None), "/training", "object"),
        (spec(model={"name": "all_cnn", "width": -1}), "/model/width", "greater than 0"),
        (spec(training={"epochs": 2, "batch_size": 1}), "/training/batch_size", "equal to 2"),
        (spec(model={"name": "all_cnn", "width": "1"}), "/model/width", "valid number"),
        (spec(model={"name": "vgg"}), "/model/name", "'all_cnn', 'resnet18', 'mlp'"),
        (spec(model={}), "/model/name", "'all_cnn', 'resnet18', 'mlp'"),
        (spec(model=[]), "/model", "object"),
        (spec(seeds=[0, 0]), "/seeds", "twice"),
        (spec(seeds=[True]), "/seeds/0", "integer"),
        (spec(seeds=[-1]), "/seeds/0", "greater than or equal to 0"),
        (spec(seeds=[2**53]), "/seeds/0", "2^53"),
        (spec(seeds=["1"] * 9000), "/seeds/0", "integer"),
        (spec(seeds=list(range(20_000))), "/seeds", "10000"),
        (spec(deficit={"name": "blur", "end": 2}, deficits=[{"name": "noise", "end": 1}]),
         "/deficit", "not both"),
        (spec(deficit={"name": "blur", "start": 2, "end": 1}), "/deficit/end", "before"),
        (spec(deficit={"name": "blur", "end": 4}), None, "after the run's 3 epochs"),
        (spec(deficits=[{"name": "noise", "end": 1, "size": 2}]), "/deficits/0/size", "redraw"),
        (spec(dataset={"name": "no-such"}), "/dataset/name", "gratings"),
        (spec(dataset={"name": "../x"}), "/dataset/name", "pattern"),
        (spec(dataset={"name": "gratings", "train_samples": 10**7 + 1}), "/dataset/train_samples",
         "10000000"),
        (spec(dataset={"name": "gratings", "train_samples": 10**6}), "/dataset/train_samples",
         "2000"),
        (spec(sweep={"training.epochs": list(range(1, 1001))}, seeds=list(range(1000))), "/sweep",
         "10000 allowed"),
        (spec(sweep={"seeds": [[1]]}), "/sweep/seeds", "cannot be swept"),
        (spec(sweep={"model.width": [-1]}), "/sweep/model.width", "greater than 0"),
        (spec(sweep={"model.wdith": [1]}), "/sweep/model.wdith", "did you mean 'width'"),
        (spec(sweep={"model.width": [1, 1.0]}), "/sweep/model.width", "twice"),
        (spec(sweep={"deficits.².end": [0]}, deficits=[{"name": "noise", "end": 1}]),
         "/sweep/deficits.².end", "a list of 1"),
        (spec(variants={"a/b": {"model.width": -1}}), "/variants/a~1b/model.width",
         "greater than 0"),
        (spec(deficits=[{"name": "noise", "end": 1},
                        {"name": "blur", "end": 1, "resolution": 16}]),
         "/deficits/1/resolution", "16 pixels"),
        (spec(fisher={"epochs": [100]}), "/fisher/epochs/0", "3 epochs"),
        (spec(checkpoints={"epochs": [3, 4]}), "/checkpoints/epochs/1", "3 epochs"),
        (spec(fisher={"images": ["odd"], "every": 1}), "/fisher/images/0", "'clean'"),
        (spec(fisher={"split": ["test", "test"], "every": 1}), "/fisher/split", "twice"),
        (spec(fisher={"every": 1, "samples": 9, "relative_error": 0.1}), "/fisher/samples",
         "not both"),
        (spec(fisher={"every": 1, "estimator": "variational"}), "/fisher/estimator", "all_cnn"),
        (spec(second_order={"epochs": [1, 9]}), "/second_order/epochs/1", "3 epochs"),
        (
            spec(information_plane={"every": 1, "layers": [-11]}),
            "/information_plane/layers/0",
            "-7 to -1 from the end",
        ),
        (spec(tags={"": "x"}), "/tags/", "at least 1 character"),
        (spec(name="x" * 100_000), "/name", "200"),
        (spec(name="a\0b"), "/name", "NUL"),
        (b'{"name": "\\ud800"}', "/name", "surrogate"),
        (b'{"na\\udfffme": 1}', "", "surrogate"),
        (b'{"training": {"epochs": NaN}}', "/training/epochs", "finite"),
        (b'{"training": {"epochs": -Infinity}}', "/training/epochs", "finite"),
        (b'{"training": {"epochs": 1e999}}', "/training/epochs", "finite"),
        (b'{"seeds": [' + b"9" * 500_000 + b"]}", "/seeds/0", "2^53"),
        (b'{"a/b": {"c~": 1, "c~": 1}}', "/a~1b/c~0", "twice"),
        (b'{"sweep": ' + b"[" * 100 + b"]" * 100 + b"}", None, "32 levels"),
        (b"null", "", "object"),
        (b"[]", "", "object"),
        (b'"x"', "", "object"),
    ],
    ids=lambda value: str(value)[:60] if not isinstance(value, dict) else None,
)  # fmt: skip
def test_a_body_that_says_something_impossible_is_422_and_names_the_field(
    client: httpx.Client, body: bytes | dict[str, Any], pointer: str | None, word: str
) -> None:
    for parameters in ({}, {"dry_run": "true"}):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        answer = client.post("/v1/experiments", params=parameters, content=raw, headers=headers)
        found = problem(answer, 422)
        assert 1 <= len(found["errors"]) <= 20
        first = found["errors"][0]
        assert pointer is None or first["pointer"] == pointer
        assert word in first["message"]
    assert client.get("/v1/experiments").json()["experiments"] == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{'a': 1}", b'{"a": 1} x', b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"[" * 900_000,
     b'{"a":' * 150_000, b'"\x01"', b"nan", b"\0"],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
def test_a_body_that_is_not_json_is_400(client: httpx.Client, body: bytes) -> None:
    assert problem(post(client, body), 400)["detail"].startswith("The body is ")


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
     "application/json; charset=latin-1", "application/jsonx", "a" * 5000],
)  # fmt: skip
def test_a_body_of_another_type_is_415(client: httpx.Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = client.post("/v1/experiments", content=json.dumps(GOOD), headers=headers)
    assert "application/json" in problem(answer, 415)["detail"]


def _megabytes(n: int) -> Iterator[bytes]:
    yield b'{"name": "'
    for _ in range(n):
        yield b"x" * (1 << 20)
    yield b'"}'


def test_a_hundred_megabytes_of_json_are_413_with_and_without_a_length(
    client: httpx.Client,
) -> None:
    whole = b"".join(_megabytes(100))
    assert "announces" in problem(post(client, whole), 413)["detail"]
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/experiments", content=_megabytes(100), headers=headers)
    assert str(1 << 20) in problem(answer, 413)["detail"]
    answer = client.post("/v1/experiments/x/cancel", content=_megabytes(3))
    problem(answer, 413)
    assert client.get("/healthz").status_code == 200


def test_a_client_that_asks_first_is_refused_before_it_sends(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(
            b"POST /v1/experiments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("line", ["POST /v1/experiments", "PUT /v1/datasets/mine"])
def test_a_body_that_does_not_arrive_is_408(
    url: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(limits, "DRAIN_SECONDS", 0.2)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        head = f"{line} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + b"Content-Length: 100\r\n\r\n{")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        while connection.recv(1000):  # and then the connection ends
            pass


def test_a_body_at_the_limit_is_read(client: httpx.Client) -> None:
    room = (1 << 20) - len(json.dumps(GOOD | {"x": ""}))
    assert problem(post(client, GOOD | {"x": "y" * room}), 422)["errors"][0]["pointer"] == "/x"
    problem(post(client, GOOD | {"x": "y" * (room + 1)}), 413)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/experiments/", 404),
        ("GET", "/v1/" + "x" * 3000, 404),
        ("GET", "/v1/experiments/..%2f..%2fetc", 404),
        ("GET", "/v1/experiments/%ff%00", 404),
        ("GET", "/v1/experiments/" + "0" * 24, 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "%0a", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/spec", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/runs", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/metrics", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/fisher", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/second_order", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/information", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/measurements", 404),
        ("GET", "/v1/experiments/x/measurements", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/summary", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/checkpoints", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/figures/critical_period", 404),
        ("GET", "/v1/experiments/" + "0" * 24 + "/figures/none", 404),
        ("POST", "/v1/experiments/" + "0" * 24 + "/cancel", 404),
        ("POST", "/v1/experiments/x/cancel", 404),
        ("GET", "/v1/checkpoints/" + "0" * 64, 404),
        ("GET", "/v1/checkpoints/x", 404),
        ("GET", "/v1/checkpoints/" + "0" * 64 + "?experiment=x&run=1", 404),
        ("GET", "/v1/datasets/none", 404),
        ("GET", "/v1/datasets/none%0a", 404),
        ("GET", "/v1/datasets/by-digest", 404),
        ("DELETE", "/v1/datasets/none", 404),
        ("DELETE", "/v1/datasets/cifar10", 409),
        ("PUT", "/v1/datasets/cifar10", 409),
        ("PUT", "/v1/experiments", 405),
        ("PATCH", "/v1/experiments", 405),
        ("DELETE", "/healthz", 405),
        ("GET", "/v1/experiments?page_size=-1", 422),
        ("GET", "/v1/experiments?page_size=many", 422),
        ("GET", "/v1/experiments?state=odd", 422),
        ("GET", "/v1/experiments?tag=no-colon", 422),
        ("GET", "/v1/experiments?page_token=abc", 400),
        ("GET", "/v1/experiments?page_token=%ff", 400),
        ("GET", "/v1/experiments?page_token=" + "W" * 1999, 400),
        ("GET", "/v1/experiments?page_token=" + "W" * 3000, 422),
        ("POST", "/v1/experiments?dry_run=perhaps", 422),
    ],
)  # fmt: skip
def test_every_other_refusal_is_a_problem_too(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    problem(client.request(method, path), status)


def test_the_message_about_a_parameter_names_it(client: httpx.Client) -> None:
    found = problem(client.get("/v1/experiments?page_size=x"), 422)
    assert found["errors"][0]["pointer"] == "/query/page_size"


def test_the_message_about_one_of_several_values_names_their_parameter() -> None:
    with pytest.raises(ValidationError) as refusal:
        TypeAdapter(list[int]).validate_python(["0", "abc"])
    errors = [one | {"loc": ("query", "run", *one["loc"])} for one in refusal.value.errors()]
    (fault,) = parameter_faults(errors)
    assert fault.pointer == "/query/run"
    assert fault.message.startswith("run: should be a valid integer")


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\xe4"])
def test_an_idempotency_key_is_short_and_printable(client: httpx.Client, key: str) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key.encode("latin-1")}
    answer = client.post("/v1/experiments", content=json.dumps(GOOD), headers=headers)
    assert problem(answer, 400)["errors"][0]["pointer"] == "/header/Idempotency-Key"


def test_a_plain_request_id_is_taken_over_and_another_is_not(client: httpx.Client) -> None:
    assert (
        problem(client.get("/x", headers={"X-Request-ID": "abc-1"}), 404)["request_id"] == "abc-1"
    )
    found = problem(client.get("/x", headers={"X-Request-ID": "a b" * 100}), 404)
    assert len(found["request_id"]) == 16


def test_what_nobody_foresaw_is_a_500_without_internals(url: str, client: httpx.Client) -> None:
    from fastapi import FastAPI

    from api.errors import install
    from api.request_id import RequestId

    app = FastAPI()
    install(app)
    app.add_middleware(RequestId)

    @app.get("/broken")
    def broken() -> None:
        raise KeyError("secret")

    transport = httpx.ASGITransport(app)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as inner:
            return await inner.get("/broken")

    import asyncio

    found = problem(asyncio.run(ask()), 500)
    assert "secret" not in json.dumps(found)
    assert found["errors"] == []


def test_every_error_is_declared_as_a_problem(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operations = [o for path in document["paths"].values() for o in path.values()]
    assert len({o["operationId"] for o in operations}) == len(operations)
    for operation in operations:
        for status, answer in operation["responses"].items():
            assert status < "400" or list(answer["content"]) == [MEDIA_TYPE]
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named <= set(document["components"]["schemas"])
    body = document["paths"]["/v1/experiments"]["post"]["requestBody"]["content"]
    for example in body["application/json"]["examples"].values():
        answer = client.post("/v1/experiments?dry_run=true", json=example["value"])
        assert answer.status_code == 200, answer.text


def test_the_description_of_an_upload_names_what_is_read(client: httpx.Client) -> None:
    put = client.get("/openapi.json").json()["paths"]["/v1/datasets/{name}"]["put"]
    text = put["requestBody"]["description"]
    assert set(re.findall(r"\b(?:train|test|class)\w+", text)) == {*NAMES, "classes"}
    assert "408" in put["responses"]


def test_a_misspelt_dry_run_submits_nothing(client: httpx.Client) -> None:
    answer = client.post("/v1/experiments", params={"dryrun": "true"}, json=GOOD)
    found = problem(answer, 422)
    assert found["errors"][0]["pointer"] == "/query/dryrun"
    assert "did you mean 'dry_run'?" in found["detail"]
    assert client.get("/v1/experiments").json()["experiments"] == []


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/v1/experiments"])
def test_a_parameter_that_an_operation_does_not_have_is_named(
    client: httpx.Client, path: str
) -> None:
    found = problem(client.get(path, params={"bogus": "1"}), 422)
    assert found["errors"][0]["pointer"] == "/query/bogus"
