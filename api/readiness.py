"""Whether requests can be served: the store has to answer, Redis is only missed."""

import logging
import threading
import time

from shared import names
from shared.errors import Fault, HubelError, NotFound
from shared.live import Live
from shared.storage import Storage

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0


class Readiness:
    """Opens the store when it first answers, however late, and then watches over it."""

    def __init__(self, store: Storage, live: Live) -> None:
        self._store, self._live = store, live
        self._opened = False
        self._looked = float("-inf")
        self._error: HubelError | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._open, name="open-store", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def store_error(self) -> HubelError | None:
        """However many ask, the store is asked again at most every FRESH_SECONDS."""
        with self._lock:
            if time.monotonic() - self._looked >= FRESH_SECONDS:
                self._error = self._look()
                self._looked = time.monotonic()
            return self._error

    def faults(self) -> list[Fault]:
        """What does not answer now: /store, /redis."""
        error = self.store_error()
        faults = [] if error is None else [Fault("/store", error.code, error.detail)]
        if not self._live.answers():
            faults.append(Fault("/redis", "redis-unavailable", "Redis does not answer"))
        return faults

    def _look(self) -> HubelError | None:
        try:
            if self._opened:
                self._store.size(names.probe("ready"))
            else:
                self._store.open()
                self._opened = True
        except NotFound:
            return None
        except HubelError as error:
            return error
        return None

    def _open(self) -> None:
        said = ""
        while (error := self.store_error()) is not None and not self._opened:
            if error.detail != said:
                said = error.detail
                log.warning("the object store is not ready: %s", said)
            if self._stop.wait(FRESH_SECONDS):
                return
