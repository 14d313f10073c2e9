"""Folders on this machine's disk for what is passing through. Each is locked while its process
lives, so that what a killed one has left can be told from what is in use, and be removed."""

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shared.errors import HubelError

log = logging.getLogger(__name__)

UPLOAD, PREPARE, FETCH = "hubel-upload-", "hubel-prepare-", "hubel-fetch-"
"""How the names of folders begin, by what passes through them."""
DATASETS = "hubel-datasets"
"""A folder of data sets that workers have fetched, and that all of a machine share."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ScratchFull(HubelError):
    status, code, title = 507, "scratch-full", "No room on the disk"
    retry_after = 60


class Folder:
    """A new folder in `scratch`, until `remove`."""

    def __init__(self, scratch: Path, prefix: str = UPLOAD) -> None:
        # Under another name until it is locked: nobody may take it for a dead one's.
        made = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=scratch))
        self._lock = os.open(made, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = made.rename(made.with_name(made.name[1:]))

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()


@contextlib.contextmanager
def room(scratch: Path) -> Iterator[None]:
    """ScratchFull where the disk is."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        log.error("no room in %s: %s", scratch, error)
        raise ScratchFull(
            "There is no room for the upload on the service's disk: send it again later, or tell"
            " its operator (HUBEL_SCRATCH_DIR)"
        ) from None


def remove_abandoned(scratch: Path) -> None:
    """Folders of processes that have died, of this machine or of another that shares the disk."""
    found = (path for prefix in (UPLOAD, PREPARE, FETCH) for path in scratch.glob(f"{prefix}*"))
    for path in found:
        with contextlib.suppress(OSError):  # in use, or removed by somebody else just now
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
                log.info("removed %s, which a killed process had left", path)
            finally:
                os.close(lock)
