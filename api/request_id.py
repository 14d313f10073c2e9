"""The outermost layer: names each request, counts and logs it, and answers what nobody caught."""

import logging
import re
import secrets
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors, meters
from shared import logs

log = logging.getLogger(__name__)
access = logging.getLogger("hubel.access")
"""One line a request."""

HEADER = "X-Request-ID"
QUIET = ("/healthz", "/readyz", "/metrics")
"""Asked for every few seconds, by machines."""
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
        started, began = False, time.perf_counter()

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _note(scope, message["status"], time.perf_counter() - began)
                headers = MutableHeaders(scope=message)
                headers[HEADER] = name
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        with logs.about(request=name), meters.IN_FLIGHT.track_inprogress():
            await self._serve(scope, receive, send_named, lambda: started)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, has_started: Callable[[], bool]
    ) -> None:
        try:
            await self.app(scope, receive, send)
        except ClientDisconnect:
            log.info("request %s: the client has gone", scope["state"]["request_id"])
        except Exception:
            log.exception("request %s failed", scope["state"]["request_id"])
            if has_started():  # too late for another answer: the connection breaks off
                raise
            await errors.unexpected(scope)(scope, receive, send)


def _note(scope: Scope, status: int, seconds: float) -> None:
    path = getattr(scope.get("route"), "path", None)
    meters.answered(scope["method"], path, status, seconds)
    level = logging.DEBUG if path in QUIET else logging.INFO
    if access.isEnabledFor(level):
        about = {"method": scope["method"], "route": path, "status": status}
        about |= {"seconds": round(seconds, 4), "principal": scope["state"].get("principal")}
        access.log(level, "%s %s %s", scope["method"], path or "unmatched", status, extra=about)
