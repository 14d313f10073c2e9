"""HEAD wherever there is a GET: the same answer without its body."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        asked: Scope = {**scope, "method": "GET"}

        async def send_head(message: Message) -> None:
            """The answer ends where its body would begin: a stream would go on for ever."""
            if message["type"] == "http.response.start":
                scope["route"] = asked.get("route")  # for whoever counts requests
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self.app(asked, receive, send_head)
