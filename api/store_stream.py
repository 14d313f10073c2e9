"""A check or a collection as lines of JSON: findings as they come, a word now and then that it is
alive, a summary last. One at a time for the whole service."""

import asyncio
import json
import logging
import queue
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from shared.errors import Cancelled, Conflict, HubelError
from shared.findings import Finding, Report
from shared.live import Live

log = logging.getLogger(__name__)

WORK = "store-check"
ALIVE_SECONDS = 5.0
AHEAD = 256
"""Lines that may wait for a slow reader; then the check waits."""

Json = dict[str, Any]
Work = Callable[[Callable[[], None]], Iterator[Finding]]
"""Given what to call now and then: the findings."""


class StoreStream:
    """Works in a thread of its own, which ends when nobody reads any more."""

    def __init__(self, live: Live, report: Report, about: Json) -> None:
        """Conflict where another one is under way. Without Redis nobody can say."""
        self.live, self.report, self.about = live, report, about
        self.owner = secrets.token_hex(8)
        self._lines: queue.Queue[Json] = queue.Queue(AHEAD)
        self._left = threading.Event()
        self._renewed = self._began = time.monotonic()
        if not live.take(WORK, self.owner):
            error = Conflict("A check or a collection of the store is under way: one at a time")
            error.retry_after = 60
            raise error

    async def lines(self, work: Work) -> AsyncIterator[str]:
        threading.Thread(target=self._run, args=(work,), name=WORK, daemon=True).start()
        try:
            is_last = False
            while not is_last:
                line = await asyncio.to_thread(self._next)
                is_last = line["type"] in ("summary", "error")
                yield json.dumps(line, ensure_ascii=False) + "\n"
        finally:
            self._left.set()

    def _next(self) -> Json:
        try:
            return self._lines.get(timeout=ALIVE_SECONDS)
        except queue.Empty:
            tally = self.report.tally
            return {"type": "progress", "objects": tally.objects, "bytes": tally.bytes}

    def _run(self, work: Work) -> None:
        try:
            last = self._outcome(work)
        finally:
            # Before the last line: whoever has read it may ask for the next one at once.
            self.live.release(WORK, self.owner)
        if last:
            self._put(last, lambda: None)  # renewed, the lease would be taken again

    def _outcome(self, work: Work) -> Json | None:
        """The last line; None where nobody reads any more."""
        try:
            for finding in work(self._tick):
                self._put(finding.shown(), self._tick)
        except Cancelled:
            log.warning("a check of the store ended early: nobody reads what it finds")
            return None
        except HubelError as error:
            return {"type": "error", "code": error.code, "detail": error.detail}
        except Exception:
            log.exception("a check of the store failed")
            detail = "Something went wrong here; the service's log has it"
            return {"type": "error", "code": HubelError.code, "detail": detail}
        seconds = round(time.monotonic() - self._began, 3)
        return {"type": "summary", **self.about, **self.report.tally.shown(), "seconds": seconds}

    def _tick(self) -> None:
        if self._left.is_set():
            raise Cancelled("nobody reads any more")
        if time.monotonic() - self._renewed > ALIVE_SECONDS:
            self._renewed = time.monotonic()
            self.live.renew(WORK, self.owner)

    def _put(self, line: Json, tick: Callable[[], None]) -> None:
        while not self._left.is_set():
            tick()
            try:
                self._lines.put(line, timeout=1)
            except queue.Full:
                continue
            return
