"""Deleting an experiment: it is gone for all, and what others need stays."""

import pytest
from serving import serving
from small import body, numbers, submit

from api.deletion import Deletion
from shared import check, names, removal
from shared.deletion import Deletions
from shared.findings import Report
from shared.measurements import LaterMeasurements
from shared.records import Records
from shared.spec import ExperimentSpec
from shared.storage import Storage
from shared.tokens import Principal
from worker.preparation import prepare

pytestmark = pytest.mark.services

TINY = {
    "training": {"epochs_after_deficit": 2, "batch_size": 64, "augmentation": {"shift": 2}},
    "fisher": {"every": 2, "samples": 4, "beside": []},
}
PARTS = ("", "/spec", "/plan", "/runs", "/metrics", "/summary", "/figures/critical_period")


def deleted(http, id, status=204):
    answer = http.delete(f"/v1/experiments/{id}")
    assert answer.status_code == status, answer.text
    return answer


def freed(lab):
    """-60: also what was deleted just now."""
    return removal.remove(lab.service.store, quick(lab), grace_seconds=-60)


def quick(lab):
    return lab.settings.model_copy(update={"check_share": 1})


def findings(lab):
    store, report = lab.service.store, Report()
    found = check.findings(store, quick(lab), report, lambda *_: True, True, grace_seconds=-60)
    return [(one.kind, one.object) for one in found]


def trained(lab):
    """All objects of training."""
    prefixes = (names.SEGMENTS, names.MEASUREMENTS, names.BLOBS)
    return {entry.name for prefix in prefixes for entry in lab.service.store.entries(prefix)}


def seen(lab, plan):
    return numbers(Records(lab.service.store), plan)


def test_what_has_ended_is_gone_for_all_and_its_key_says_so(lab, http):
    key = {"Idempotency-Key": "once"}
    made = http.post("/v1/experiments", json=body(tags={"a": "b"}), headers=key).json()
    id, path = made["id"], made["links"]["self"]
    early = deleted(http, id, 409).json()["detail"]
    assert "is preparing: cancel it first" in early
    http.post(made["links"]["cancel"]).raise_for_status()
    http.patch(path, json={"notes": "x"}).raise_for_status()
    with serving(lab.settings) as other:
        assert http.get(f"{other}{path}").json()["state"] == "cancelled"
        deleted(http, id)
        for part in PARTS:
            assert http.get(f"{path}{part}").status_code == 404, part
        page = http.get("/v1/experiments").json()
        assert (page["experiments"], page["unreadable"]) == ([], [])
        again = http.post("/v1/experiments", json=body(tags={"a": "b"}), headers=key)
        assert again.status_code == 409
        assert "has been deleted" in again.json()["detail"]
        lab.wait_until(lambda: http.get(f"{other}{path}").status_code == 404, 10)
        lab.wait_until(lambda: http.get(f"{other}/v1/experiments").json()["experiments"] == [], 10)
    deleted(http, id, 404)
    assert http.patch(path, json={"notes": "y"}).status_code == 404
    assert findings(lab) == []
    assert freed(lab) == [id]
    left = [entry.name for entry in lab.service.store.entries("") if id in entry.name]
    assert left == [names.deleted(id)]
    assert findings(lab) == []


def test_only_what_no_other_experiment_needs_is_freed_and_all_of_it(lab, http):
    lab.start_worker()
    kept = submit(lab, **TINY, sweep={"deficit.end": [0, 2]})
    lab.wait(kept)
    before, expected = trained(lab), seen(lab, lab.service.plan(kept))
    gone = submit(lab, **TINY, sweep={"deficit.end": [2, 4]})
    lab.wait(gone)
    plan, first = lab.service.plan(gone), seen(lab, lab.service.plan(gone))
    deleted(http, gone)
    assert trained(lab) > before
    assert freed(lab) == [gone]
    assert trained(lab) == before
    assert seen(lab, lab.service.plan(kept)) == expected
    assert findings(lab) == []
    again = submit(lab, **TINY, sweep={"deficit.end": [2, 4]})  # the worker has read all of it
    assert lab.wait(again)["state"] == "succeeded"
    assert seen(lab, plan) == first
    for id in (kept, again):
        deleted(http, id)
    assert freed(lab) == sorted([kept, again])
    assert trained(lab) == set()
    assert findings(lab) == []


