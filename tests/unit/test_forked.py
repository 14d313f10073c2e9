"""Numbers that a process and the children it forks count together."""

import os
import signal
import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from shared import forked
from shared.forked import shared_values


def in_child(does: Callable[[], object]) -> int:
    """Its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            does()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_what_children_counted_stays_when_they_are_killed() -> None:
    registry = CollectorRegistry()
    with shared_values():
        made = Counter("made", "Of a test.", ["kind"], registry=registry)
        kinds = {kind: made.labels(kind) for kind in ("a", "b")}
        sizes = Histogram("sizes", "Of a test.", buckets=(1, 10), registry=registry)

    def count() -> None:
        kinds["a"].inc(2)
        sizes.observe(5)
        os.kill(os.getpid(), signal.SIGKILL)

    kinds["a"].inc()
    for _ in range(3):
        assert os.WTERMSIG(in_child(count)) == signal.SIGKILL
    assert registry.get_sample_value("made_total", {"kind": "a"}) == 7
    assert registry.get_sample_value("made_total", {"kind": "b"}) == 0
    assert registry.get_sample_value("sizes_bucket", {"le": "1.0"}) == 0
    assert registry.get_sample_value("sizes_bucket", {"le": "10.0"}) == 3
    assert registry.get_sample_value("sizes_sum") == 15


def test_parent_and_child_do_not_overwrite_each_other() -> None:
    with shared_values():
        counter = Counter("both", "Of a test.", registry=CollectorRegistry())

    def count() -> None:
        for _ in range(100_000):
            counter.inc()

    thread = threading.Thread(target=count)
    thread.start()
    in_child(count)
    thread.join()
    assert counter._value.get() == 200_000


def test_a_lock_that_was_held_at_the_fork_is_not_held_in_the_child() -> None:
    with shared_values():
        counter = Counter("held", "Of a test.", registry=CollectorRegistry())
    with forked._lock:
        assert in_child(counter.inc) == 0  # it comes back
    assert counter._value.get() == 1


def test_meters_made_outside_are_as_they_always_are() -> None:
    usual = Counter("usual", "Of a test.", registry=CollectorRegistry())
    in_child(usual.inc)
    assert usual._value.get() == 0
