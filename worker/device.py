"""The device that this worker trains on, and the numerics class within which bytes are promised."""

import platform
from typing import Any

import torch

from shared.errors import DeviceUnavailable
from shared.schedule import TRAINING_VERSION
from shared.settings import Settings

FAULTS = {
    3: "the driver could not be initialised", 34: "the driver is a stub", 35: "an old driver",
    46: "devices are busy or unavailable", 100: "no device", 101: "no such device",
    214: "an uncorrectable memory error", 220: "an uncorrectable NVLink error",
    802: "the system is not ready", 803: "driver and system do not match",
}  # fmt: skip
"""Numbers of cudaError_t that are the machine's own (CUDA Runtime API, section 6.36)."""


def choose(settings: Settings) -> str:
    """ "cpu" or "cuda", and the process's thread count fixed."""
    torch.set_num_threads(settings.threads)
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "HUBEL_DEVICE is cuda, but torch sees no CUDA device on this machine"
        )
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


def is_at_fault(error: Exception) -> bool:
    """Whether it says that the device or its driver has failed, and not what was done with it."""
    code = getattr(error, "error_code", None)  # of torch.AcceleratorError: a cudaError_t
    return isinstance(error, RuntimeError) and code in FAULTS


ENGINE_VERSION = 2
"""Of what gives other bits for the same key. 2: convolutions in channels_last."""


def numerics_class(device: str, precision: str = "float32") -> str:
    """Device kind and architecture, torch's minor version, training and engine version, thread
    count; of a processor that trains in bfloat16, which instructions it has for that."""
    torch_minor = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        kind = f"cuda-sm{major}{minor}"
    else:
        capability = torch.backends.cpu.get_cpu_capability().lower().replace(" ", "-")
        kind = f"cpu-{platform.machine()}-{capability}-threads{torch.get_num_threads()}"
        if precision == "bfloat16":
            kind += f"-{bfloat16_unit()}"
    return f"{kind}/torch{torch_minor}/training{TRAINING_VERSION}/engine{ENGINE_VERSION}"


def bfloat16_unit() -> str:
    """What a processor multiplies bfloat16 with: "amx", "avx512bf16", or "none" of its own, where
    it takes longer than float32."""
    if torch.cpu._is_amx_tile_supported():
        return "amx"
    return "avx512bf16" if torch.cpu._is_avx512_bf16_supported() else "none"


def describe(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu"
    return {"kind": device, "name": name, "torch": torch.__version__}


def uuid(device: str) -> str:
    """By which the driver's tools know it, whatever is visible to this process; empty where it has
    none."""
    if device != "cuda":
        return ""
    found = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
    return found.removeprefix("GPU-").removeprefix("MIG-")
