"""A proxy in front of the object store. Bytes pass as they are, so that signatures hold, until a
rule says otherwise: each write of the product is a point at which it can be killed."""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from tests.faults.listener import HOST, Listener
from tests.faults.message import Message, read_request, read_response
from tests.faults.rule import AFTER, BEFORE, Call, Phase, Rule

REMEMBERED = 200_000
BODILY = ("cut", "flip", "slow")
TRICKLES = 20  # pieces that a slow answer is sent in, a second

Sender = tuple[int | None, str]
"""A process, and what it is."""


class _Dropped(ConnectionError):
    """The client gets no (further) answer."""


class StoreProxy(Listener):
    def __init__(
        self, upstream: Callable[[], int], sender: Callable[[int], Sender] = lambda port: (None, "")
    ) -> None:
        """`upstream`: the store's port, once it is known. `sender`: who is behind a port."""
        super().__init__(self._converse)
        self._upstream, self._sender = upstream, sender
        self.calls: deque[Call] = deque(maxlen=REMEMBERED)
        self.rules: list[Rule] = []

    @contextlib.contextmanager
    def holding(self, *rules: Rule) -> Iterator[tuple[Rule, ...]]:
        """The rules are in force inside the block."""
        self.rules += rules
        try:
            yield rules
        finally:
            self.rules = [rule for rule in self.rules if rule not in rules]

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender = self._sender(writer.get_extra_info("peername")[1])
        while True:
            request = await read_request(reader, writer)
            call = _call(request, sender)
            self.calls.append(call)
            response = await self._answer(call, request, writer)
            writer.write(response.raw)
            await writer.drain()
            if response.until_closed or response.header("connection") == "close":
                return

    async def _answer(self, call: Call, request: Message, writer: asyncio.StreamWriter) -> Message:
        for rule in self._taking(call, BEFORE, request):
            if (made := await self._before(rule, call, request)) is not None:
                return made
        response = await self._forward(request)
        for rule in self._taking(call, AFTER, response):
            response = await self._after(rule, call, response, writer)
        return response

    def _taking(self, call: Call, phase: Phase, message: Message) -> list[Rule]:
        """What is done to a body needs one."""
        fit = [r for r in self.rules if message.body or r.action not in BODILY]
        return [rule for rule in fit if rule.takes(call, phase)]

    async def _forward(self, request: Message) -> Message:
        reader, writer = await asyncio.open_connection(HOST, self._upstream(), limit=1 << 26)
        try:
            writer.write(request.raw)
            return await read_response(reader, request.words[0])
        finally:
            writer.close()

    async def _before(self, rule: Rule, call: Call, request: Message) -> Message | None:
        """An answer in the store's place, or none."""
        match rule.action:
            case "answer":
                return _error(int(rule.argument), call.method)
            case "kill":
                _signal(call, signal.SIGKILL)
            case "hang":
                await asyncio.Event().wait()
            case "cut":
                await self._send_half(request)
            case _:
                raise ValueError(f"{rule.action!r} is nothing to do before the store hears of it")
        raise _Dropped

    async def _send_half(self, request: Message) -> None:
        _, writer = await asyncio.open_connection(HOST, self._upstream())
        writer.write(request.head + request.raw[len(request.head) :][: len(request.body) // 2])
        await writer.drain()
        writer.close()

    async def _after(
        self, rule: Rule, call: Call, response: Message, writer: asyncio.StreamWriter
    ) -> Message:
        match rule.action:
            case "answer":
                return _error(int(rule.argument), call.method)
            case "kill":
                _signal(call, signal.SIGKILL)
            case "hang":
                await asyncio.Event().wait()
            case "drop":
                pass
            case "cut":
                writer.write(response.raw[: len(response.head) + len(response.body) // 2])
                await writer.drain()
                writer.close()
            case "flip":
                length = len(response.body)
                return response.with_flipped_bit(min(int(rule.argument * length), length - 1))
            case "freeze":
                _signal(call, signal.SIGSTOP)
                return response
            case "pass":
                return response
            case "slow":
                await _trickle(response, writer, rule.argument)
                return Message(b"")
            case _:
                raise ValueError(f"{rule.action!r} is nothing to do with an answer")
        raise _Dropped


def _call(request: Message, sender: Sender) -> Call:
    method, target, _ = request.words
    address = urlsplit(target)
    _, _, name = unquote(address.path).lstrip("/").partition("/")
    if not name:
        name = parse_qs(address.query).get("prefix", [""])[0]
    return Call(method, name, *sender)


def _signal(call: Call, number: signal.Signals) -> None:
    assert call.pid is not None, f"nobody is known to have sent {call}"
    with contextlib.suppress(ProcessLookupError):
        os.kill(call.pid, number)


def _error(status: int, method: str) -> Message:
    code = {500: "InternalError", 503: "SlowDown"}[status]
    body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\n"
    pieces = [] if method == "HEAD" else [(body, True)]
    return Message(f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), pieces)


async def _trickle(response: Message, writer: asyncio.StreamWriter, rate: float) -> None:
    raw, step = response.raw, max(1, int(rate / TRICKLES))
    for start in range(0, len(raw), step):
        writer.write(raw[start : start + step])
        await writer.drain()
        await asyncio.sleep(1 / TRICKLES)
