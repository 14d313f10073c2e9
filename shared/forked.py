"""Values of meters in memory that a process shares with the children that it forks: the parent
shows what its child counted, also of one that was killed.

prometheus_client's own way is a file for each process, mapped into its memory: a child that counts
while the disk is full is ended by SIGBUS, and the lock in front of it may be held by another thread
of the parent at the moment of the fork, and then for ever.
"""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from prometheus_client import values

ROOM = 4096
_memory = memoryview(mmap.mmap(-1, 8 * ROOM)).cast("d")
_memory[:] = memoryview(bytes(8 * ROOM)).cast("d")  # every page is there: none can be refused later
_taken = 0
_lock = Lock()
_ours = 0


def _in_child() -> None:
    """The lock may have been held, and the parent goes on writing cells of its own."""
    global _lock, _ours
    _lock, _ours = Lock(), 1


os.register_at_fork(after_in_child=_in_child)


@contextmanager
def shared_values() -> Iterator[None]:
    """Meters that are made within, with all of their labels, are shared with children. Of a
    labelled one use what `labels` gave here: it takes a lock, which a child must not wait for."""
    usual = values.ValueClass
    values.ValueClass = _Shared
    try:
        yield
    finally:
        values.ValueClass = usual


class _Shared:
    """As `prometheus_client.values.MutexValue`, of two cells: the parent's and its children's, of
    whom one works at a time. Exemplars are not kept."""

    _multiprocess = False

    def __init__(self, *_: Any, **__: Any) -> None:
        global _taken
        self._at, _taken = _taken, _taken + 2

    def inc(self, amount: float) -> None:
        with _lock:
            _memory[self._at + _ours] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        _memory[self._at + _ours] = value

    def get(self) -> float:
        return _memory[self._at] + _memory[self._at + 1]

    def set_exemplar(self, exemplar: object) -> None:
        pass

    def get_exemplar(self) -> None:
        return None
