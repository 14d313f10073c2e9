"""A real Prometheus and its promtool: from PATH, or unpacked from Debian's package into the virtual
environment. Nothing is installed into the system, and no rights are needed."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

CACHE = Path(sys.prefix) / "prometheus"
NAMES = ("prometheus", "promtool")
SECONDS = 300
"""For a download of 19 MB, or of Debian's lists."""


def binaries() -> dict[str, str]:
    """The paths of both. Without them: skipped, and in CI failed."""
    found = {name: shutil.which(name) for name in NAMES}
    if all(found.values()):
        return {name: str(path) for name, path in found.items()}
    if not all((CACHE / name).exists() for name in NAMES):
        try:
            _unpack()
        except (OSError, subprocess.SubprocessError) as error:
            _missing(getattr(error, "stderr", None) or str(error))
    return {name: str(CACHE / name) for name in NAMES}


def _missing(why: str) -> NoReturn:
    message = (
        "neither prometheus and promtool on PATH nor Debian's package prometheus to be had"
        f" (apt-get install prometheus, or put both on PATH): {why.strip()[-500:]}"
    )
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _unpack() -> None:
    """Both come at once, by renaming: another process may be at it too."""
    with tempfile.TemporaryDirectory(dir=sys.prefix) as place:
        folder = Path(place)
        _download(folder)
        (package,) = folder.glob("prometheus_*.deb")
        _run("dpkg", "-x", str(package), str(folder / "files"))
        CACHE.mkdir(exist_ok=True)
        for name in NAMES:
            (folder / "files/usr/bin" / name).replace(CACHE / name)


def _download(folder: Path) -> None:
    try:
        _run("apt-get", "download", "prometheus", cwd=folder)
    except subprocess.CalledProcessError:
        if os.geteuid() != 0:
            raise
        # A fresh machine has no lists, and old ones name versions that are gone.
        _run("apt-get", "update")
        _run("apt-get", "download", "prometheus", cwd=folder)


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=SECONDS)


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [binaries()["promtool"], *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )
