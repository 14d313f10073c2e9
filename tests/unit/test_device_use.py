"""How much of a device is in use, as the worker's parent sees it."""

import os
import time
from pathlib import Path

import pytest

from worker.device_use import FRESH_SECONDS, memory_limit, of_cpu, of_cuda


def test_a_busy_process_is_seen_to_be_busy_and_shares_its_threads() -> None:
    alone, of_four = of_cpu(1), of_cpu(4)
    first = alone(os.getpid())
    assert first is not None
    assert first.busy is None, "nothing is known of a moment"
    of_four(os.getpid())
    until = time.process_time() + 0.5 * FRESH_SECONDS
    while time.process_time() < until:
        pass
    time.sleep(FRESH_SECONDS)
    one, four = alone(os.getpid()), of_four(os.getpid())
    assert one is not None
    assert four is not None
    assert 0.05 < one.busy < 0.6  # type: ignore[operator]
    assert four.busy == pytest.approx(one.busy / 4, rel=0.2)  # type: ignore[operator]
    assert 10 << 20 < one.memory_used < one.memory_total


def test_another_process_is_not_measured_against_the_one_before_it() -> None:
    use = of_cpu(1)
    use(os.getpid())
    time.sleep(FRESH_SECONDS)
    other = use(os.getppid())
    assert other is not None
    assert other.busy is None
    assert use(2**22 + 1) is None, "a process that has ended says nothing"


def test_the_limit_is_the_cgroups_own_or_the_machines_memory(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (cgroups / "pod/worker").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:       2048 kB\nMemFree:        1024 kB\n")
    assert memory_limit(proc, cgroups) == 2048 * 1024
    (proc / "self/cgroup").write_text("0::/pod/worker\n")
    limit = cgroups / "pod/worker/memory.max"
    limit.write_text("max\n")
    assert memory_limit(proc, cgroups) == 2048 * 1024
    limit.write_text("1048576\n")
    assert memory_limit(proc, cgroups) == 1 << 20


def test_of_a_gpu_that_is_not_found_nothing_is_said() -> None:
    assert of_cuda("00000000-0000-0000-0000-000000000000") is None
