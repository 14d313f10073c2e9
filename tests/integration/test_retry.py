"""Experiments that failed or were cancelled, tried again."""

import time

import pytest
from click.testing import CliRunner
from small import body, results, submit

from api import cli, outcome
from api.found import results as read
from api.found import with_later
from api.points import Points
from api.service import Service
from shared import names
from shared.attempts import Attempts, Failure
from shared.errors import Conflict, Invalid
from shared.live import Live
from shared.measurements import LaterMeasurements
from shared.probe import FISHER
from shared.queue import Sender, make_app
from shared.records import Records
from worker.preparation import prepare

pytestmark = pytest.mark.services

LONG = {"training": {"epochs_after_deficit": 4, "batch_size": 16}}


def cancelled_half_done(lab, id):
    """With one segment of it stored at least, and not all: the epochs that are stored."""
    plan = lab.service.plan(id)
    lab.wait(id, lambda _: lab.service.done_segments(id))
    lab.service.cancel(id)
    time.sleep(1.5)  # a worker looks every second; what it is about to store it stores
    return sum(s.end - s.start for s in plan.segments if _is_stored(lab, s))


def _is_stored(lab, segment):
    return lab.service.records.manifest(segment.scope, segment.key) is not None


@pytest.mark.parametrize("reuse", [True, False])
def test_a_retry_trains_only_what_was_not_done_and_gives_the_same_numbers(lab, reuse):
    lab.start_worker()
    undisturbed = submit(lab, reuse=False, **LONG)
    lab.wait(undisturbed)
    old = submit(lab, reuse=reuse, seeds=[0], **LONG)
    stored = cancelled_half_done(lab, old)
    before = shown(lab.service, old)
    new, is_new = lab.service.retries.accept(old)
    assert is_new
    assert new.plan.epochs.stored == stored > 0
    assert new.plan.epochs.new == new.plan.epochs.shared - stored > 0
    assert lab.wait(new.id)["state"] == "succeeded"
    assert lab.service.outcome(new.id)["epochs"]["trained"] == new.plan.epochs.new
    assert lab.service.live.counted_epochs(new.id) == new.plan.epochs.new
    assert results(lab, new.id) == results(lab, undisturbed)
    assert lab.service.status(old)["state"] == "cancelled"
    assert shown(lab.service, old) == shown(started_anew(lab), old) == before
    # What is measured of it later is measured of its own states.
    asked = LaterMeasurements.model_validate({"fisher": {"every": 1, "samples": 8}})
    for run in lab.service.jobs.plan(old, asked).runs:
        assert max(epoch for epoch, _, _ in run.probes) == len(before[0][run.index])


def test_what_is_cancelled_before_its_plan_is_there_has_no_results(lab):
    """Also where the plan was being made meanwhile, and others have trained what is in it."""
    lab.start_worker()
    other = submit(lab)
    lab.wait(other)
    id = submit(lab)
    plan = lab.service.plan(id)
    lab.service.outcomes.write(id, outcome.cancelled(None))
    assert lab.service.done_segments(id) == set()
    assert lab.service.run_states(id) == ["cancelled"] * len(plan.runs)


def shown(service, id):
    """What an experiment that has ended shows of its runs, and that its stream says no more."""
    found, points = with_later(id, service, read(id, service)), Points(id, service)
    epochs = [list(found.epochs(run)) for run in found.plan.runs]
    traces = [list(found.measurements(run, {FISHER})) for run in found.plan.runs]
    for one, rows in zip(traces, epochs, strict=True):
        assert max((trace["epoch"] for trace in one), default=0) <= len(rows)
    assert points.look()
    sent = [points.there[i].epochs for i in range(len(found.plan.segments))]
    assert [sum(sent[i] for i in run.segments) for run in found.plan.runs] == [*map(len, epochs)]
    return epochs, traces, service.run_states(id)


def started_anew(lab):
    """The service in a process that has seen nothing."""
    live, sender = Live(lab.settings), Sender(make_app(lab.settings))
    return Service(Records(lab.service.store), live, sender, lab.settings)


