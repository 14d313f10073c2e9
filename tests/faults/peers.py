"""Which process is at the other end of a connection on this machine, and whose child it is."""

import os
from collections.abc import Iterable
from pathlib import Path

_LOOPBACK = "0100007F"


def descendants(pids: Iterable[int]) -> list[int]:
    """These processes and all that they have started, the oldest first."""
    parents = {int(p.name): parent_of(int(p.name)) for p in Path("/proc").iterdir()
               if p.name.isdigit()}  # fmt: skip
    found = list(pids)
    for pid in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


def owner_of(port: int, pids: Iterable[int]) -> int | None:
    """The one of `pids` that has a loopback connection from `port`."""
    inode = _inode_of(port)
    link = f"socket:[{inode}]"
    return next((pid for pid in pids if inode and link in _files(pid)), None)


def _inode_of(port: int) -> str | None:
    wanted = f"{_LOOPBACK}:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted and fields[9] != "0":
            return fields[9]
    return None


def _files(pid: int) -> set[str]:
    folder, found = f"/proc/{pid}/fd", set()
    try:
        for name in os.listdir(folder):
            try:
                found.add(os.readlink(f"{folder}/{name}"))
            except OSError:
                continue  # closed meanwhile
    except OSError:
        pass  # ended meanwhile
    return found
