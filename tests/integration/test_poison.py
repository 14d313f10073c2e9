"""Work that raises, crashes, hangs, is killed or diverges: alone, with its words kept."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from breakable import children_of
from small import submit

from shared.attempts import Attempts
from worker import last_words, overseer

pytestmark = pytest.mark.services

POISONED = str(Path(__file__).parent / "poisoned_worker.py")
EXPECTED = {
    101: ("error", "ValueError", "a shape that does not fit"),
    102: ("error", "MemoryError", "Unable to allocate"),
    103: ("died", "SIGSEGV", "the worker's process ended by SIGSEGV"),
    104: ("infrastructure", "SIGKILL", "somebody ended the worker's process"),
    105: ("hung", "Hang", "no step was made for"),
    106: ("died", "OutOfMemory", "the kernel ended the worker's process"),
}
SAID = {
    101: "a shape that does not fit",
    102: "run_out_of_memory",
    103: "Segmentation fault",
    104: "",
    105: "Current thread",
    106: "",
}
"""In the log that is kept: a traceback, or the stacks of the threads."""
ONE = {"sweep": {}, "fisher": None, "deficit": None, "training": {"epochs": 2, "batch_size": 64}}
LONG = {
    "dataset": {"name": "gratings", "train_samples": 2000, "test_samples": 64},
    "training": {"epochs": 19, "batch_size": 2},
}
"""One segment of more than a minute."""


@pytest.fixture
def poisoned(lab, tmp_path):
    """The lab with one worker, in which seeds from 101 are poison. Each is tried twice."""
    return poison(lab, tmp_path, retry_seconds=0.2)


def poison(lab, tmp_path, retry_seconds):
    """The worker has the pause from its start: it keeps to it as the service does."""
    limits = {"max_attempts": 2, "max_infrastructure_attempts": 2, "retry_seconds": retry_seconds}
    for name, value in limits.items():
        setattr(lab.settings, name, value)
    lab.start_worker(POISONED, HUBEL_HANG_SECONDS="10", POISON_MEMORY=str(tmp_path / "memory"))
    return lab


def history(lab, id, run=0):
    """Of the run's only segment."""
    plan = lab.service.plan(id)
    segment = plan.segments[plan.runs[run].segments[0]]
    return Attempts.of_segment(lab.service.store, id, segment).history()


def test_poison_fails_alone_and_the_next_experiment_starts_within_a_minute(poisoned, http):
    bad = submit(poisoned, **ONE, seeds=[*EXPECTED, 0])
    next_one = submit(poisoned, **ONE, seeds=[1])
    assert poisoned.wait(bad, seconds=300)["state"] == "failed"
    assert poisoned.service.run_states(bad) == ["failed"] * len(EXPECTED) + ["succeeded"]
    failures = {one["run"]: one for one in poisoned.service.status(bad)["failures"]}
    answer = http.get(f"/v1/experiments/{bad}/failures").json()["failures"]
    told = {one["run"]: one["attempts"] for one in answer}
    assert failures.keys() == told.keys() == {*range(len(EXPECTED))}
    for run, (seed, (kind, error, message)) in enumerate(EXPECTED.items()):
        failure, tries = failures[run], history(poisoned, bad, run).attempts
        assert (failure["kind"], failure["error"]) == (kind, error)
        assert failure["message"].startswith(message)
        assert failure["attempts"] == len(tries) == 2
        assert all(SAID[seed] in attempt.failure.log for attempt in tries)
        assert tries[1].started - tries[0].ended >= 0.2
        assert [(a["kind"], a["error"]) for a in told[run]] == [(kind, error)] * 2
        assert SAID[seed] in told[run][1]["log"]
    began = time.monotonic()
    assert poisoned.wait(next_one)["state"] == "succeeded"
    assert time.monotonic() - began < 60


def test_a_child_forked_while_the_parent_imports_comes_up(lab, http):
    """It would wait for the lock of a module whose importer is a thread that it has not."""
    lab.settings.max_attempts, lab.settings.max_infrastructure_attempts = 1, 2
    lab.start_worker(POISONED, POISON_IMPORT="_strptime")
    # A child is killed; while the parent reads what it did, another ends; a third tries again.
    id = submit(lab, **ONE, seeds=[104, 101])
    assert lab.wait(id)["state"] == "failed"


