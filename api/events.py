"""Server-sent events of experiments: one poller for each experiment that somebody listens to, and
no thread for a listener.

An event is a whole status, so that only the newest one has to be kept, however slow a reader is.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from api.lifecycle import ENDED
from api.points import Points, Sent
from shared.errors import HubelError, TooMany

log = logging.getLogger(__name__)

Json = dict[str, Any]

MEDIA_TYPE = "text/event-stream"
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
"""Proxies close what is silent for a minute; and it is how a dead connection is noticed."""
RETRY_MS = 2000
END = 2**53 - 1
"""Id of the last event there is: a client that has seen it need not come again."""
AHEAD_MS = 86_400_000
"""Last-Event-ID may come from a replica whose clock is ahead by less than this."""
MAX_LISTENERS = 5000


class Events:
    """All streams of one process. Everything but `look` runs in the event loop's thread."""

    def __init__(self, look: Callable[[str], Json], points: Callable[[str], Points]) -> None:
        """`look` gives the status of an experiment, `points` what it has trained; both may take
        their time: they run in two threads, those who read points in four more, whatever the number
        of experiments and listeners."""
        self._look, self._points = look, points
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="events")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="points")
        self._channels: dict[str, Channel] = {}
        self._listeners = 0
        self._closing = False

    def check_room(self) -> None:
        if self._listeners >= MAX_LISTENERS:
            error = TooMany(
                f"{self._listeners} streams are open, {MAX_LISTENERS} are allowed: poll the status"
            )
            error.retry_after = 30
            raise error

    async def stream(
        self,
        id: str,
        last: "Last",
        may_listen: Callable[[], Awaitable[bool]],
        with_points: bool = False,
    ) -> AsyncIterator[bytes]:
        """What changes after the event `last`; the last event is `end`. Cut off once `may_listen`
        says no."""
        channel = self._join(id)
        reader = self._reader(id, channel, last.position) if with_points else None
        try:
            seen = channel.continued(last.id)
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not self._closing and await may_listen():
                changed = channel.changed
                if channel.id > seen:
                    seen = channel.id
                    yield channel.status if reader is None else channel.told(seen, reader.position)
                elif reader is not None and (event := await self._next(id, reader)):
                    yield _frame(_id(seen, reader.position), *event)
                elif channel.end:
                    yield channel.end
                    return
                elif not await _set(changed, HEARTBEAT_SECONDS):
                    yield b": heartbeat\n\n"
        finally:
            self._leave(id, channel)

    def _reader(self, id: str, channel: "Channel", position: str) -> "Reader":
        if channel.points is None:
            channel.points = self._points(id)
        return Reader(channel.points, position)

    async def _next(self, id: str, reader: "Reader") -> tuple[str, str] | None:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, reader.next)
        except HubelError as error:
            log.warning("the events of %s wait: %s", id, error.detail)
            await asyncio.sleep(POLL_SECONDS)
            return None

    def close(self) -> None:
        """Ends every stream: a server that stops waits for its connections."""
        self._closing = True
        for channel in self._channels.values():
            channel.wake()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _join(self, id: str) -> "Channel":
        channel = self._channels.get(id)
        if channel is None:
            channel = self._channels[id] = Channel()
            channel.poller = asyncio.create_task(self._poll(id, channel))
        channel.listeners += 1
        self._listeners += 1
        return channel

    def _leave(self, id: str, channel: "Channel") -> None:
        channel.listeners -= 1
        self._listeners -= 1
        if channel.listeners == 0:
            assert channel.poller is not None
            channel.poller.cancel()
            self._channels.pop(id, None)

    async def _poll(self, id: str, channel: "Channel") -> None:
        loop = asyncio.get_running_loop()
        while not self._closing and not channel.end:
            try:
                points = channel.points
                status, is_more = await loop.run_in_executor(self._threads, self._seen, id, points)
                if is_more:
                    channel.wake()
                if points is channel.points or status["state"] not in ENDED:
                    channel.put(status)
            except HubelError as error:
                log.warning("the events of %s wait: %s", id, error.detail)
            except Exception:
                log.exception("the events of %s wait", id)
            await asyncio.sleep(POLL_SECONDS)

    def _seen(self, id: str, points: Points | None) -> tuple[Json, bool]:
        """The points after the status: once that is an end, nothing comes after these."""
        return self._look(id), points is not None and points.look()


class Channel:
    """The newest status of one experiment, as the bytes that all its listeners are sent."""

    def __init__(self) -> None:
        self.id = 0
        """Of the newest event, in ms since 1970: later ones, in any process, have larger ids."""
        self.status = b""
        self.end = b""
        self.listeners = 0
        self.poller: asyncio.Task[None] | None = None
        self.points: Points | None = None
        """Where somebody listens for them."""
        self.changed = asyncio.Event()
        self._shown: Json | None = None
        self._data = ""

    def put(self, status: Json) -> None:
        shown = {name: value for name, value in status.items() if name != "time_left_seconds"}
        if shown == self._shown:
            return
        self._shown, self._data = shown, json.dumps(status)
        self._number(max(int(time.time() * 1000), self.id + 1))
        if status["state"] in ENDED:
            outcome = {name: status[name] for name in ("id", "state", "finished", "failures")}
            self.end = _frame(END, "end", json.dumps(outcome))

    def continued(self, last_event_id: int) -> int:
        """The event after which a client goes on. One that is ahead of ours came from another
        process: ours is numbered anew, so that ids grow for that client too."""
        if last_event_id > time.time() * 1000 + AHEAD_MS:
            return 0
        if last_event_id > self.id and self._shown is not None:
            self._number(last_event_id + 1)
        self.id = max(self.id, last_event_id)
        return last_event_id

    def told(self, id: int, position: str) -> bytes:
        """The newest status, for who listens for points too."""
        return _frame(_id(id, position), "status", self._data)

    def wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _number(self, id: int) -> None:
        self.id = id
        self.status = _frame(id, "status", self._data)
        self.wake()


class Reader:
    """How far one listener has come with the points."""

    def __init__(self, points: Points, position: str) -> None:
        self.position = position
        self._points = points
        self._sent: list[Sent] | None = None

    def next(self) -> tuple[str, str] | None:
        """The next event and its data. None: there is nothing more yet."""
        if not self._points.is_known():
            return None
        if self._sent is None:
            self._sent = self._points.sent_at(self.position)
        found = self._points.next(self._sent)
        if found is None:
            return None
        event, data, self.position = found
        return event, data


class Last(NamedTuple):
    """What a Last-Event-ID says: the number of a status, and a position among the points. What is
    none of ours is as if nothing had been received."""

    id: int
    position: str

    @classmethod
    def read(cls, header: str | None) -> "Last":
        number, _, position = (header or "").partition(".")
        known = number.isascii() and number.isdigit() and len(number) <= 16
        return cls(int(number) if known else 0, position if known else "")


async def _set(event: asyncio.Event, seconds: float) -> bool:
    """False when nothing has changed for so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _id(number: int, position: str) -> str:
    return f"{number}.{position}" if position else str(number)


def _frame(id: int | str, event: str, data: str) -> bytes:
    return f"id: {id}\nevent: {event}\ndata: {data}\n\n".encode()
