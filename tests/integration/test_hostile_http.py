"""Requests that nobody means well: each has one answer, which is never a 5xx and never a hang.

Bytes that are no HTTP are answered by uvicorn itself, with 400 in plain text.
"""

import gzip
import json
import re
import secrets
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from serving import serving

pytestmark = pytest.mark.services

EMOJI = "\N{GRINNING FACE}"
GOOD: dict[str, Any] = {
    "dataset": {"name": "gratings"},
    "model": {"name": "mlp", "width": 0.01},
    "training": {"epochs": 3},
}
RAW = json.dumps(GOOD).encode()
PACKED = gzip.compress(RAW)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(RAW), RAW)
POST = (
    b"POST /v1/experiments?dry_run=true HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
)
ID = b"0" * 24
KEY = b"0" * 64
PROBLEM = "application/problem+json"
PLAIN = "text/plain"
JSON = "application/json"


@pytest.fixture(scope="module")
def address(servers: Any) -> Iterator[tuple[str, int]]:
    bucket = f"test-{secrets.token_hex(6)}"
    with serving(servers.settings.model_copy(update={"s3_bucket": bucket})) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


def answer(address: tuple[str, int], request: bytes) -> tuple[int, str, bytes]:
    """Status, media type and body of the first answer to these bytes."""
    with socket.create_connection(address, 20) as connection:
        connection.sendall(request)
        got = b""
        while not (whole := _whole(got)):
            piece = connection.recv(65536)
            assert piece, f"the connection ended after {got[:300]!r}"
            got += piece
    return whole


def _whole(got: bytes) -> tuple[int, str, bytes] | None:
    head, end, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    if not end or (length and len(body) < int(length[1])) or not (length or body):
        return None
    kind = re.search(rb"content-type: ([^;\r]+)", head, re.IGNORECASE)
    return int(head.split()[1]), kind[1].decode() if kind else "", body


def sized(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def get(target: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"GET %s HTTP/1.1" % target, b"Host: x", *headers, b"", b""])


def spec(**parts: Any) -> bytes:
    return json.dumps(GOOD | parts).encode()


def sgd(number: bytes, field: bytes = b"learning_rate") -> bytes:
    optimizer = b'{"name": "sgd", "%s": %s}' % (field, number)
    return b'{"dataset": {"name": "gratings"}, "training": {"epochs": 3, "optimizer": %s}}' % (
        optimizer
    )


