"""A real worker, of which the child does to some seeds what goes wrong in real life."""

import ctypes
import os
import signal
import time

import numpy as np
from celery import signals

from worker.main import main


def raise_an_error():
    raise ValueError("a shape that does not fit")


def run_out_of_memory():
    np.ones(1 << 46)


def crash():
    ctypes.string_at(0)


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    time.sleep(3600)


POISONS = {101: raise_an_error, 102: run_out_of_memory, 103: crash, 104: be_killed, 105: hang}


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


if __name__ == "__main__":
    signals.task_prerun.connect(poison, weak=False)
    main()
