"""The outermost layer: names each request, and answers what nobody caught."""

import logging
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors

log = logging.getLogger(__name__)

HEADER = "X-Request-ID"
_TAKEN = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


class RequestId:
    """Takes over the client's X-Request-ID where it is a plain word, else makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        name = given if _TAKEN.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = name
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers[HEADER] = name
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self.app(scope, receive, send_named)
        except ClientDisconnect:
            log.info("request %s: the client has gone", name)
        except Exception:
            log.exception("request %s failed", name)
            if started:  # too late for another answer: the connection breaks off
                raise
            await errors.unexpected(scope)(scope, receive, send_named)