BODIES = {
    "1e308": (sgd(b"1e308"), 422),
    "-1e308": (sgd(b"-1e308"), 422),
    "1e-400": (sgd(b"1e-400"), 422),  # it reads as 0, which is not greater than 0
    "smallest": (sgd(b"5e-324"), 200),
    "1e-400 where 0 is allowed": (sgd(b"1e-400", b"momentum"), 200),
    "-0.0": (sgd(b"-0.0", b"momentum"), 200),
    "-0.0 where 0 is not": (sgd(b"-0.0"), 422),
    "a long fraction": (sgd(b"0." + b"1" * 100_000, b"momentum"), 200),
    "a long exponent": (sgd(b"1e" + b"9" * 100_000), 422),
    "10^400": (sgd(b"1" + b"0" * 400), 422),
    "NaN": (sgd(b"NaN"), 422),
    "-Infinity": (sgd(b"-Infinity"), 422),
    "3.0 for 3": (RAW.replace(b"3", b"3.0"), 422),
    "true for 1": (RAW.replace(b"3", b"true"), 422),
    "../ as a name": (spec(name="../../etc/passwd"), 200),
    "../ as a tag": (spec(tags={"../..": "../.."}), 200),
    "../ as a variant": (spec(variants={"../..": {"model.width": 0.02}}), 200),
    "../ as a data set": (spec(dataset={"name": "../gratings"}), 422),
    "../ as a preset": (b'{"preset": "../fig1a", "scale": "mini"}', 422),
    "an object as a preset": (b'{"preset": {"a": 1}, "scale": ["mini"]}', 422),
    "dunders swept": (spec(sweep={"__class__.__init__": [1]}), 422),
    "1e308 swept": (spec(sweep={"model.width": [1e308, -1e308]}), 422),
    "200 emoji": (spec(name=EMOJI * 200), 200),
    "10 kB of emoji": (spec(name=EMOJI * 2500), 422),
    "10 kB of emoji as a tag": (spec(tags={EMOJI * 2500: "x"}), 422),
    "right to left": (spec(name="\u202etxt.exe"), 200),
    "NUL in a tag": (spec(tags={"a": "\0"}), 422),
    "NUL in a key": (spec(tags={"\0": "a"}), 422),
    "half a pair in a variant": (b'{"variants": {"\\ud83d": {}}}', 422),
    "a pair in two halves": (spec(name="x").replace(b'"x"', b'"\\ud83d\\ude00"'), 200),
    "a key twice": (RAW[:-1] + b', "model": {"name": "mlp"}}', 422),
    "a key twice by its escape": (RAW[:-1] + b', "\\u006dodel": {"name": "mlp"}}', 422),
    "100 levels": (b'{"tags": ' + b'{"a":' * 100 + b"1" + b"}" * 101, 422),
    "100,000 levels": (b'{"tags": ' + b'{"a":' * 100_000, 400),
    "UTF-16": (RAW.decode().encode("utf-16"), 400),
    "a byte order mark": (b"\xef\xbb\xbf" + RAW, 400),
    "overlong UTF-8": (b'{"name": "\xc0\xae\xc0\xae/"}', 400),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_body_has_one_answer(address: tuple[str, int], name: str) -> None:
    body, status = BODIES[name]
    kind = JSON if status == 200 else PROBLEM
    found = answer(address, POST + sized(body))
    assert (found[0], found[1]) == (status, kind), found[2][:500]
    assert len(found[2]) < 30_000


REQUESTS = {
    "emoji as a key": (POST + b"Idempotency-Key: " + EMOJI.encode() * 2500 + b"\r\n"
                       + sized(RAW), 400, PROBLEM),
    "two keys": (POST + b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n" + sized(RAW), 400,
                 PROBLEM),
    "two types": (POST + b"Content-Type: text/plain\r\n" + sized(RAW), 400, PROBLEM),
    "two tokens": (get(b"/healthz", b"Authorization: a", b"Authorization: b"), 400, PROBLEM),
    "gzip": (POST + b"Content-Encoding: gzip\r\n" + sized(PACKED), 415, PROBLEM),
    "said to be gzip": (POST + b"Content-Encoding: gzip\r\n" + sized(RAW), 415, PROBLEM),
    "identity": (POST + b"Content-Encoding: identity\r\n" + sized(RAW), 200, JSON),
    "a gzipped upload": (b"PUT /v1/datasets/mine HTTP/1.1\r\nHost: x\r\n"
                         b"Content-Encoding: gzip\r\n" + sized(PACKED), 415, PROBLEM),
    "another charset": (POST.replace(b"json\r", b"json; charset=utf-16\r") + sized(RAW), 415,
                        PROBLEM),
    "an odd charset": (POST.replace(b"json\r", b"json; charset=\xff\xfe\r") + sized(RAW), 415,
                       PROBLEM),
    "less than there is": (POST + b"Content-Length: 10\r\n\r\n" + RAW, 400, PROBLEM),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n" + RAW, 400, PLAIN),
    "a length of 1e3": (POST + b"Content-Length: 1e3\r\n\r\n" + RAW, 400, PLAIN),
    "a length of +5": (POST + b"Content-Length: +5\r\n\r\n" + RAW, 400, PLAIN),
    "two lengths": (POST + b"Content-Length: 5\r\n" + sized(RAW), 400, PLAIN),
    "a huge length": (POST + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n" + RAW, 413, PROBLEM),
    "a length of 5000 digits": (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400,
                                PLAIN),
    "chunked": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED, 200, JSON),
    "a length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                            + CHUNKED, 400, PROBLEM),
    "another coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKED, 400,
                       PLAIN),
    "no such coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKED, 400, PLAIN),
    "a bad chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, PLAIN),
    "a chunk of -5": (POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", 400, PLAIN),
    "NUL in a header": (get(b"/healthz", b"X-Request-ID: a\0b"), 400, PLAIN),
    "other bytes in a header": (get(b"/healthz", b"X-Request-ID: \xff\xfe"), 200, JSON),
    "200 kB of header": (get(b"/healthz", b"A: " + b"x" * 200_000), 400, PLAIN),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400, PLAIN),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", 400, PLAIN),
    "HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", 200, JSON),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, PLAIN),
    "an upgrade": (get(b"/healthz", b"Upgrade: websocket", b"Connection: Upgrade",
                       b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                       b"Sec-WebSocket-Version: 13"), 200, JSON),
    "a proxy's request": (get(b"http://elsewhere/healthz"), 404, PROBLEM),
    "a tunnel": (b"CONNECT elsewhere:1 HTTP/1.1\r\nHost: x\r\n\r\n", 404, PROBLEM),
    "a body with GET": (get(b"/healthz", b"Content-Length: 2000000"), 413, PROBLEM),
    "../": (get(b"/v1/../../etc/passwd"), 404, PROBLEM),
    "../ escaped": (get(b"/v1/datasets/%2e%2e%2f%2e%2e%2fetc"), 404, PROBLEM),
    "..": (get(b"/v1/datasets/.."), 404, PROBLEM),
    "the folder of the data": (get(b"/v1/datasets/by-digest"), 404, PROBLEM),
    "NUL in a path": (get(b"/v1/datasets/a%00b"), 404, PROBLEM),
    "a bare NUL in a path": (get(b"/v1/datasets/a\0b"), 400, PLAIN),
    "half a pair in a path": (get(b"/v1/datasets/%ed%a0%80"), 404, PROBLEM),
    "bare UTF-8 in a path": (get("/v1/datasets/é".encode()), 400, PLAIN),
    "60 kB of path": (get(b"/v1/datasets/" + b"a" * 60_000), 404, PROBLEM),
    "emoji in a path": (get(b"/v1/datasets/" + b"%F0%9F%98%80" * 2500), 404, PROBLEM),
    "an id of no moment": (get(b"/v1/experiments/" + b"f" * 24 + b"/summary"), 404, PROBLEM),
    "NUL in a query": (get(b"/v1/experiments?name=%00"), 200, JSON),
    "half a pair in a query": (get(b"/v1/experiments?name=%ed%a0%80&tag=%ff:%00"), 200, JSON),
    "10 kB of emoji in a query": (get(b"/v1/experiments?name=" + b"%F0%9F%98%80" * 2500), 422,
                                  PROBLEM),
    "5000 tags": (get(b"/v1/experiments?" + b"tag=a:b&" * 5000), 422, PROBLEM),
    "a nameless parameter": (get(b"/v1/experiments?%00=1"), 422, PROBLEM),
    "a page of 10^4000": (get(b"/v1/experiments?page_size=1" + b"0" * 4000), 200, JSON),
    "a page of 10^5000": (get(b"/v1/experiments?page_size=1" + b"0" * 5000), 422, PROBLEM),
    "a page of 1e308": (get(b"/v1/experiments?page_size=1e308"), 422, PROBLEM),
    "a page of NaN": (get(b"/v1/experiments?page_size=nan"), 422, PROBLEM),
    "run 10^300": (get(b"/v1/checkpoints/%s?experiment=%s&run=1" % (KEY, ID) + b"0" * 300), 422,
                   PROBLEM),
    "a moment of 10^30": (get(b"/v1/experiments/%s/metrics?from=1" % ID + b"0" * 30), 404,
                          PROBLEM),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_has_one_answer(address: tuple[str, int], name: str) -> None:
    request, status, kind = REQUESTS[name]
    found = answer(address, request)
    assert (found[0], found[1]) == (status, kind), found[2][:500]
    assert len(found[2]) < 30_000


