"""What a worker says while it tries one piece of work, in a file that outlives its process: the
parent reads there how the child died."""

import contextlib
import faulthandler
import glob
import logging
import os
import socket
import time
from functools import cache
from pathlib import Path
from typing import IO, Self

from shared.settings import Settings

KEPT_BYTES = 8_000
OLD_SECONDS = 7 * 86_400
_PREFIX = "hubel-worker-"


class LastWords:
    """Holds for one process; `with` for each piece of work. A full disk silences it, no more."""

    def __init__(self, settings: Settings) -> None:
        self.path = settings.scratch / f"{_stem(os.getppid())}{os.getpid()}.log"
        self._file: IO[str] | None = None
        self._handler: logging.Handler | None = None

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            self._file = self.path.open("w", errors="replace")
            self._handler = logging.StreamHandler(self._file)
            self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logging.getLogger().addHandler(self._handler)
            faulthandler.enable(self._file)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is None or self._handler is None:
            return
        logging.getLogger().removeHandler(self._handler)
        faulthandler.disable()
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)
        self._file = self._handler = None

    def stacks(self) -> None:
        """Where every thread is now."""
        if self._file is not None:
            faulthandler.dump_traceback(self._file)

    def tail(self) -> str:
        return read(self.path)


@cache
def supervisor_name(parent: int) -> str:
    """How the names of a worker's children begin. Parent and children have to say the same, also
    where the machine gets another name meanwhile: asked first before the fork."""
    return f"{socket.gethostname()}:{parent}"


def _stem(parent: int) -> str:
    """With the machine's name: containers may share the disk, and number their processes alike."""
    return f"{_PREFIX}{supervisor_name(parent).replace(':', '-')}-"


def read(path: Path) -> str:
    """The end of it; nothing where it is gone."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - KEPT_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def of_children(parent: int, settings: Settings) -> dict[int, Path]:
    """By process: the files of the children of `parent` that are at work, or died at it."""
    found = settings.scratch.glob(f"{glob.escape(_stem(parent))}*.log")
    return {int(path.stem.rsplit("-", 1)[-1]): path for path in found}


def forget_the_old(settings: Settings) -> None:
    """Of containers that are no more: nobody says anything for so long and lives."""
    for path in settings.scratch.glob(f"{_PREFIX}*.log"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > OLD_SECONDS:
                path.unlink()


def forget_the_dead(parent: int, settings: Settings) -> None:
    """Their files, once nobody asks for them any more."""
    for pid, path in of_children(parent, settings).items():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
