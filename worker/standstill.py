"""Threads of a parent stand still while it forks: what one of them holds in that moment, a lock in
compiled code as well, its child would wait for without end."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""A thread that waits for a server for longer holds nothing but its socket."""


class Standstill:
    """One of a process: what it asks of `os` cannot be taken back."""

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._workers, self._changed, self._is_mine = 0, Condition(), False
        os.register_at_fork(
            before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
        )

    @contextmanager
    def working(self) -> Iterator[None]:
        """Of a thread: no fork begins meanwhile, and none is under way."""
        with self._changed:
            self._workers += 1
        try:
            yield
        finally:
            with self._changed:
                self._workers -= 1
                self._changed.notify()

    def _before(self) -> None:
        """Until the fork is over nobody begins."""
        self._is_mine = False
        self._changed.acquire()
        self._is_mine = True
        if not self._changed.wait_for(lambda: not self._workers, self._patience):
            log.warning("forked after %.0f s beside a thread that works", self._patience)

    def _in_parent(self) -> None:
        if self._is_mine:
            self._changed.release()

    def _in_child(self) -> None:
        """Nobody is left to give it back."""
        self._workers, self._changed = 0, Condition()
