"""Child processes: started so that none outlives its parent, with their output in one place."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

Sink = Callable[[str, str], None]  # name of the process, one line of its output

_PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec nothing may allocate much or take a lock.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Program:
    name: str
    argv: list[str]
    is_ready: Callable[[], bool]
    env: dict[str, str] = field(default_factory=dict)
    stop_with: signal.Signals = signal.SIGTERM
    grace_seconds: float = 20


class Child:
    """One program, running. Dies with the *thread* that made it: Linux ties PDEATHSIG to that."""

    def __init__(self, program: Program, sink: Sink) -> None:
        self.program = program
        self.started = time.monotonic()
        parent = os.getpid()
        self._process = subprocess.Popen(
            program.argv,
            env={**os.environ, **program.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A session of its own: Ctrl-C reaches the supervisor only, which stops all in order.
            start_new_session=True,
            preexec_fn=lambda: _die_with(parent),
        )
        assert self._process.stdout is not None
        threading.Thread(
            target=_pump, args=(program.name, self._process.stdout, sink), daemon=True
        ).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def ask_to_stop(self) -> None:
        if self.exit_code is None:
            self._process.send_signal(self.program.stop_with)

    def stop(self) -> None:
        self.ask_to_stop()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self.program.grace_seconds)
        self.kill()

    def kill(self) -> None:
        """The process and whatever it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


class Post:
    """A program that has to be there: when its child ends another takes its place, after a pause
    that doubles while the children end young."""

    FIRST_PAUSE, LONGEST_PAUSE, GROWN_UP = 0.5, 30.0, 60.0  # seconds

    def __init__(self, program: Program, sink: Sink, longest_pause: float = LONGEST_PAUSE) -> None:
        self.program = program
        self._sink = sink
        self._longest_pause = longest_pause
        self._pause = self.FIRST_PAUSE
        self._again_at: float | None = None
        self.child = Child(program, sink)

    def mend(self) -> None:
        now = time.monotonic()
        if self.child.exit_code is None:
            if now - self.child.started > self.GROWN_UP:
                self._pause = self.FIRST_PAUSE
        elif self._again_at is None:
            self.child.kill()
            self._again_at = now + self._pause
            ended = f"{self.program.name} ended with code {self.child.exit_code}"
            self._sink("local", f"{ended}; again in {self._pause:g} s")
        elif now >= self._again_at:
            self._again_at = None
            self._pause = min(self._pause * 2, self._longest_pause)
            self.child = Child(self.program, self._sink)


def await_ready(child: Child, seconds: float) -> None:
    """Raises `TimeoutError`, or `ChildProcessError` where the child has ended."""
    deadline = time.monotonic() + seconds
    while not child.program.is_ready():
        if child.exit_code is not None:
            raise ChildProcessError(f"{child.program.name} ended with code {child.exit_code}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{child.program.name} is not ready after {seconds:.0f} s")
        time.sleep(0.1)


def _die_with(parent: int) -> None:
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _pump(name: str, stream: IO[str], sink: Sink) -> None:
    with stream:
        for line in stream:
            sink(name, line.rstrip("\n"))
