"""How much of a device is in use, as seen from beside the process that uses it. No torch."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pynvml

from worker import cgroup

FRESH_SECONDS = 1.0
"""Of a shorter time, the kernel's hundredths of a second say little."""


@dataclass(frozen=True)
class Use:
    memory_used: float
    memory_total: float
    busy: float | None
    """0 to 1; None: not known."""


def of_cuda(uuid: str) -> Use | None:
    """By the name that the child's own driver gave it: CUDA and NVML count devices in different
    orders. None where that is not found, which is no reason to show another one."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return _asked(_handle(uuid))
    except pynvml.NVMLError:
        return None
    finally:
        # A child that is forked later finds nothing open.
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _handle(uuid: str) -> "pynvml.c_nvmlDevice_t":
    """Of a whole GPU, or of the instance that is meant where it is divided."""
    with suppress(pynvml.NVMLError):
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        if not _is_divided(handle):
            return handle
    return pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")


def _is_divided(handle: "pynvml.c_nvmlDevice_t") -> bool:
    try:
        return bool(pynvml.nvmlDeviceGetMigMode(handle)[0])
    except pynvml.NVMLError:  # too old for it
        return False


def _asked(handle: "pynvml.c_nvmlDevice_t") -> Use:
    memory, busy = pynvml.nvmlDeviceGetMemoryInfo(handle), None
    with suppress(pynvml.NVMLError):  # an instance does not say
        busy = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    return Use(float(memory.used), float(memory.total), busy)


def of_cpu(threads: int, proc: Path = cgroup.PROC) -> Callable[[int], Use | None]:
    """Of a process that uses so many threads, since it was last asked."""
    before: tuple[int, float, float] | None = None
    busy: float | None = None

    def use(pid: int) -> Use | None:
        nonlocal before, busy
        found = _of_process(pid, proc)
        if found is None:
            return None
        seconds, resident = found
        now = time.monotonic()
        if before is None or before[0] != pid:
            before, busy = (pid, now, seconds), None
        elif now - before[1] >= FRESH_SECONDS:
            busy = min(1.0, (seconds - before[2]) / (now - before[1]) / threads)
            before = (pid, now, seconds)
        return Use(resident, memory_limit(proc), busy)

    return use


def _of_process(pid: int, proc: Path) -> tuple[float, float] | None:
    """Seconds on a CPU, and bytes in memory."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        pages = int((proc / str(pid) / "statm").read_text().split()[1])
    except OSError:  # it has ended
        return None
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), float(pages * os.sysconf("SC_PAGE_SIZE"))


def memory_limit(proc: Path = cgroup.PROC, cgroups: Path = cgroup.CGROUPS) -> float:
    """What this worker's own cgroup may have (version 2), or else all of the machine's memory."""
    with suppress(OSError, ValueError):  # "max" is no limit
        return float(int((cgroup.own(proc, cgroups) / "memory.max").read_text()))
    with suppress(OSError):
        words = (proc / "meminfo").read_text().split()
        return float(int(words[words.index("MemTotal:") + 1]) * 1024)
    return 0.0
