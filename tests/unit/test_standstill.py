"""Each claim in a process of its own: what is registered at a fork stays registered."""

import subprocess
import sys

AROUND = """
import os, threading, time
from worker.standstill import Standstill

still, begun, done = Standstill(patience={patience}), threading.Event(), []

def work():
    with still.working():
        begun.set()
        time.sleep({seconds})
        done.append(time.monotonic())

thread = threading.Thread(target=work, daemon=True)
thread.start()
begun.wait()
"""


def ran(body, patience=10.0, seconds=0.5):
    program = AROUND.format(patience=patience, seconds=seconds) + body
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fork_waits_for_a_thread_that_works():
    """Not while it forks the second time: nobody works then."""
    body = """
for _ in range(2):
    pid = os.fork()
    if not pid:
        os._exit(0 if done else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert ran(body) == "0\n0\n"


def test_a_thread_that_wants_to_work_waits_for_the_fork():
    body = """
os.register_at_fork(before=lambda: time.sleep(0.5))  # runs first, before the lock is asked for
thread.join()
again = threading.Thread(target=work, daemon=True)
pid = os.fork()
if not pid:
    with still.working():
        os._exit(0)
again.start()
again.join()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(done))
"""
    assert ran(body, seconds=0) == "0 2\n"


def test_a_thread_that_works_for_too_long_is_not_waited_for_and_holds_nothing_up_in_the_child():
    body = """
pid = os.fork()
if not pid:
    with still.working():
        os._exit(0 if not done else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(done))
thread.join()
with still.working():
    print(len(done))
"""
    assert ran(body, patience=0.1, seconds=2.0) == "0 0\n1\n"