def test_jobs_on_it_have_to_end_and_go_with_it(lab, http):
    lab.start_worker()
    id = submit(lab, **TINY, sweep={"deficit.end": [2]})
    lab.wait(id)
    for worker in lab.workers:
        worker.kill()
    asked = LaterMeasurements.model_validate({"fisher": {"every": 1, "samples": 8}})
    job, _ = lab.service.jobs.accept(id, asked)
    assert f"its measurement job {job.id} is queued" in deleted(http, id, 409).json()["detail"]
    http.post(f"/v1/experiments/{job.id}/cancel").raise_for_status()
    deleted(http, id)
    assert http.get(f"/v1/experiments/{job.id}").status_code == 404
    assert freed(lab) == sorted([id, job.id])
    assert trained(lab) == set()


def test_what_was_trained_without_reuse_stays_for_the_retry_that_needs_it(lab, http):
    prepare("gratings", lab.service.store, lab.settings)
    lab.start_worker()
    old = submit(lab, **TINY, sweep={"deficit.end": [40]}, reuse=False)
    lab.wait(old, lambda _: lab.service.done_segments(old))
    lab.service.cancel(old)
    again, _ = lab.service.retries.accept(old)
    assert any(segment.stored for segment in again.plan.segments)
    lab.wait(again.id)
    expected = seen(lab, again.plan)
    deleted(http, old)
    freed(lab)
    assert seen(lab, again.plan) == expected
    assert http.get(f"/v1/experiments/{again.id}").json()["retries"] == old
    assert findings(lab) == []


def test_deleting_gives_no_quota_back(lab, http):
    by = Principal("f" * 20, "student", "submit", device_seconds=1e6)
    spec = ExperimentSpec.model_validate(body())
    id = lab.service.accept(spec, by)[0].id
    http.post(f"/v1/experiments/{id}/cancel").raise_for_status()
    share = lab.service.quotas.share(id)
    deleted(http, id)
    lab.wait_until(lambda: id in lab.service.deletion, 10)
    assert lab.service.quotas._spent(id, 100.0) == 100 * share


class Killed(BaseException):
    pass


class Mortal(Storage):
    """Its process is killed at the n-th change of the store."""

    left = 0

    def _change(self):
        if self.left == 0:
            raise Killed
        self.left -= 1

    def write(self, *args, **more):
        self._change()
        super().write(*args, **more)

    def create(self, *args, **more):
        self._change()
        return super().create(*args, **more)

    def remove(self, *args, **more):
        self._change()
        super().remove(*args, **more)


def test_whoever_is_killed_at_any_change_is_followed_by_one_who_finishes(lab, http):
    lab.start_worker()
    kept = submit(lab, **TINY, sweep={"deficit.end": [0]})
    gone = submit(lab, **TINY, sweep={"deficit.end": [2]})
    lab.wait(kept), lab.wait(gone)
    lab.reconciler.stop()
    store = lab.service.store
    before = {entry.name: store.read(entry.name) for entry in store.entries("")}
    mortal, counted = Mortal(lab.settings), 10**6

    def everything():
        Deletions(mortal).delete(gone, {"share": 1.0})
        removal.remove(mortal, quick(lab), grace_seconds=-60)

    mortal.left = counted
    everything()
    changes, expected = counted - mortal.left, left_of(store)
    assert not any(gone in name for name in expected - {names.deleted(gone)})
    for at in range(0, changes, max(1, changes // 10)):
        for name in left_of(store) - before.keys():
            store.remove(name)
        for name in before.keys() - left_of(store):
            store.write(name, before[name])
        mortal.left = at
        with pytest.raises(Killed):
            everything()
        if not Deletions(store).has(gone):
            assert store.exists(names.index_entry(gone))  # nobody was told that it is deleted
            continue
        Deletion(lab.service).pass_over()  # of a process that is started then
        removal.remove(store, quick(lab), grace_seconds=-60)
        assert left_of(store) == expected, at
        assert findings(lab) == [], at


def left_of(store):
    """But for what a process that is killed leaves of asking what time it is."""
    found = {entry.name for entry in store.entries("")} - {names.FREED}
    return {name for name in found if not name.startswith("probe/")}
