"""Celery's side of a worker: its tasks, what they are about in the logs, and a child that does not
outlive its parent. The work is `crew.py`'s."""

import ctypes
import signal
import sys
from typing import Any

from celery import Celery, Task

from shared import logs
from shared.queue import PREPARE, REPAIR, REQUEST, SEGMENT, TRAIN
from shared.ready import WORK
from shared.settings import Settings
from worker.crew import Crew
from worker.pulse import Pulse

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """No device is held by an orphan: the kernel ends this process when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def note_ids(task: Task, args: list[Any], **_: Any) -> None:
    """What is logged from here on is about this piece of work."""
    request = task.request
    logs.at_work(request=request.get(REQUEST), experiment=args[0], segment=request.get(WORK))


def drop_ids(**_: Any) -> None:
    logs.at_work(request=None, experiment=None, segment=None)


_crew: list[Crew] = []


def register(app: Celery, settings: Settings, pulse: Pulse) -> None:
    """Put the tasks on the app. The crew is made in the child, at its first task."""

    def crew() -> Crew:
        if not _crew:
            _crew.append(Crew(settings, app, pulse))
        return _crew[0]

    @app.task(name=TRAIN, bind=True)
    def train(task: Task, experiment: str, segment: int) -> None:
        crew().train(experiment, task.request.get(SEGMENT, segment))

    @app.task(name=PREPARE)
    def prepare(experiment: str, dataset: str) -> None:
        crew().prepare(experiment, dataset)

    @app.task(name=REPAIR)
    def repair(experiment: str, segment: int) -> None:
        crew().repair(experiment, segment)