def test_a_child_that_hangs_before_it_has_begun_is_ended(lab, http, tmp_path):
    first = tmp_path / "hung"
    lab.start_worker(POISONED, POISON_FIRST=str(first), HUBEL_HANG_SECONDS="5")
    id = submit(lab, **ONE)
    assert lab.wait(id)["state"] == "succeeded"
    assert first.exists()
    assert any("gives no sign of life" in line for line in lab.lines)


def test_a_child_whose_words_are_gone_is_not_taken_for_one_that_hangs(lab, http):
    worker = lab.start_worker(HUBEL_HANG_SECONDS="5")
    id = submit(lab, **ONE | LONG)
    lab.wait(id, lambda s: s["state"] == "running" and s["progress"]["epochs"]["done"] > 0)
    (words,) = last_words.of_children(worker.pid, lab.settings).values()
    words.unlink()
    time.sleep(5 + 3 * overseer.LOOK_SECONDS)
    assert lab.service.status(id)["state"] == "running"
    assert [attempt.ended for attempt in history(lab, id).attempts] == [None]
    lab.service.cancel(id)


def test_a_message_that_comes_before_its_pause_is_over_is_no_try(lab, http, tmp_path):
    """The pause is longer than a new child takes to come."""
    poison(lab, tmp_path, retry_seconds=6)
    bad = submit(lab, **ONE, seeds=[101])
    lab.wait(bad, lambda s: s["plan"] is not None)
    segment = lab.service.plan(bad).segments[0]
    deadline = time.monotonic() + 60
    while lab.service.status(bad)["state"] != "failed":
        assert time.monotonic() < deadline, lab.lines
        lab.service.sender.train(bad, 0, segment)
        time.sleep(0.1)
    tries = history(lab, bad).attempts
    assert len(tries) == 2
    assert tries[1].started - tries[0].ended >= 6


@pytest.fixture
def unfit(lab, http):
    """A worker without a device for the experiment that it has met. One try would be the last."""
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    lab.settings.max_attempts = lab.settings.max_infrastructure_attempts = 1
    worker = lab.start_worker(HUBEL_DEVICE="cuda")
    id = submit(lab, **ONE)
    deadline = time.monotonic() + 60
    while not any("this worker takes nothing" in line for line in lab.lines):
        assert time.monotonic() < deadline, lab.lines
        time.sleep(0.05)
    return worker, id


def test_a_worker_without_its_device_takes_nothing_and_fails_nothing(lab, unfit):
    worker, id = unfit
    lab.start_worker()
    assert lab.wait(id)["state"] == "succeeded"
    worker.stop()
    assert worker.exit_code == 0


def test_a_child_killed_while_it_waits_leaves_a_worker_that_can_be_stopped(lab, unfit):
    worker, _ = unfit
    for child in children_of(worker.pid):
        os.kill(child, signal.SIGKILL)
    time.sleep(1)
    worker.stop()
    assert worker.exit_code == 0, "it waits for what a dead child held"


def test_a_loss_that_is_not_finite_is_a_result_and_says_from_which_step(lab, http):
    lab.start_worker()
    optimizer = {"name": "sgd", "learning_rate": 100, "weight_decay": 1.0}
    training = {"epochs": 20, "batch_size": 64, "optimizer": optimizer}
    id = submit(lab, **ONE | {"training": training})
    assert lab.wait(id)["state"] == "succeeded"
    rows = http.get(f"/v1/experiments/{id}/metrics", params={"metric": "train_loss"}).json()
    lost = [row["epoch"] for row in rows if row["value"] is None]
    assert lost == list(range(lost[0], 21))
    (run,) = http.get(f"/v1/experiments/{id}/runs").json()["runs"]
    assert run["state"] == "succeeded"
    assert run["diverged"]["epoch"] == lost[0]
    assert run["diverged"]["step"] in (1, 2)
