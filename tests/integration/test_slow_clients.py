"""Clients that hold a connection and do nothing with it: everybody else is answered."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from api_process import Api, api_process
from serving import serving
from small import submit

from api import limits, server

pytestmark = pytest.mark.services

MANY = 500
HALF = {
    "nothing": b"",
    "half a line": b"GET /v1/exp",
    "half a head": b"GET /v1/experiments HTTP/1.1\r\nHost: x\r\nA: ",
    "half a body": b"POST /v1/experiments HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{",
    "half an upload": b"PUT /v1/datasets/mine HTTP/1.1\r\nHost: x\r\n"
    b"Content-Length: 100000\r\n\r\nPK",
    "answered and kept": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
}


@contextmanager
def held(address: tuple[str, int], count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connections.append(stack.enter_context(socket.create_connection(address, 20)))
            connections[-1].sendall(sent)
        yield connections


def slowest(api: Api, id: str, polls: int = 40) -> float:
    """Seconds, of a status on a new connection each time."""
    worst = 0.0
    for _ in range(polls):
        began = time.monotonic()
        httpx.get(f"{api.url}/v1/experiments/{id}", timeout=30, trust_env=False).raise_for_status()
        worst = max(worst, time.monotonic() - began)
    return worst


def test_five_hundred_half_open_connections_keep_nobody_waiting(lab: Any) -> None:
    id, found = submit(lab), {}
    with api_process(lab.settings) as api:
        alone = slowest(api, id)
        before = api.rss()
        for name, sent in HALF.items():
            with held(api.address, MANY, sent):
                found[name] = slowest(api, id)
        grown = api.rss() - before
    print(f"alone {alone:.3f} s", {name: round(s, 3) for name, s in found.items()}, grown)
    assert all(seconds < max(3, 20 * alone) for seconds in found.values()), found
    assert grown < 100 << 20


def test_a_request_whose_head_does_not_come_is_given_up(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one and a later one alike, and however slowly bytes keep coming."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 1.0)
    with serving(lab.settings) as url:
        host, port = url.removeprefix("http://").split(":")
        for sent in ("nothing", "half a head", "answered and kept"):
            with socket.create_connection((host, int(port)), 10) as connection:
                connection.sendall(HALF[sent])
                began = time.monotonic()
                _until_closed(connection, drip=b"a" if sent == "half a head" else b"")
                assert 0.9 < time.monotonic() - began < 8


def _until_closed(connection: socket.socket, drip: bytes) -> None:
    connection.settimeout(0.2)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            connection.sendall(drip)
            if not connection.recv(65536):
                return
        except TimeoutError:
            continue
        except OSError:
            return
    raise AssertionError("it is still open")


def test_a_busy_connection_is_not_taken_for_a_silent_one(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 1.0)
    with serving(lab.settings) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as connection:
            for _ in range(20):
                connection.sendall(HALF["answered and kept"])
                got = b""
                while not got.endswith(b'{"status":"alive"}'):
                    got += connection.recv(65536) or b"it was closed"
                    assert b"it was closed" not in got
                time.sleep(0.2)


def test_a_slow_body_is_given_up_however_it_drips(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 1.0)
    monkeypatch.setattr(limits, "DRAIN_SECONDS", 1.0)
    with serving(lab.settings) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(HALF["half a body"])
            began = time.monotonic()
            _until_closed(connection, drip=b" ")
            assert time.monotonic() - began < 8


UNREAD = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100
"""Twelve MB of answers, more than the kernel buffers between two sockets."""


def test_readers_that_do_not_read_pin_neither_threads_nor_memory(lab: Any) -> None:
    """Sixty of them: more than there are threads for endpoints."""
    id = submit(lab)
    with api_process(lab.settings) as api:
        alone, before = slowest(api, id), api.rss()
        with held(api.address, 60, UNREAD):
            time.sleep(2)
            worst, grown = slowest(api, id), api.rss() - before
    print(f"alone {alone:.3f} s, slowest {worst:.3f} s, {grown / 1e6:.0f} MB more")
    assert worst < max(3, 20 * alone)
    assert grown < 60 << 20


def test_a_reader_that_takes_nothing_is_given_up_and_a_slow_one_is_not(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TAKE_SECONDS", 1.5)
    with serving(lab.settings) as url:
        host, port = url.removeprefix("http://").split(":")
        with held((host, int(port)), 2, UNREAD) as (idle, slow):
            taken, ends = 0, time.monotonic() + 6
            while time.monotonic() < ends:
                taken += len(slow.recv(100_000))
                time.sleep(0.1)
            assert taken > 2_000_000
            assert _all(idle) < 100 * _size(url)
            assert _all(slow) + taken >= 100 * _size(url)


def _all(connection: socket.socket) -> int:
    """Bytes until the end, however it comes; of a connection that is kept, until it is silent."""
    count = 0
    connection.settimeout(5)
    try:
        while piece := connection.recv(1 << 20):
            count += len(piece)
    except OSError:
        pass
    return count


def _size(url: str) -> int:
    return len(httpx.get(f"{url}/openapi.json", timeout=30, trust_env=False).content)
