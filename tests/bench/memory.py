"""Peak memory of a call above what the process held before it: a forked child, whose high-water
mark of resident memory is set back first. Linux only."""

import ctypes
import gc
import os
from collections.abc import Callable
from typing import Any


def peak(call: Callable[[], Any]) -> float | None:
    """MiB; None where the system does not tell, or the call fails."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            os.write(write, str(_measure(call)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return float(said) if said else None


def _measure(call: Callable[[], Any]) -> float:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))
