"""Whose want of memory is counted: the worker's own, where the kernel tells it apart."""

import pytest

from worker.overseer import _oom_kills

OWN = "max 9\noom 5\noom_kill 4\noom_group_kill 2\n"


@pytest.fixture
def kernel(tmp_path):
    """Of a machine on which 17 processes were ended."""
    (tmp_path / "self").mkdir()
    (tmp_path / "vmstat").write_text("oom_kill_reserve 3\noom_kill 17\npgfault 8\n")
    return tmp_path


@pytest.mark.parametrize("own", ["0::/", "0::/lab.slice/worker.scope", "4:cpu:/\n0::/lab.slice"])
def test_other_containers_of_the_machine_do_not_count(kernel, own):
    (kernel / "self/cgroup").write_text(f"{own}\n")
    folder = kernel / own.rpartition("0::/")[2]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.events").write_text(OWN)
    assert _oom_kills(kernel, kernel) == 4


@pytest.mark.parametrize("own", ["4:memory:/worker\n0::/", "4:memory:/worker", None])
def test_without_a_cgroup_that_counts_the_machine_does(kernel, own):
    if own is not None:
        (kernel / "self/cgroup").write_text(f"{own}\n")
    assert _oom_kills(kernel, kernel) == 17


def test_a_machine_that_tells_nothing_has_had_none(tmp_path):
    assert _oom_kills(tmp_path, tmp_path) == 0
