"""The HTTP server: uvicorn, with what it does not see to by itself."""

import resource
import time
from typing import Any

import uvicorn

HEAD_SECONDS = 75.0
"""For a request's line and headers to arrive; longer than an idle connection is kept."""
TAKE_SECONDS = 60.0
"""For a client to take any more of an answer that waits for it."""


class Server(uvicorn.Server):
    """Ends open streams before it waits for them, and connections whose client does nothing."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._waiting: dict[Any, tuple[Any, float]] = {}

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            self._end_silent(time.monotonic())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: Any = None) -> None:
        streams = getattr(self.config.app.state, "events", None)  # type: ignore[union-attr]
        if streams is not None:
            streams.close()
        await super().shutdown(sockets)

    def _end_silent(self, now: float) -> None:
        before, self._waiting = self._waiting, {}
        for connection in list(self.server_state.connections):
            found = _waits_for(connection)
            if found is None:
                continue
            what, seconds = found
            last, since = before.get(connection, (None, now))
            self._waiting[connection] = (what, since if last == what else now)
            if last == what and now - since > seconds:
                connection.transport.abort()


def _waits_for(connection: Any) -> tuple[Any, float] | None:
    """What a connection waits for its client to do, and how long it may: to read, where so many
    bytes are left of an answer; to ask, where the last answer has been given."""
    unread = connection.transport.get_write_buffer_size()
    if unread:
        return ("read", unread), TAKE_SECONDS
    cycle = getattr(connection, "cycle", None)
    if cycle is None or cycle.response_complete:
        return ("ask", cycle), HEAD_SECONDS
    return None


def raise_file_limit() -> None:
    """Every connection is a file, and 1024 of them is the usual soft limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
