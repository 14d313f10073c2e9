"""What a request may send, how much of it, and how a connection ends when it sends more."""

import asyncio
import time
from collections import deque

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from api.bodies import UnsupportedMediaType
from shared.errors import BadRequest, HubelError, TooLarge

STREAMED = "/v1/datasets/"
BODY_SECONDS = 60.0
DRAIN_BYTES = 1 << 30
DRAIN_SECONDS = 30.0


ONCE = (
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "idempotency-key",
    "transfer-encoding",
)
"""Headers of which a second one would mean something else to a proxy than to us."""


class TooSlow(HubelError):
    status, code, title = 408, "too-slow", "Too slow"


class BodyLimit:
    """Reads the body before the app sees the request, up to a limit; more is 413.

    PUT to /v1/datasets/ streams, and counts for itself. Whoever answers before the end of the
    body, the rest of it is read and thrown away (within bounds): a client that is still sending
    when its connection is closed would lose the answer.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            _check_headers(scope)
        except HubelError as error:
            await self._refuse(error, scope, exchange)
            return
        if scope["method"] == "PUT" and scope["path"].startswith(STREAMED):
            await self.app(scope, exchange.receive, exchange.send)
            return
        try:
            body = await self._read(exchange)
        except HubelError as error:
            await self._refuse(error, scope, exchange)
            return
        if body is not None:
            await self.app(scope, _replayed(body, exchange.receive), exchange.send)

    async def _refuse(self, error: HubelError, scope: Scope, exchange: "_Exchange") -> None:
        response = errors.of_error(scope, error)
        response.headers["Connection"] = "close"
        await response(scope, exchange.receive, exchange.send)

    async def _read(self, exchange: "_Exchange") -> deque[Message] | None:
        """The messages of the body; None: the client has gone."""
        if exchange.announced > self.max_bytes:
            raise self._too_large(f"announces {exchange.announced}")
        messages: deque[Message] = deque()
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while not exchange.body_ended:
                    message = await exchange.receive()
                    if message["type"] == "http.disconnect":
                        return None
                    messages.append(message)
                    size += len(message.get("body", b""))
                    if size > self.max_bytes:
                        raise self._too_large("has more")
        except TimeoutError:
            raise TooSlow(f"The body did not arrive within {BODY_SECONDS:.0f} s") from None
        return messages

    def _too_large(self, found: str) -> TooLarge:
        return TooLarge(
            f"The body {found} bytes; at most {self.max_bytes} are taken (HUBEL_MAX_BODY_BYTES)"
        )


def _check_headers(scope: Scope) -> None:
    headers = Headers(scope=scope)
    for name in ONCE:
        if len(headers.getlist(name)) > 1:
            raise BadRequest(f"The header {name} is given twice: once is allowed")
    if "content-length" in headers and "transfer-encoding" in headers:
        raise BadRequest("Content-Length and Transfer-Encoding are both given: give one of them")
    coding = headers.get("content-encoding", "")
    if coding.lower() not in ("", "identity"):
        raise UnsupportedMediaType(
            f"The body's Content-Encoding is '{coding[:80]}': send it as it is, not compressed"
        )


def _replayed(messages: deque[Message], then: Receive) -> Receive:
    async def receive() -> Message:
        return messages.popleft() if messages else await then()

    return receive


class _Exchange:
    """One request and its answer: knows whether the body has been read to its end."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        self.announced = int(length) if length.isascii() and length.isdigit() else 0
        # Such a client sends nothing until we ask for it.
        self._waits = headers.get("expect", "").lower() == "100-continue"
        self._receive, self._send = receive, send
        self.body_ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._waits = False
        self.body_ended = self.body_ended or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not last or self.body_ended or self._waits:
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        size, until = 0, time.monotonic() + DRAIN_SECONDS
        while not self.body_ended and size < DRAIN_BYTES:
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    size += len((await self.receive()).get("body", b""))
            except TimeoutError:
                return
