"""What the driver says of one GPU, by the name that torch has for it: an index may mean another
device to each of the two."""

import pynvml


def look(uuid: str) -> tuple[float, float, float | None] | None:
    """Bytes in use and in all, and the share of time with a kernel, where it can be told (not of a
    part of a GPU). None where the driver does not know it. Opened and closed each time: nothing of
    it is there while a child is forked."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid.encode())
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return float(memory.used), float(memory.total), _utilisation(handle)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _utilisation(handle: object) -> float | None:
    try:
        return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
    except pynvml.NVMLError:
        return None
