"""A real worker, of which the child does to some seeds what goes wrong in real life.

POISON_FIRST, a file's name: the first task hangs before anything of it has begun, and makes it.
POISON_DATA, a file's name: while there is none, decoding a data set hangs, and makes it.
POISON_IMPORT, a module's name: the parent takes 20 seconds to import it.
POISON_MEMORY, a folder: what the kernel tells there of the worker's memory. No kernel would end a
process for want of memory without the machine, or the right to make a cgroup, being the test's own.
"""

import ctypes
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from celery import signals

from worker import overseer
from worker.main import main


def raise_an_error():
    raise ValueError("a shape that does not fit")


def run_out_of_memory():
    np.ones(1 << 46)


def crash():
    ctypes.string_at(0)


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def be_ended_for_memory():
    """As the kernel does it: counted, then killed."""
    events = cgroup() / "memory.events"
    events.write_text(events.read_text().replace("oom_kill ", "oom_kill 1"))
    be_killed()


def hang():
    time.sleep(3600)


POISONS = {
    101: raise_an_error, 102: run_out_of_memory, 103: crash, 104: be_killed, 105: hang,
    106: be_ended_for_memory,
}  # fmt: skip
EVENTS = "low 0\nhigh 0\nmax 7\noom 1\noom_kill 0\noom_group_kill 0\n"


def cgroup():
    return Path(os.environ["POISON_MEMORY"]) / "cgroup/worker.scope"


def count_in_own_cgroup():
    folder = Path(os.environ["POISON_MEMORY"])
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text("0::/worker.scope\n")
    cgroup().mkdir(parents=True)
    (cgroup() / "memory.events").write_text(EVENTS)
    overseer._oom_kills = partial(overseer._oom_kills, folder / "proc", folder / "cgroup")


def poison(**_):
    """In the child, before its first task: the parent never imports torch."""
    from worker.train import Trainer

    sound = Trainer.train_epoch
    if sound.__module__ == __name__:
        return

    def train_epoch(self, epoch, *args):
        if epoch == 1 and self.seed in POISONS:
            POISONS[self.seed]()
        return sound(self, epoch, *args)

    Trainer.train_epoch = train_epoch


def hang_once(variable):
    once = Path(os.environ[variable])
    if not once.exists():
        once.touch()
        hang()


def hang_first(sender, **_):
    if sender.name == "hubel.train":
        hang_once("POISON_FIRST")


def hang_at_data(**_):
    from worker.datasets import BUILTIN

    sound = BUILTIN["gratings"]

    def gratings(*args):
        hang_once("POISON_DATA")
        return sound(*args)

    BUILTIN["gratings"] = gratings


class SlowImport:
    """Of one module, in the parent alone: time enough for a child to be forked meanwhile."""

    def __init__(self, name):
        self.name, self.pid = name, os.getpid()

    def find_spec(self, name, path=None, target=None):
        if name == self.name and os.getpid() == self.pid:
            time.sleep(20)


if __name__ == "__main__":
    signals.task_prerun.connect(poison, weak=False)
    if "POISON_FIRST" in os.environ:
        signals.task_prerun.connect(hang_first, weak=False)
    if "POISON_DATA" in os.environ:
        signals.worker_process_init.connect(hang_at_data, weak=False)
    if "POISON_MEMORY" in os.environ:
        count_in_own_cgroup()
    if "POISON_IMPORT" in os.environ:
        sys.meta_path.insert(0, SlowImport(os.environ["POISON_IMPORT"]))
    main()
