"""A proxy in front of Redis, which can go away, or fall silent with its connections open."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from tests.faults.listener import HOST, Listener


class RedisProxy(Listener):
    def __init__(self, upstream: Callable[[], int]) -> None:
        """`upstream`: the port, once it is known."""
        super().__init__(self._relay)
        self._upstream = upstream
        self._speaks = asyncio.Event()
        self._speaks.set()
        self.swallowed = 0
        """Messages that were held back while nobody answered."""

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """What was sent meanwhile arrives afterwards, as after a cut in the network."""
        self._loop.call_soon_threadsafe(self._speaks.clear)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._speaks.set)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._speaks.wait()
        there, back = await asyncio.open_connection(HOST, self._upstream())
        ways = [asyncio.create_task(self._pump(reader, back)),
                asyncio.create_task(self._pump(there, writer))]  # fmt: skip
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if not self._speaks.is_set():
                self.swallowed += 1
                await self._speaks.wait()
            writer.write(data)
            await writer.drain()
