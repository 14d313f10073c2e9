"""What is trained goes to the store beside the training that goes on: one segment at a time."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Self

from shared.errors import Stopped

LOOK_SECONDS = 0.2
"""How often whoever waits says that it is alive."""


class Storing:
    """`with` around all that is stored by it: it ends when that is there, with what went wrong."""

    def __init__(self) -> None:
        self._last: Future[bool] | None = None

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, "storing")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Where the training has failed too, that is what is raised. Nothing of it is held on."""
        self._thread.shutdown()
        last, self._last = self._last, None
        if last is not None and (error := last.exception()) and kind is None:
            raise error

    def begin(self, store: Callable[[], bool]) -> None:
        """Once nothing is under way: no more than one state is held besides the one trained."""
        assert self._last is None or self._last.done(), "one at a time"
        self._last = self._thread.submit(store)

    def wait(self, tick: Callable[[], None]) -> bool:
        """Until what was begun last is over: whether the store now has what was given to it. Who is
        asked to stop waits all the same, or what it has trained would be lost."""
        if self._last is None:
            return True
        while not self._last.done():
            with suppress(Stopped):
                tick()
            wait([self._last], LOOK_SECONDS)
        return self._last.exception() is None and self._last.result()
