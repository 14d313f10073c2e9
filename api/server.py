"""The HTTP server: uvicorn, with what it does not see to by itself."""

import resource
import time
from typing import Any

import uvicorn

HEAD_SECONDS = 75.0
"""For a request's line and headers to arrive; longer than an idle connection is kept."""


class Server(uvicorn.Server):
    """Ends open streams before it waits for them, and connections that never say what they want."""

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
        """Those that have been in between two requests, or before the first, for too long."""
        before, self._waiting = self._waiting, {}
        for connection in self.server_state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                continue
            last, since = before.get(connection, (cycle, now))
            since = since if last is cycle else now
            self._waiting[connection] = (cycle, since)
            if now - since > HEAD_SECONDS:
                connection.transport.close()


def raise_file_limit() -> None:
    """Every connection is a file, and 1024 of them is the usual soft limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
