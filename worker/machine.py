"""Whether this machine can work: its device, its disk, its way to the store."""

import logging
from tempfile import NamedTemporaryFile

from shared import names
from shared.errors import (
    DataDamaged,
    DeviceUnavailable,
    HubelError,
    StoreUnavailable,
    StoreUnsuitable,
)
from shared.settings import Settings
from shared.storage import Storage
from shared.store_failures import is_no_room
from worker.pulse import Pulse

log = logging.getLogger(__name__)

UNFIT = (StoreUnavailable, StoreUnsuitable, DeviceUnavailable)
"""No try at a piece of work: others may do it."""
LONGEST_REST = 60.0
"""Seconds until one that was unfit looks again, at most."""
ROOM_BYTES = 1 << 20


class Machine:
    def __init__(self, settings: Settings, store: Storage, pulse: Pulse) -> None:
        self.settings, self.store, self.pulse = settings, store, pulse

    def device(self) -> str:
        """DeviceUnavailable where that which is asked for is not there."""
        from worker import device

        return device.choose(self.settings)

    def is_at_fault(self, error: Exception) -> bool:
        """Or the store; in any case not the work that met it."""
        from worker import device

        return is_no_room(error) or isinstance(error, DataDamaged) or device.is_at_fault(error)

    def rest(self, error: Exception | None) -> None:
        """Leave the queue to others until it is fit. Looks after a while, longer each time."""
        rest = 1.0
        self.pulse.note_fitness(error is None)
        while error is not None and not self.pulse.is_stopping():
            log.warning("this worker takes nothing for %.0f s: %s", rest, error)
            self.pulse.rest(rest)
            rest = min(LONGEST_REST, 2 * rest)
            error = self._unfit()
        self.pulse.note_fitness(error is None)

    def _unfit(self) -> Exception | None:
        try:
            self.device()
            self.store.exists(names.probe("fit"))
            with NamedTemporaryFile(dir=self.settings.scratch_dir) as file:
                file.write(bytes(ROOM_BYTES))
                file.flush()
        except (HubelError, OSError) as error:
            return error
        return None
