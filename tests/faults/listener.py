"""A TCP server in a thread of its own, that can go away and come back on the same port."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Self

HOST = "127.0.0.1"
LIMIT = 1 << 26  # a message of the store is read as one
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """`serve` is called for each connection, in the listener's loop."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def listen(self) -> None:
        self.run(self._listen())

    def refuse(self) -> None:
        """Nobody is there: connections are reset, new ones refused."""
        self.run(self._refuse())

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Inside the block."""
        self.refuse()
        try:
            yield
        finally:
            self.listen()

    def run(self, coroutine: Awaitable[None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._meet, HOST, self.port, limit=LIMIT)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._connections)
        for task in tasks:
            self._connections[task].transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            with contextlib.suppress(ConnectionError, EOFError, TimeoutError, OSError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # refused meanwhile
        finally:
            del self._connections[task]
            writer.transport.abort()
