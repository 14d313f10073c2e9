"""A strong ETag on what is answered in one piece, and 304 to who has it already: a dashboard that
asks again and again is sent only what has changed."""

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ABOUT_A_BODY = ("content-length", "content-type")


class ETags:
    """For GET under /v1. Streams go through as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = scope["type"] == "http" and scope["method"] == "GET"
        if not is_ours or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return

        begun: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start" and _is_whole(message):
                begun = message
                return
            if begun is not None and message["type"] == "http.response.body":
                start, begun = begun, None
                if not message.get("more_body"):
                    message = _tag(start, message, Headers(scope=scope).get("if-none-match", ""))
                await send(start)
            await send(message)

        await self.app(scope, receive, send_tagged)


def _is_whole(start: Message) -> bool:
    """Streams do not know how long they are, and their heads wait for nothing."""
    return start["status"] == 200 and "content-length" in Headers(raw=start["headers"])


def _tag(start: Message, body: Message, known: str) -> Message:
    """The body that is to be sent; `start` gets its headers, and its status where that is 304."""
    headers = MutableHeaders(raw=start["headers"])
    etag = headers.setdefault("ETag", f'"{hashlib.sha256(body["body"]).hexdigest()[:32]}"')
    headers.setdefault("Cache-Control", "private, no-cache")
    given = [one.strip().removeprefix("W/") for one in known.split(",")]
    if etag not in given and "*" not in given:
        return body
    for name in ABOUT_A_BODY:
        del headers[name]
    start.update(status=304, headers=headers.raw)
    return {**body, "body": b""}
