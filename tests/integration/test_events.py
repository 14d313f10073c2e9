"""The stream of an experiment's events, by real sockets: what is sent, and what a thousand cost."""

import asyncio
import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from api_process import Api, api_process
from small import submit

from api import events

pytestmark = pytest.mark.services

LISTENERS = 1000


def parsed(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Events as fields; a comment as {"comment": ...}."""
    fields: dict[str, Any] = {}
    for line in lines:
        if line.startswith(":"):
            yield {"comment": line[1:].strip()}
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields
            fields = {}


def listen(http: httpx.Client, id: str, **headers: str) -> list[dict[str, Any]]:
    with http.stream("GET", f"/v1/experiments/{id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [e for e in parsed(answer.iter_lines()) if "event" in e]


def test_events_tell_of_an_experiment_until_its_end(lab: Any, http: httpx.Client) -> None:
    id = submit(lab, fisher=None)
    lab.start_worker()
    got = listen(http, id)
    assert [e["event"] for e in got[-2:]] == ["status", "end"]
    assert len(got) >= 3
    ids = [int(e["id"]) for e in got]
    assert ids == sorted(set(ids))
    statuses = [json.loads(e["data"]) for e in got[:-1]]
    assert statuses[-1] == http.get(f"/v1/experiments/{id}").json()
    states = [status["state"] for status in statuses]
    assert states == sorted(states, key=["preparing", "queued", "running", "succeeded"].index)
    end = json.loads(got[-1]["data"])
    assert end == {name: statuses[-1][name] for name in ("id", "state", "finished", "failures")}


def test_who_comes_again_is_sent_what_changed_since(lab: Any, http: httpx.Client) -> None:
    id = submit(lab)
    with http.stream("GET", f"/v1/experiments/{id}/events") as answer:
        first = next(e for e in parsed(answer.iter_lines()) if "event" in e)
        path, last = f"/v1/experiments/{id}/events", {"Last-Event-ID": first["id"]}
        with http.stream("GET", path, headers=last) as again:
            lab.service.cancel(id)
            *others, status, end = (e for e in parsed(again.iter_lines()) if "event" in e)
    assert json.loads(first["data"])["state"] in ("preparing", "queued")
    assert all(int(e["id"]) > int(first["id"]) for e in [*others, status])
    assert json.loads(status["data"])["state"] == "cancelled"
    assert end["event"] == "end"
    answer = http.get(f"/v1/experiments/{id}/events", headers={"Last-Event-ID": end["id"]})
    assert answer.status_code == 204


def test_ids_grow_for_a_client_that_comes_from_a_replica_whose_clock_is_ahead(
    lab: Any, http: httpx.Client
) -> None:
    id = submit(lab)
    lab.service.cancel(id)
    ahead = int(listen(http, id)[0]["id"]) + 3_600_000
    status, end = listen(http, id, **{"Last-Event-ID": str(ahead)})
    assert ahead < int(status["id"]) < int(end["id"])


@pytest.mark.parametrize("given", ["", "x", "-1", "1e3", "9" * 400, str(2**63), "9007199254740990"])
def test_a_last_event_id_that_is_none_of_ours_starts_anew(
    lab: Any, http: httpx.Client, given: str
) -> None:
    id = submit(lab)
    lab.service.cancel(id)
    *statuses, end = listen(http, id, **{"Last-Event-ID": given})
    assert end["event"] == "end"
    assert {one["event"] for one in statuses} == {"status"}  # two where one came just before


def test_the_events_of_no_experiment_are_404(http: httpx.Client) -> None:
    for id in ("0" * 24, "f" * 24, "x"):
        answer = http.get(f"/v1/experiments/{id}/events")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_stream_with_nothing_to_tell_beats(
    lab: Any, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.2)
    id = submit(lab)
    with http.stream("GET", f"/v1/experiments/{id}/events") as answer:
        found = parsed(answer.iter_lines())
        seen = [next(found) for _ in range(6)]
    assert sum("comment" in e for e in seen) >= 3
    assert sum(e.get("event") == "status" for e in seen) == 1


def test_head_of_a_stream_ends_at_once(lab: Any, http: httpx.Client) -> None:
    answer = http.head(f"/v1/experiments/{submit(lab)}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def _files() -> None:
    """For a thousand sockets here; the API raises its own limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    assert most >= 2 * LISTENERS, f"only {most} files may be open here"


async def _connect(api: Api, id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*api.address, limit=1 << 16)
    writer.write(f"GET /v1/experiments/{id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await writer.drain()
    await asyncio.wait_for(reader.readuntil(b"event: status"), 60)
    return reader, writer


async def _polls(api: Api, id: str, count: int) -> list[float]:
    """Seconds that each status took."""
    took = []
    async with httpx.AsyncClient(base_url=api.url, timeout=30, trust_env=False) as client:
        for _ in range(count):
            began = time.monotonic()
            (await client.get(f"/v1/experiments/{id}")).raise_for_status()
            took.append(time.monotonic() - began)
    return sorted(took)


async def _thousand(lab: Any, api: Api, ids: list[str]) -> dict[str, float]:
    before = await _polls(api, ids[0], 50)
    (await _connect(api, ids[0]))[1].close()
    memory = api.rss()
    threads = _threads(api)
    open_ones = []
    for start in range(0, LISTENERS, 50):
        some = (_connect(api, ids[i % len(ids)]) for i in range(start, start + 50))
        open_ones += await asyncio.gather(*some)
    during = await _polls(api, ids[0], 50)
    grown, more = api.rss() - memory, _threads(api) - threads
    lab.service.cancel(ids[0])
    ours = open_ones[:: len(ids)]
    ends = await asyncio.gather(*(asyncio.wait_for(r.read(), 30) for r, _ in ours))
    assert all(b"event: end" in text for text in ends)
    for _, writer in open_ones:
        writer.close()
    return {
        "p50 before": before[25], "p50 during": during[25], "slowest during": during[-1],
        "bytes each": grown / LISTENERS, "threads more": more,
    }  # fmt: skip


def _threads(api: Api) -> int:
    with open(f"/proc/{api.child.pid}/status") as file:
        (line,) = [line for line in file if line.startswith("Threads:")]
    return int(line.split()[1])


def test_a_thousand_listeners_are_idle_while_others_are_answered(lab: Any) -> None:
    _files()
    ids = [submit(lab) for _ in range(4)]
    with api_process(lab.settings) as api:
        found = asyncio.run(_thousand(lab, api, ids))
        deadline = time.monotonic() + 20
        while (left := _sockets(api)) > 100:  # pools of connections to the store and to Redis
            assert time.monotonic() < deadline, f"{left} sockets are still open"
            time.sleep(0.1)
    print({name: round(value, 4) for name, value in found.items()})
    assert found["bytes each"] < 100_000
    # The pools, where they were not full: 40 for endpoints, 19 for statuses, 2 for events.
    assert found["threads more"] <= 61
    assert found["slowest during"] < 3


def _sockets(api: Api) -> int:
    folder, count = f"/proc/{api.child.pid}/fd", 0
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):  # closed since it was listed
            count += "socket" in os.readlink(f"{folder}/{name}")
    return count


def test_a_server_that_stops_ends_its_streams(lab: Any) -> None:
    id = submit(lab)
    with (
        api_process(lab.settings) as api,
        httpx.Client(base_url=api.url, timeout=30, trust_env=False) as client,
        client.stream("GET", f"/v1/experiments/{id}/events") as answer,
    ):
        found = parsed(answer.iter_lines())
        assert next(found)["retry"]
        began = time.monotonic()
        api.child._process.send_signal(signal.SIGTERM)
        rest = list(found)
        assert api.child._process.wait(20) is not None
        took = time.monotonic() - began
    assert [e.get("event") for e in rest if "event" in e] in (["status"], [])
    assert took < 6
