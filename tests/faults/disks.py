"""Disks that are full: small file systems in memory, where this machine lets us mount them."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.deaths import forget_data_sets
from tests.faults.round import Round

STORE, SCRATCH = "store", "scratch"
STORE_SIZE, SCRATCH_SIZE = "512m", "4m"
CANNOT_MOUNT = "no file system can be mounted here (root can, or unshare -Urm)"
UNSHARED = "HUBEL_FAULTS_UNSHARED"
"""Set where this process is root in name only."""


def full_for_the_store(round: Round) -> None:
    """Half-way through one sweep and for the submit of another."""
    round.begun()
    with full(round.site.data / STORE):
        round.injected += 1
        time.sleep(round.outage_seconds)
    round.sweep().submit()


def full_for_the_workers(round: Round) -> None:
    """While they decode a data set that nobody has prepared yet."""
    forget_data_sets(round)
    with full(round.site.data / SCRATCH):
        round.sweep().submit()
        round.injected += 1
        time.sleep(round.outage_seconds)


@contextlib.contextmanager
def small(data: Path) -> Iterator[dict[str, str]]:
    """What a site in `data` has to be told, to write to small file systems."""
    with tmpfs(data / STORE, STORE_SIZE), tmpfs(data / SCRATCH, SCRATCH_SIZE) as scratch:
        yield {"HUBEL_SCRATCH_DIR": str(scratch)}


def can_mount(folder: Path) -> bool:
    try:
        with tmpfs(folder / "can-mount", "1m"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def must_be_filled() -> bool:
    """Only on a laptop without the right to mount may these kinds be left out."""
    is_root = os.geteuid() == 0 and UNSHARED not in os.environ
    return is_root or bool(os.environ.get("CI"))


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "hubel-faults", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Not a byte more fits inside the block."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    try:
        yield
    finally:
        ballast.unlink()
