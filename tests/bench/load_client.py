"""The load generator: many HTTP clients in one process of its own, on plain asyncio.

    python -m tests.bench.load_client < job.json > found.json

httpx costs a millisecond of CPU a request, which on two cores would be taken from the server that
is measured; this costs about a tenth of that.
"""

import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

Request = dict[str, Any]
"""name, method, path, and perhaps body (text) and headers"""


class Connection:
    """One keep-alive connection, opened again where the server closed it."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> tuple[int, bytes]:
        """Status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port, limit=1 << 24)
        reader, writer = self._streams
        writer.write(self._raw(request))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        body = await _body(reader, head)
        if "connection: close" in head:
            self.close()
        return int(head.split(" ", 2)[1]), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    def _raw(self, request: Request) -> bytes:
        body = request.get("body", "").encode()
        headers = {"Host": f"{self.host}:{self.port}"} | request.get("headers", {})
        if body:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{request['method']} {request['path']} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def _body(reader: asyncio.StreamReader, head: str) -> bytes:
    for line in head.split("\r\n"):
        if line.startswith("content-length:"):
            return await reader.readexactly(int(line.partition(":")[2]))
    parts = []
    while size := int((await reader.readline()).strip() or b"0", 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


class Found:
    """What the clients saw: milliseconds and bytes by name of request, and what went wrong."""

    def __init__(self, kept: str | None) -> None:
        self.milliseconds: dict[str, list[float]] = defaultdict(list)
        self.bytes: dict[str, int] = defaultdict(int)
        self.statuses: dict[str, int] = defaultdict(int)
        self.kept: list[Any] = []
        self._kept = kept

    def add(self, request: Request, began: float, status: int, body: bytes) -> None:
        name = request["name"]
        self.milliseconds[name].append((time.perf_counter() - began) * 1000)
        self.bytes[name] += len(body)
        self.statuses[str(status)] += 1
        if self._kept and status < 300:
            value = json.loads(body)
            for part in self._kept.split("."):
                value = value[part]
            self.kept.append(value)


async def _client(job: dict[str, Any], todo: Iterator[Request], found: Found, until: float) -> None:
    connection, pause = Connection(job["host"], job["port"]), job.get("pause", 0)
    if pause:
        await asyncio.sleep(random.random() * pause)
    for request in todo:
        if time.monotonic() >= until:
            break
        began = time.perf_counter()
        try:
            answer = await connection.ask(request)
            while answer[0] == job.get("again_at"):  # "still in flight: ask again"
                found.statuses[str(answer[0])] += 1
                await asyncio.sleep(1)
                answer = await connection.ask(request)
            found.add(request, began, *answer)
        except (OSError, EOFError, ValueError) as error:
            found.statuses[type(error).__name__] += 1
            connection.close()
        if pause:
            await asyncio.sleep(pause)
    connection.close()


def _forever(requests: list[Request]) -> Iterator[Request]:
    while True:
        yield from requests


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """`requests`: in `once`, a list that the clients share and work off; else one list for each
    client, which goes round in it for `seconds`."""
    found = Found(job.get("keep"))
    until = time.monotonic() + job.get("seconds", 1e9)
    if job.get("once"):
        shared = iter(job["requests"])
        lists: list[Iterator[Request]] = [shared] * job["clients"]
    else:
        lists = [_forever(requests) for requests in job["requests"]]
    began, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(_client(job, todo, found, until) for todo in lists))
    return {
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "milliseconds": found.milliseconds,
        "bytes": found.bytes,
        "statuses": found.statuses,
        "kept": found.kept,
    }


def main() -> None:
    json.dump(asyncio.run(run(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
