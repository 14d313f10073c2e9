"""A cache that is bounded by the bytes that it takes, not by the number of its entries."""

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """The values used last that fit in `max_bytes`. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._kept: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, name: str) -> T | None:
        with self._lock:
            if (found := self._kept.get(name)) is None:
                return None
            self._kept.move_to_end(name)
            return found[0]

    def keep(self, name: str, value: T, size: int) -> T:
        """What is kept under this name now: the first value, where two threads made one."""
        with self._lock:
            if (found := self._kept.get(name)) is not None:
                return found[0]
            self._kept[name] = (value, size)
            self.bytes += size
            self._shrink()
            return value

    def replace(self, name: str, value: T, size: int) -> None:
        with self._lock:
            _, before = self._kept.pop(name, (None, 0))
            self._kept[name] = (value, size)
            self.bytes += size - before
            self._shrink()

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def _shrink(self) -> None:
        """One value is kept, however large."""
        while self.bytes > self.max_bytes and len(self._kept) > 1:
            _, (_, size) = self._kept.popitem(last=False)
            self.bytes -= size
