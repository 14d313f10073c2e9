"""What the processes of a system take: a child stands for its whole session."""

import contextlib
import os
from pathlib import Path

from deploy.processes import Child

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(children: dict[str, Child]) -> dict[str, float]:
    """User and system time so far, of processes that live."""
    sessions = _sessions()
    return {
        name: sum(
            float(stat[11]) + float(stat[12]) for stat in sessions.get(child.pid, {}).values()
        )
        / TICK
        for name, child in children.items()
    }


def set_priority(children: dict[str, Child], nice: int) -> None:
    """Of every thread: Linux knows no other."""
    sessions = _sessions()
    for child in children.values():
        for pid in sessions.get(child.pid, {}):
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    os.setpriority(os.PRIO_PROCESS, int(task.name), nice)


def _sessions() -> dict[int, dict[int, list[str]]]:
    """Session -> its processes, each with the fields of its `stat` that follow the name."""
    found: dict[int, dict[int, list[str]]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            found.setdefault(int(fields[3]), {})[int(path.parent.name)] = fields
    return found
