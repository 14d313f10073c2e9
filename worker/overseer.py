"""What the parent process sees to: how a child died is written down at once, a child that cannot
be interrupted is ended, a worker that hears nothing of a full queue is restarted, and all is told
that it is there."""

# Threads of this process would import these two when a child has died, which is when the next one
# is forked: that would wait for ever for the lock of a module whose importer it has not.
import _strptime  # type: ignore[import-not-found]  # noqa: F401
import encodings.idna  # noqa: F401
import logging
import os
import queue
import re
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import signals
from celery.worker import state

from shared import logs
from shared.attempts import Attempts, Failure
from shared.errors import HubelError
from shared.live import Live
from shared.queue import PREPARE, REPAIR, SEGMENT, TRAIN
from shared.ready import WORK
from shared.records import Records
from shared.settings import Settings
from shared.storage import Storage
from shared.work import preparation_work, repair_work, work_name
from worker import cgroup, last_words, meters
from worker.last_words import supervisor_name
from worker.presence import Presence
from worker.pulse import Pulse
from worker.standstill import Standstill

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
DEAF_SECONDS = 60.0
"""An idle worker that is given nothing of what is queued for this long has lost its connection
without a word."""
DEAF = 75
_SIGNAL = re.compile(r"signal (\d+)")


class Overseer:
    def __init__(self, settings: Settings, pulse: Pulse) -> None:
        self.settings, self.pulse = settings, pulse
        self.name = supervisor_name(os.getpid())
        self._taken = ("", -1)
        """The last message about a segment, and which was taken for it."""
        self._deaths: queue.Queue[tuple[str, list[Any], str, list[int]]] = queue.Queue()
        self._oom_kills = _oom_kills()
        self._still = Standstill()
        self._beats = 0
        self._silent: dict[tuple[int, str], float] = {}
        """For how long a child with a task has not beaten: by process and task."""
        self._ended_hung: set[int] = set()
        self._deaf = 0.0
        self._live = Live(settings)
        self.presence = Presence(self._live, self.name, pulse)

    def start(self) -> None:
        """After the parent has settled: threads do not survive a fork."""
        self.presence.tell()
        signals.task_failure.connect(self._failed, weak=False)
        for loop in (self._note_deaths, self._watch):
            threading.Thread(target=loop, name=loop.__name__, daemon=True).start()

    def received(self, request: Any, **_: Any) -> None:
        """The message is gone from the queue, and the child may need seconds for its imports: what
        it is to work on is held for it, so that it is missed should this machine die meanwhile."""
        headers = request.request_dict  # as the child gets them
        if work := headers.get(WORK):
            if request.task_name == TRAIN:
                named = *request.args, work, self.name
                headers[SEGMENT], headers[WORK] = self._live.take_most_urgent(*named)
                self._taken = request.id, headers[SEGMENT]
            else:
                self._live.take(work, self.name)
        self.presence.tell([request])

    # --- a child that died ---

    def _failed(
        self, sender: Any, task_id: str, args: Any, exception: BaseException, **_: Any
    ) -> None:
        args = list(args or ())
        if task_id == self._taken[0]:
            args[-1] = self._taken[1]
        self._deaths.put((sender.name, args, str(exception), self.pulse.at))
        self.pulse.note_at([])  # the next child has not begun

    def _note_deaths(self) -> None:
        while True:
            task, args, said, at = self._deaths.get()
            with self._still.working(), logs.about(experiment=args[0] if args else None):
                try:
                    self._note(task, args, said, at)
                except HubelError as error:
                    log.warning("how a child died was not written down: %s", error.detail)
                except Exception:
                    log.exception("how a child died was not written down")
                if self._deaths.empty():
                    last_words.forget_the_dead(os.getpid(), self.settings)

    def _note(self, task: str, args: list[Any], said: str, at: list[int]) -> None:
        """A child may have been at more than its message names: it goes on with what follows, and
        stores meanwhile. What it did last is at fault."""
        experiment, named = args
        failure = None
        for what in dict.fromkeys([*at, named]):
            failure = self._note_one(task, [experiment, what], said, failure) or failure

    def _note_one(
        self, task: str, args: list[Any], said: str, other: Failure | None
    ) -> Failure | None:
        store = Storage(self.settings)
        work, attempts = _tried(store, task, args)
        self._live.unmark_queued(work)  # the message went with the child
        self._live.release(work, self.name)
        found = attempts.open_of(self.name)
        if found is None:  # it had not begun, or has said itself how it ended
            return None
        attempt, worker = found
        pid = int(worker.rsplit(":", 1)[-1])
        words = last_words.of_children(os.getpid(), self.settings).get(pid)
        last = last_words.read(words) if words else ""
        failure = _beside(other, last) if other else self._failure(pid, said, last)
        if other is None:
            meters.DEATHS[_reason(failure)].inc()
        attempts.fail(attempt, failure)
        self._live.release(work, worker)
        with logs.about(segment=work):
            log.error("child %d died at %s: %s: %s", pid, work, failure.error, failure.message)
        return failure

    def _failure(self, pid: int, said: str, words: str) -> Failure:
        if pid in self._ended_hung:
            message = f"no sign of life for {self.settings.hang_seconds:.0f} s (HUBEL_HANG_SECONDS)"
            return Failure("hung", "Hang", message, words)
        before, self._oom_kills = self._oom_kills, _oom_kills()
        number = _SIGNAL.search(said)
        if number is None:
            return Failure("died", "ProcessEnded", said, words)
        name = signal.Signals(int(number[1])).name
        if name != "SIGKILL":
            return Failure("died", name, f"the worker's process ended by {name}", words)
        if self._oom_kills > before:
            message = "the kernel ended the worker's process: the machine was out of memory"
            return Failure("died", "OutOfMemory", message, words)
        message = "somebody ended the worker's process, or the kernel for want of memory"
        return Failure("infrastructure", "SIGKILL", message, words)

    # --- a child that hangs, a worker that is deaf ---

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(LOOK_SECONDS):
            with self._still.working():
                try:
                    self._look()
                except Exception:
                    log.exception("the overseer looks again")

    def _look(self) -> None:
        self._look_at_children()
        self._listen()
        self.presence.tell()
        if not state.active_requests:
            meters.IDLE.inc(LOOK_SECONDS)

    def _look_at_children(self) -> None:
        """The child ends itself when it hangs, if any of its threads can run. Counted in looks: a
        machine that slept as a whole has not hung."""
        before, self._beats = self._beats, self.pulse.beats
        silent = self._silent if self._beats == before else {}
        self._silent = {
            (each.worker_pid, each.id): silent.get((each.worker_pid, each.id), 0.0) + LOOK_SECONDS
            for each in list(state.active_requests)
            if each.worker_pid is not None
        }
        for (pid, _), seconds in self._silent.items():
            if self._is_hung(seconds):
                self._end(pid)

    def _is_hung(self, silent: float) -> bool:
        return silent > self.settings.hang_seconds + 2 * LOOK_SECONDS

    def _end(self, pid: int) -> None:
        """Unless it ended by itself: the number may be another process's by now."""
        try:
            if hasattr(os, "waitid"):  # macOS has it from Python 3.13 on
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            os.kill(pid, signal.SIGKILL)
        except (ChildProcessError, ProcessLookupError):
            return
        self._ended_hung.add(pid)
        log.error("child %d gives no sign of life and is ended", pid)

    def _listen(self) -> None:
        if state.active_requests or not self._live.queue_length():
            self._deaf = 0.0
            return
        self._deaf += LOOK_SECONDS
        if self._deaf >= DEAF_SECONDS:
            log.error("idle, and given nothing of what is queued: this worker ends")
            os._exit(DEAF)


def _beside(other: Failure, words: str) -> Failure:
    message = f"the worker's process ended while this was stored: {other.message}"
    return Failure("infrastructure", other.error, message, words)


def _reason(failure: Failure) -> str:
    return failure.kind if failure.kind in meters.DEATHS else "died"


def _tried(store: Storage, task: str, args: list[Any]) -> tuple[str, Attempts]:
    experiment, what = args
    if task == PREPARE:
        return preparation_work(what), Attempts.of_preparation(store, experiment, what)
    segment = Records(store).plan(experiment).segments[what]
    if task == REPAIR:
        return repair_work(segment), Attempts.of_repair(store, experiment, what)
    assert task == TRAIN, task
    return work_name(segment), Attempts.of_segment(store, experiment, segment)


def _oom_kills(proc: Path = cgroup.PROC, cgroups: Path = cgroup.CGROUPS) -> int:
    """How often the kernel has ended a process for want of memory: of this worker's own cgroup,
    with those below it. Where it has none of version 2, of the whole machine."""
    for counter in (cgroup.own(proc, cgroups) / "memory.events", proc / "vmstat"):
        with suppress(OSError):
            lines = counter.read_text().splitlines()
            return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0
