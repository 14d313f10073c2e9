"""The time that an experiment still takes, against answers known by hand."""

import pytest
from shelf import Shelf, body, paths, removal

from api import time_left
from api.time_left import TimeLeft
from shared import tree, urgency

EPOCH = 3.0
"""Seconds."""


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still, in a list."""
    clock = [1000.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: clock[0])
    return clock


class Sweep:
    """A plan, and what is done of it."""

    def __init__(self, spec):
        self.plan = tree.make(paths(spec), Shelf())
        self.left = TimeLeft(self.plan, urgency.remaining(self.plan))
        self.done = []

    def finish(self, *indices, seconds=None):
        for i in indices:
            epochs = self.plan.segments[i].planned
            self.left.note(i, epochs, epochs * EPOCH if seconds is None else seconds)
            self.done.append(i)

    def of(self, workers, running=None):
        todo = [i for i in range(len(self.plan.segments)) if i not in self.done]
        return self.left.of(todo, self.done, running or {}, workers)


@pytest.mark.parametrize(
    ("workers", "expected"),
    # Of the 65 epochs 55 are left; the longest path of what is left has 25.
    [(1, 55 * EPOCH), (8, 25 * EPOCH), (None, 55 * EPOCH)],
)
def test_it_is_the_work_that_is_left_over_the_workers_and_at_least_the_longest_path(
    now, workers, expected
):
    sweep = Sweep(removal(0, 10, 20))
    assert sweep.of(workers) is None
    trunk = sweep.plan.runs[2].segments[0]
    assert sweep.plan.segments[trunk].planned == 10
    sweep.finish(trunk)
    assert sweep.of(workers) == pytest.approx(expected)


def test_an_epoch_that_a_worker_has_told_of_is_a_basis_and_what_it_has_done_is_done(now):
    sweep = Sweep(removal(0, training={"epochs_after_deficit": 20}))
    [first] = sweep.plan.runs[0].segments[:1]
    assert sweep.of(1, {first: {"epoch": 0}}) is None
    now[0] += 60
    told = {"epoch": 5, "seconds_per_epoch": 2.0}
    assert sweep.of(1, {first: told}) == pytest.approx(15 * 2.0)


def test_each_size_of_network_takes_what_was_measured_of_it(now):
    spec = body(sweep={"model.width": [0.1, 0.2]}, training={"epochs": 40}, deficit=None)
    sweep = Sweep(spec)
    small, large = sweep.plan.runs
    sizes = [sweep.plan.segments[run.segments[0]].planned for run in (small, large)]
    sweep.finish(small.segments[0], seconds=sizes[0] * 1.0)
    sweep.finish(large.segments[0], seconds=sizes[1] * 1.5)  # by the spec nearly four times
    left = (40 - sizes[0]) * 1.0 + (40 - sizes[1]) * 1.5
    assert sweep.of(1) == pytest.approx(left)


def test_what_measures_takes_longer_than_what_does_not(now):
    spec = body(sweep={}, training={"epochs": 160}, deficit=None)
    sweep = Sweep(spec | {"fisher": {"every": 40, "samples": 16}})
    takes = [20 * 1.0 + 7.0 * len(part.probes) for part in sweep.plan.segments]
    assert {len(part.probes) for part in sweep.plan.segments} == {0, 2}
    for i in range(4):
        sweep.finish(i, seconds=takes[i])
    assert sweep.of(1) == pytest.approx(sum(takes[4:]))
    for i in range(4, 7):
        sweep.finish(i, seconds=takes[i])
    now[0] += 60
    # The last one has trained all of its epochs, and measures.
    told = {7: {"epoch": 160, "seconds_per_epoch": 1.0}}
    assert sweep.of(1, told) == pytest.approx(takes[7] - 20)


def test_an_experiment_that_gets_a_worker_half_of_the_time_takes_twice_as_long(now):
    sweep = Sweep(removal(0, 10, 20))
    sweep.finish(sweep.plan.runs[2].segments[0])
    for turn in range(200):
        now[0] += 1
        found = sweep.of(turn % 2)
    assert found == pytest.approx(55 * EPOCH / 0.5, rel=0.1)


@pytest.mark.parametrize("workers", [1, None])
def test_what_has_just_been_done_is_nothing_that_another_worker_does(now, workers):
    sweep = Sweep(removal(0, 10, 20))
    trunk, clean = (sweep.plan.runs[i].segments[0] for i in (2, 0))
    told = {"epoch": 10, "seconds_per_epoch": EPOCH, "done": True}
    for _ in range(60):
        now[0] += 1
        found = sweep.of(workers, {trunk: told, clean: {"epoch": 0, "seconds_per_epoch": EPOCH}})
    assert found == pytest.approx(55 * EPOCH)


def test_it_is_not_worked_out_again_for_every_poll(now, monkeypatch):
    sweep, made = Sweep(removal(0, 10, 20)), []
    sweep.finish(sweep.plan.runs[2].segments[0])

    def looks(*_):
        made.append(None)
        now[0] += 0.1
        return 100.0

    monkeypatch.setattr(sweep.left, "_look_ahead", looks)
    assert sweep.of(1) == 100.0
    now[0] += 4.0
    assert sweep.of(1) == pytest.approx(96.0, abs=0.11)
    assert len(made) == 1
    now[0] += 1.0
    assert sweep.of(1) == 100.0
    assert len(made) == 2


def test_what_workers_of_another_experiment_do_of_it_is_done_all_the_same(now):
    sweep = Sweep(removal(0, 10, 20))
    sweep.finish(sweep.plan.runs[2].segments[0])
    assert sweep.of(0, {sweep.plan.runs[0].segments[0]: {"epoch": 0}}) == pytest.approx(55 * EPOCH)


def test_nobody_can_say_how_long_measuring_takes_that_was_never_measured(now):
    spec = body(sweep={}, training={"epochs": 40}, deficit=None)
    sweep = Sweep(spec | {"fisher": {"epochs": [40], "samples": 16}})
    last = sweep.plan.segments[-1]
    sweep.finish(*range(len(sweep.plan.segments) - 1))
    last.stored = True
    assert last.planned == 0
    assert TimeLeft(sweep.plan, urgency.remaining(sweep.plan)).of([], sweep.done, {}, 1) is None
    sweep.left = TimeLeft(sweep.plan, urgency.remaining(sweep.plan))
    sweep.left.note(0, sweep.plan.segments[0].planned, 60.0)
    assert sweep.of(1) is None, "not 0 s"
