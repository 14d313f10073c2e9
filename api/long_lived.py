"""Full collections of garbage stop every request for as long as there are objects: what lives long
is left out of them."""

import gc
import time

AGAIN_SECONDS = 30.0
"""What has been made since is left out too: most of it is in a cache by now."""
WHOLE_SECONDS = 900.0
"""After this all of it is looked at once: cycles among it would else never be freed."""


class LongLived:
    """Looked after by one thread. What is left out is freed as ever once nothing refers to it."""

    def __init__(self) -> None:
        self._again = self._whole = float("-inf")

    def pass_over(self) -> None:
        now = time.monotonic()
        if now - self._whole > WHOLE_SECONDS:
            gc.unfreeze()
            gc.collect()
            self._whole = now
        elif now - self._again < AGAIN_SECONDS:
            return
        gc.collect(1)
        gc.freeze()
        self._again = now