def test_what_kept_failing_gets_new_attempts_and_its_sibling_is_not_trained_again(lab):
    prepare("gratings", lab.service.store, lab.settings)
    old = submit(lab, sweep={}, deficit=None, seeds=[0, 1], training={"epochs": 3})
    segment = lab.service.plan(old).segments[1]
    attempts = Attempts.of_segment(lab.service.store, old, segment)
    for _ in range(lab.settings.max_attempts):
        attempts.fail(attempts.begin("a worker"), Failure("error", "MemoryError", "too large"))
    lab.start_worker()
    ended = lab.wait(old)
    assert (ended["state"], ended["progress"]["runs"]["failed"]) == ("failed", 1)
    assert ended["failures"][0]["reason"] == "MemoryError: too large"
    new, _ = lab.service.retries.accept(old)
    assert lab.wait(new.id)["state"] == "succeeded"
    assert lab.service.outcome(new.id)["epochs"] == {
        "alone": 6, "shared": 6, "stored": 3, "new": 3, "replayed": 0, "trained": 3
    }  # fmt: skip
    assert lab.service.status(old)["state"] == "failed"
    with pytest.raises(Conflict, match="has succeeded"):
        lab.service.retries.accept(new.id)


def test_a_retry_is_linked_both_ways_over_http(lab, http):
    old = http.post("/v1/experiments", json=body()).json()
    early = http.post(f"{old['links']['self']}/retry")
    assert early.status_code == 409
    assert "is preparing" in early.json()["detail"]
    assert http.get(old["links"]["self"]).json()["retried_by"] == []
    http.post(old["links"]["cancel"])
    answers = [http.post(old["links"]["retry"], headers={"Idempotency-Key": "k"}) for _ in "12"]
    answers.append(http.post(old["links"]["retry"]))
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    first, again, other = (answer.json() for answer in answers)
    assert answers[0].headers["location"] == first["links"]["self"]
    assert "idempotent-replayed" not in answers[0].headers
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert first["id"] == again["id"] != other["id"]
    assert first["retries"] == old["id"]
    assert first["spec"] == old["spec"]
    assert http.get(old["links"]["self"]).json()["retried_by"] == [first["id"], other["id"]]
    assert old["retries"] is None
    # The key stands for this retry: for another experiment's it is another body.
    http.post(other["links"]["cancel"])
    mixed = http.post(other["links"]["retry"], headers={"Idempotency-Key": "k"})
    assert mixed.status_code == 422
    assert http.post(f"/v1/experiments/{'0' * 24}/retry").status_code == 404


def test_a_retry_that_was_half_accepted_is_linked_by_the_reconcile_loop(lab):
    old = submit(lab)
    lab.service.cancel(old)
    new, _ = lab.service.retries.accept(old)
    lab.service.store.remove(names.retry(old, new.id))
    lab.reconciler._indexed.clear()
    lab.reconciler.look_at(new.id)
    assert lab.service.retries.of(old) == [new.id]


def test_a_measurement_job_is_retried_as_a_job(lab):
    lab.start_worker()
    measured = submit(lab, sweep={}, fisher=None)
    lab.wait(measured)
    asked = LaterMeasurements.model_validate({"fisher": {"every": 1, "samples": 16}, "runs": [0]})
    lab.workers[0].kill()
    job, _ = lab.service.jobs.accept(measured, asked)
    lab.service.cancel(job.id)
    again, _ = lab.service.retries.accept(job.id)
    assert again.accepted.shown == job.accepted.shown
    assert (again.accepted.measures, again.accepted.retries) == (measured, job.id)
    lab.start_worker()
    assert lab.wait(again.id)["state"] == "succeeded"
    assert lab.service.jobs.ids(measured) == [job.id, again.id]
    assert lab.service.outcome(again.id)["epochs"]["trained"] == 0


def test_without_a_plan_there_is_nothing_to_take_over(lab):
    old = submit(lab, reuse=False)
    lab.service.cancel(old)
    new, _ = lab.service.retries.accept(old)
    lab.start_worker()
    assert lab.wait(new.id)["state"] == "succeeded"
    assert {names.namesake(s.scope) for s in lab.service.plan(new.id).segments} == {new.id}
    assert lab.service.outcome(new.id)["epochs"]["trained"] == 12


def test_a_key_used_for_a_submission_is_not_one_for_a_retry(lab):
    old = submit(lab)
    lab.service.cancel(old)
    lab.service.accept(lab.service.accepted(old).spec, idempotency_key="k")
    with pytest.raises(Invalid, match="another body"):
        lab.service.retries.accept(old, idempotency_key="k")


def test_the_command_line_retries(lab, http):
    old = submit(lab)
    lab.service.cancel(old)
    lab.start_worker()
    done = CliRunner().invoke(cli.main, ["--url", str(http.base_url), "retry", old, "--watch"])
    assert done.exit_code == 0, done.output
    assert lab.service.accepted(done.stdout.split()[0]).retries == old