@pytest.mark.parametrize("table", ["metrics", "fisher", "second_order", "information"])
@pytest.mark.parametrize("format", ["json", "csv"])
def test_a_page_may_be_as_large_as_one_likes(
    address: tuple[str, int], table: str, format: str
) -> None:
    accepted = answer(address, POST.replace(b"dry_run=true", b"dry_run=false") + sized(RAW))
    id = json.loads(accepted[2])["id"]
    path = f"/v1/experiments/{id}/{table}?format={format}&page_size=1{'0' * 20}"
    assert answer(address, get(path.encode()))[0] == 200


def test_what_follows_a_refused_request_is_not_read_as_another(address: tuple[str, int]) -> None:
    """Two readings of where a request ends are how one client's request becomes another's."""
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    request = POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled
    with socket.create_connection(address, 20) as connection:
        connection.sendall(request)
        got = b""
        while piece := connection.recv(65536):
            got += piece
    assert got.count(b"HTTP/1.1 ") == 1
    assert got.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", ["/healthz", "/v1/datasets", "/v1/nothing", "/openapi.json"])
def test_head_is_get_without_its_body(address: tuple[str, int], path: str) -> None:
    status, kind, _ = answer(address, get(path.encode()))
    with socket.create_connection(address, 20) as connection:
        request = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        got = b""
        while piece := connection.recv(65536):
            got += piece
    assert got.startswith(f"HTTP/1.1 {status} ".encode())
    assert kind.encode() in got
    assert got.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/experiments", {"GET", "HEAD", "POST"}),
        ("/v1/datasets/x", {"DELETE", "GET", "HEAD", "PUT"}),
        ("/v1/experiments/x/cancel", {"POST"}),
        ("/healthz", {"GET", "HEAD"}),
    ],
)
def test_a_method_that_is_not_there_is_told_which_are(
    address: tuple[str, int], path: str, allowed: set[str]
) -> None:
    with socket.create_connection(address, 20) as connection:
        connection.sendall(f"PATCH {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = connection.recv(65536)
    assert head.startswith(b"HTTP/1.1 405 ")
    found = re.search(rb"allow: ([^\r]*)", head, re.IGNORECASE)
    assert found is not None
    assert set(found[1].decode().split(", ")) == allowed
