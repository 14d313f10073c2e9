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


def set_priority(leaders: list[int], nice: int) -> None:
    """Of every thread of these processes' sessions, Linux knows no other; and of the sessions,
    which may have shares of their own (autogroup), within which nice values are compared."""
    sessions = _sessions()
    for leader in leaders:
        session = os.getsid(leader)
        with contextlib.suppress(OSError):
            Path(f"/proc/{leader}/autogroup").write_text(str(nice))
        for pid in sessions.get(session, {}):
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
