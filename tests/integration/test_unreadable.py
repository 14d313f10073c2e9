"""Experiments of which a stored spec or plan no longer verifies: each ends, and spoils no list."""

import time

import httpx
import pytest
from serving import serving
from small import results, submit

from api import outcome
from api.reconcile import Reconciler
from api.service import Service
from shared import names, schedule
from shared.attempts import Attempts, Failure
from shared.errors import Corrupt
from shared.live import Live
from shared.measurements import LaterMeasurements
from shared.precious import Precious
from shared.records import Records
from shared.storage import Storage
from shared.work import work_name
from worker.preparation import prepare

pytestmark = pytest.mark.services

TINY = {"sweep": {"deficit.end": [2]}, "fisher": {"every": 2, "samples": 4, "beside": []}}


@pytest.fixture
def prepared(lab):
    """A lab with its data set, and without a loop."""
    lab.reconciler.stop()
    prepare("gratings", lab.service.store, lab.settings)
    return lab


def restart(lab):
    """A new process's service: nothing is remembered. Its loop does not run by itself."""
    parts = (Records(Storage(lab.settings)), Live(lab.settings), lab.service.sender)
    lab.service = Service(*parts, lab.settings)
    lab.reconciler = Reconciler(lab.service)


def flip(store, name):
    data = bytearray(store.read(name))
    data[len(data) // 2] ^= 1
    store.write(name, bytes(data))


def part(id, what="plan"):
    return names.experiment_object(id, f"{what}.json")


def lose(lab, id, what="plan"):
    """Both copies of it, and all that this process remembers."""
    for name in (part(id, what), names.copy(part(id, what))):
        flip(lab.service.store, name)
    restart(lab)


def keys(lab, id):
    plan = lab.service.plan(id)
    return [plan.keys(run) for run in plan.runs]


def listed(lab):
    with serving(lab.settings.model_copy(update={"reconcile_seconds": 600})) as url:
        answer = httpx.get(f"{url}/v1/experiments?name=small", timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    return (
        [one["id"] for one in page["experiments"]],
        {one["id"]: one["detail"] for one in page["unreadable"]},
    )


@pytest.mark.parametrize("what", ["plan", "spec"])
def test_one_flipped_bit_changes_nothing(prepared, what):
    lab = prepared
    id, store = submit(lab, **TINY), lab.service.store
    before = keys(lab, id)
    flip(store, part(id, what))
    restart(lab)
    assert listed(lab) == ([id], {})
    assert store.read_json(part(id, what)) == store.read_json(names.copy(part(id, what)))
    assert keys(lab, id) == before
    lab.reconciler.start()
    lab.start_worker()
    assert lab.wait(id)["state"] == "succeeded"


@pytest.mark.parametrize("reuse", [True, False])
def test_a_plan_that_is_lost_twice_is_made_again_and_carried_out(prepared, reuse):
    lab = prepared
    first, second = (submit(lab, **TINY, reuse=reuse, seeds=[seed]) for seed in (1, 2))
    before = keys(lab, first)
    lose(lab, first)
    shown, unreadable = listed(lab)
    assert second in shown
    assert list(unreadable) == [first]
    assert "plan.json' does not verify" in unreadable[first]
    lab.reconciler.start()
    lab.start_worker()
    deadline = time.monotonic() + 60
    while lab.service.outcome(first) is None:
        assert time.monotonic() < deadline, "\n".join(lab.lines[-20:])
        time.sleep(0.2)
    assert lab.wait(first)["state"] == "succeeded"
    assert keys(lab, first) == before
    assert lab.wait(second)["state"] == "succeeded"
    assert len(results(lab, first)) == 1


def until_ended(lab, id):
    deadline = time.monotonic() + 30
    while lab.service.outcome(id) is None:
        assert time.monotonic() < deadline
        lab.reconciler.pass_over()
        time.sleep(0.2)
    assert not lab.service.store.exists(names.active_marker(id))
    return lab.service.outcome(id)


def test_a_plan_that_cannot_be_made_again_ends_its_experiment_with_what_was_found(prepared):
    lab = prepared
    id = submit(lab, **TINY)
    (digest,) = {config["dataset"]["digest"] for config in lab.service.plan(id).configs}
    lab.service.store.remove(names.dataset_use(digest, id))  # as if it had been planned on others
    lose(lab, id)
    assert until_ended(lab, id)["state"] == "failed"
    status = lab.service.status(id)
    (failure,) = status["failures"]
    assert "plan.json' does not verify" in failure["reason"]
    assert "planned on other data" in failure["reason"]
    assert (status["state"], status["plan"]) == ("failed", None)
    shown, unreadable = listed(lab)
    assert (id in shown, unreadable) == (True, {})
    again, _ = lab.service.retries.accept(id)
    lab.reconciler.start()
    lab.start_worker()
    assert lab.wait(again.id)["state"] == "succeeded"


def test_an_experiment_is_not_planned_again_for_another_training_version(prepared, monkeypatch):
    lab = prepared
    id = submit(lab, **TINY)
    monkeypatch.setattr(schedule, "TRAINING_VERSION", schedule.TRAINING_VERSION + 1)
    lose(lab, id)
    (failure,) = until_ended(lab, id)["failures"]
    assert "planned for training version 1, and this program plans for 2" in failure["reason"]


def test_a_spec_that_is_lost_twice_ends_its_experiment(prepared):
    lab = prepared
    id, other = submit(lab, **TINY), submit(lab, **TINY, seeds=[1])
    lose(lab, id, "spec")
    ended = until_ended(lab, id)
    assert (ended["state"], len(ended["failures"])) == ("failed", 1)
    assert "spec.json' does not verify" in ended["failures"][0]["reason"]
    shown, unreadable = listed(lab)
    assert other in shown
    assert list(unreadable) == [id]


def test_damage_that_passes_ends_nothing(prepared):
    lab = prepared
    id, store = submit(lab, **TINY), lab.service.store
    both = (part(id), names.copy(part(id)))
    whole = store.read(part(id))
    lose(lab, id)
    lab.reconciler.pass_over()
    for name in both:
        store.write(name, whole)
    time.sleep(lab.settings.lease_seconds / 2)
    lab.reconciler.pass_over()
    lab.reconciler.pass_over()
    assert lab.service.outcome(id) is None
    assert [store.read(name) for name in both] == [whole, whole]


def test_a_plan_that_a_worker_cannot_read_is_written_again_by_who_remembers_it(prepared):
    lab = prepared
    id, store = submit(lab, **TINY), lab.service.store
    for name in (part(id), names.copy(part(id))):
        flip(store, name)
    lab.reconciler = Reconciler(lab.service)
    lab.reconciler.start()
    lab.start_worker()
    assert lab.wait(id)["state"] == "succeeded"
    assert store.read_json(part(id)) == store.read_json(names.copy(part(id)))


def test_what_was_kept_once_is_kept_twice_by_who_takes_it_up(prepared):
    lab = prepared
    id, store = submit(lab, **TINY), lab.service.store
    copies = [names.copy(part(id, what)) for what in ("spec", "plan")]
    for name in copies:
        store.remove(name)
    restart(lab)
    lab.reconciler.pass_over()
    assert all(map(store.exists, copies))
    # Whoever wrote the outcome died before it made the copy and removed the marker.
    outcome = {"state": "cancelled", "finished": "2026-01-01T00:00:00Z", "failures": []}
    store.create_json(part(id, "outcome"), outcome)
    restart(lab)
    lab.reconciler.pass_over()
    assert store.read_json(names.copy(part(id, "outcome"))) == outcome
    assert not store.exists(names.active_marker(id))


def test_a_list_holds_the_others_beside_what_is_of_a_newer_version_or_gone(prepared):
    lab = prepared
    new, gone, whole = (submit(lab, **TINY, seeds=[seed]) for seed in range(3))
    stored = lab.service.store.read_json(part(new, "spec"))
    for version, name in ((2, "of another time"), (1, {"no": "name"})):
        given = stored["given"] | {"schema_version": version, "name": name}
        Precious(lab.service.store).replace(part(new, "spec"), stored | {"given": given})
        for name in (part(gone, "spec"), names.copy(part(gone, "spec"))):
            lab.service.store.remove(name)
        shown, unreadable = listed(lab)
        assert whole in shown
        assert list(unreadable) == [gone, new]
        assert "There is no experiment" in unreadable[gone]
        assert "start " in unreadable[new]


def test_a_job_whose_plan_is_lost_twice_spoils_no_result_of_what_it_measures(prepared):
    lab = prepared
    id = submit(lab, **TINY)
    lab.start_worker()
    until_ended(lab, id)
    lab.workers.pop().kill()
    asked = LaterMeasurements.model_validate({"fisher": {"epochs": [1], "samples": 8}})
    job, _ = lab.service.jobs.accept(id, asked)
    store = lab.service.store
    lose(lab, job.id)
    with pytest.raises(Corrupt):
        lab.service.jobs.with_measured(id, lab.service.plan(id), [job.id])
    measured = names.measurement_job(id, job.id)
    assert store.exists(measured)
    lab.service.cancel(job.id)
    plan = lab.service.plan(id)
    assert lab.service.jobs.with_measured(id, plan, [job.id]) == (plan, frozenset())


def test_an_outcome_that_is_there_once_is_no_second_end(prepared):
    id = submit(prepared, **TINY)
    prepared.service.cancel(id)
    prepared.service.store.remove(part(id, "outcome"))
    restart(prepared)
    assert not prepared.service.finish(id, outcome.ended("failed", []))
    assert prepared.service.status(id)["state"] == "cancelled"


def test_a_plan_is_read_once_for_what_comes_back_and_waits(prepared, monkeypatch):
    service, id = prepared.service, submit(prepared, **TINY)
    prepared.reconciler.look_at(id)
    segment = service.plan(id).segments[0]
    service.live.unmark_queued(work_name(segment))
    prepared.reconciler.look_at(id)  # it is sent by the loop
    attempts = Attempts.of_segment(service.store, id, segment)
    for _ in range(4):
        attempts.fail(attempts.begin("a worker"), Failure("infrastructure", "SIGKILL", "killed"))
    service.live.unmark_queued(work_name(segment))
    read, plan = [], Records.plan
    monkeypatch.setattr(Records, "plan", lambda self, id: (read.append(id), plan(self, id))[1])
    for _ in range(5):
        prepared.reconciler.look_at(id)
    assert read == [id]
