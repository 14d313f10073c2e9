"""A check of the store: what it finds, what it mends, what it asks workers for."""

import json
import time

import pytest
from small import body, submit

from api.reconcile import Reconciler
from shared import check, names, replanning, schedule
from shared.errors import Corrupt, NotFound
from shared.findings import Report
from shared.fork import Fork
from shared.measurements import LaterMeasurements
from shared.plan import Plan
from shared.precious import Precious
from shared.repairs import Repairs
from shared.spec import ExperimentSpec
from worker.preparation import prepare

pytestmark = pytest.mark.services

TINY = {
    "dataset": {"name": "gratings", "train_samples": 64, "test_samples": 32},
    "training": {"epochs_after_deficit": 2, "batch_size": 64, "augmentation": {"shift": 2}},
    "fisher": {"every": 2, "samples": 4, "beside": []},
    "sweep": {"deficit.end": [0, 2]},
}
FINISHED = ("succeeded",)


@pytest.fixture(scope="module")
def kept():
    """Of an experiment that has succeeded its id and all that is in its store; empty at first."""
    return {}


@pytest.fixture
def done(lab, kept):
    """The id of an experiment that has succeeded, trained once; no worker and no loop runs."""
    store = lab.service.store
    if not kept:
        lab.start_worker()
        kept["id"] = submit(lab, **TINY)
        assert lab.wait(kept["id"])["state"] == "succeeded"
        lab.workers.pop().kill()
        kept["objects"] = {name: store.read(name) for name in store.names("")}
    lab.reconciler.stop()
    for name, data in kept["objects"].items():
        store.write(name, data)
    return kept["id"]


class Checked:
    def __init__(self, lab, repair=False, quick=False, ask=None):
        self.asked, report = [], Report(repair)
        settings = lab.settings.model_copy(update={"check_share": 1})
        ask = ask or (lambda id, index: self.asked.append((id, index)) or True)
        store = lab.service.store
        self.found = list(check.findings(store, settings, report, ask, quick, grace_seconds=-60))
        self.tally = report.tally

    @property
    def kinds(self):
        return [(f.kind, names.parts(f.object).kind, f.action) for f in self.found]


def plan_of(lab, id):
    return lab.service.experiment(id).plan


def manifests(lab, id):
    segments = plan_of(lab, id).segments
    return [lab.service.records.manifest("", segment.key) for segment in segments]


def flip(lab, name, at=-20):
    store = lab.service.store
    data = bytearray(store.read(name))
    data[at] ^= 1
    store.write(name, bytes(data))


def test_a_whole_store_has_no_findings(lab, done):
    checked = Checked(lab)
    assert checked.found == []
    assert checked.tally.objects == len(list(lab.service.store.names("")))
    assert checked.tally.unsigned == 0


def test_every_object_that_loses_a_bit_is_found(lab, done):
    store = lab.service.store
    whole = {name: store.read(name) for name in store.names("")}
    assert {names.parts(name).kind for name in whole} >= {
        "spec", "plan", "outcome", "manifest", "within", "measurement", "blob", "dataset",
        "dataset manifest", "dataset file", "index",
    }  # fmt: skip
    for name, data in whole.items():
        if not data:
            continue  # a marker: there is nothing in it to be lost
        flip(lab, name, len(data) // 2)
        found = [(f.object, f.kind) for f in Checked(lab).found]
        assert (name, "damaged") in found, name
        store.write(name, data)


def test_of_every_kind_of_object_a_damaged_seal_is_found(lab, done):
    store = lab.service.store
    sealed_ones = {names.parts(name).kind: name for name in store.names("")
                   if name.endswith(".json")}  # fmt: skip
    for kind, name in sealed_ones.items():
        whole = store.read(name)
        flip(lab, name, 3)
        found = [(f.object, f.kind) for f in Checked(lab).found]
        assert (name, "damaged") in found, kind
        store.write(name, whole)


def test_a_quick_check_reads_no_blobs_and_still_sees_that_one_is_gone(lab, done):
    first, *_, last = manifests(lab, done)
    flip(lab, names.blob(first.checkpoint))
    assert Checked(lab, quick=True).found == []
    lab.service.store.remove(names.blob(last.metrics))
    (found,) = Checked(lab, quick=True).found
    assert (found.kind, found.object) == ("missing", names.blob(last.metrics))
    assert last.key in found.found


@pytest.mark.parametrize("part", ["checkpoint", "metrics", "manifest"])
@pytest.mark.parametrize("how", ["a bit", "gone"])
def test_what_a_segment_lost_is_asked_for_by_experiment_and_segment(lab, done, part, how):
    index, segment = next(enumerate(plan_of(lab, done).segments))
    manifest = manifests(lab, done)[index]
    name = names.manifest("", segment.key)
    if part != "manifest":
        name = names.blob(getattr(manifest, part))
    flip(lab, name) if how == "a bit" else lab.service.store.remove(name)
    told = Checked(lab)
    assert told.asked == []
    assert (told.tally.damaged, told.tally.unrepaired) == (1, 1)
    checked = Checked(lab, repair=True)
    assert checked.asked == [(done, index)]
    assert [(f.object, f.action) for f in checked.found] == [(name, "asked")]
    assert checked.tally.unrepaired == 1, "until a worker has done it"


@pytest.mark.parametrize("how", ["a bit", "gone"])
def test_a_damaged_measurement_is_removed_and_asked_for_again(lab, done, how):
    plan = plan_of(lab, done)
    index, segment = next((i, s) for i, s in enumerate(plan.segments) if s.probes)
    epoch, digest = segment.probes[0]
    name = names.measurement("", segment.state(epoch), digest)
    flip(lab, name) if how == "a bit" else lab.service.store.remove(name)
    checked = Checked(lab, repair=True)
    assert checked.asked == [(done, index)]
    assert not lab.service.store.exists(name)
    assert [f.object for f in checked.found] == [name]


def test_what_can_be_made_without_training_is_made(lab, done):
    store, segments = lab.service.store, plan_of(lab, done).segments
    digest = plan_of(lab, done).configs[0]["dataset"]["digest"]
    lost = [
        names.index_entry(done),
        names.dataset_use(digest, done),
        names.within("", segments[0].keys[0]),
    ]
    whole = {name: store.read(name) for name in lost}
    for name in lost:
        store.remove(name)
    assert sorted(f.object for f in Checked(lab).found) == sorted(lost)
    checked = Checked(lab, repair=True)
    assert [f.action for f in checked.found] == ["rebuilt"] * 3
    assert checked.tally.unrepaired == 0
    assert {name: store.read(name) for name in lost} == whole
    assert Checked(lab).found == []


def test_an_accepted_experiment_without_its_marker_gets_it_back(lab):
    lab.reconciler.stop()
    id = submit(lab, **TINY, reuse=False)
    lab.service.store.remove(names.active_marker(id))
    found = Checked(lab, repair=True)
    assert (names.active_marker(id), "rebuilt") in [(f.object, f.action) for f in found.found]
    assert lab.service.store.exists(names.active_marker(id))


@pytest.mark.parametrize("how", ["a bit", "gone"])
def test_a_plan_that_is_lost_twice_is_made_again_of_the_spec(lab, done, how):
    name = names.experiment_object(done, "plan.json")
    before = plan_of(lab, done)
    for each in (name, names.copy(name)):
        flip(lab, each, 400) if how == "a bit" else lab.service.store.remove(each)
    (found,) = Checked(lab, repair=True).found
    assert (found.object, found.action) == (name, "rebuilt")
    after = Plan.model_validate(lab.service.store.read_json(name))
    assert [after.keys(run) for run in after.runs] == [before.keys(run) for run in before.runs]
    assert Checked(lab).found == []


def test_a_plan_whose_keys_are_not_those_of_its_timeline_is_inconsistent(lab, done):
    name = names.experiment_object(done, "plan.json")
    plan = lab.service.store.read_json(name)
    plan["segments"][0]["stretches"][0]["stimulus"] = [{"name": "blur", "resolution": 3}]
    Precious(lab.service.store).replace(name, plan)
    (found,) = Checked(lab, repair=True).found
    assert (found.kind, found.object, found.action) == ("inconsistent", name, "rebuilt")
    assert Checked(lab).found == []


def test_a_spec_that_is_damaged_twice_is_beyond_repair_and_says_so(lab, done):
    name = names.experiment_object(done, "spec.json")
    flip(lab, name)
    flip(lab, names.copy(name))
    checked = Checked(lab, repair=True)
    assert {(f.object, f.action) for f in checked.found} >= {(name, "impossible")}
    assert "backup" in next(f for f in checked.found if f.object == name).expected
    assert checked.tally.unrepaired == len(checked.found)


@pytest.mark.parametrize("what", ["spec", "plan", "outcome"])
def test_what_is_kept_twice_is_mended_from_its_copy_and_the_copy_from_it(lab, done, what):
    store, name = lab.service.store, names.experiment_object(done, f"{what}.json")
    Precious(store).copy(name)
    whole = store.read_json(name)
    for damaged in (name, names.copy(name)):
        flip(lab, damaged)
        (found,) = Checked(lab, repair=True).found
        assert (found.object, found.action) == (damaged, "rebuilt")
        assert store.read_json(name) == store.read_json(names.copy(name)) == whole


@pytest.mark.parametrize("what", ["spec", "plan", "outcome"])
def test_what_is_kept_twice_and_has_been_lost_once_is_there_again(lab, done, what):
    store, name = lab.service.store, names.experiment_object(done, f"{what}.json")
    whole = store.read_json(name)
    store.remove(name)
    found = [f for f in Checked(lab, repair=True).found if f.object == name]
    assert [(f.kind, f.action) for f in found] == [("missing", "rebuilt")]
    assert store.read_json(name) == whole
    assert Checked(lab).found == []


@pytest.mark.parametrize("what", ["spec", "plan", "outcome"])
def test_what_is_kept_once_is_no_damage_and_is_kept_twice_after_a_repair(lab, done, what):
    copy = names.copy(names.experiment_object(done, f"{what}.json"))
    whole = lab.service.store.read(copy)
    lab.service.store.remove(copy)
    told = Checked(lab)
    assert [(f.kind, f.object, f.action) for f in told.found] == [("unfinished", copy, "none")]
    assert told.tally.unrepaired == 0
    assert [f.action for f in Checked(lab, repair=True).found] == ["rebuilt"]
    assert lab.service.store.read(copy) == whole
    assert Checked(lab).found == []


def test_a_claim_is_mended_from_its_copy_and_its_copy_from_it(lab, done):
    name = names.idempotency("local", "k")
    claim = {"body": "x", "id": done}
    Precious(lab.service.store).create(name, claim)
    for damaged in (name, names.copy(name)):
        flip(lab, damaged)
        (found,) = Checked(lab, repair=True).found
        assert (found.object, found.action) == (damaged, "rebuilt")
        store = lab.service.store
        assert store.read_json(name) == store.read_json(names.copy(name)) == claim
    assert Checked(lab).found == []


def test_a_plan_of_another_training_version_is_not_made_again(lab, monkeypatch):
    """What it trained before it was cancelled would be in no view any more."""
    lab.reconciler.stop()
    prepare("gratings", lab.service.store, lab.settings)
    id = submit(lab, **TINY)
    lab.service.cancel(id)
    name = names.experiment_object(id, "plan.json")
    for each in (name, names.copy(name)):
        flip(lab, each)
    monkeypatch.setattr(schedule, "TRAINING_VERSION", schedule.TRAINING_VERSION + 1)
    (found,) = Checked(lab, repair=True).found
    assert (found.object, found.action) == (name, "impossible")
    with pytest.raises(Corrupt, match="planned for training version 1, and this program plans"):
        replanning.replace(id, "cancelled", lab.service.records, lab.settings)
    monkeypatch.undo()
    assert [f.action for f in Checked(lab, repair=True).found] == ["rebuilt"]
    assert Checked(lab).found == []


def test_a_retry_without_reuse_that_lost_its_plan_keeps_the_names_of_its_runs(lab):
    lab.reconciler.stop()
    prepare("gratings", lab.service.store, lab.settings)
    first = submit(lab, **TINY, reuse=False)
    lab.service.cancel(first)
    again = lab.service.retries.accept(first)[0].id
    before = plan_of(lab, again)
    replanning.replace(again, None, lab.service.records, lab.settings)
    after = lab.service.records.plan(again)
    assert [s.scope for s in after.segments] == [s.scope for s in before.segments]
    assert first in after.segments[0].scope


def test_a_copy_that_says_something_else_is_found_and_made_again(lab, done):
    store, name = lab.service.store, names.experiment_object(done, "outcome.json")
    store.write(names.copy(name), b"{}")
    (found,) = Checked(lab).found
    assert (found.kind, found.object) == ("inconsistent", names.copy(name))
    (found,) = Checked(lab, repair=True).found
    assert found.action == "rebuilt"
    assert store.read_json(names.copy(name)) == store.read_json(name)
    assert Checked(lab).found == []


def test_an_outcome_that_says_nothing_is_rebuilt_only_where_its_copy_says_more(lab, done):
    store, name = lab.service.store, names.experiment_object(done, "outcome.json")
    whole = store.read_json(name)
    store.write(name, b"{}")
    (found,) = [f for f in Checked(lab, repair=True).found if f.object == name]
    assert (found.kind, found.action) == ("damaged", "rebuilt")
    assert store.read_json(name) == whole
    for each in (name, names.copy(name)):
        store.write(each, b"{}")
    (found,) = [f for f in Checked(lab, repair=True).found if f.object == name]
    assert found.action == "impossible"


@pytest.mark.parametrize("nothing", [b"null", b"[1]", b"{}}"])
def test_marks_that_ask_for_a_repair_are_read_and_those_of_nothing_removed(lab, done, nothing):
    store = lab.service.store
    lab.reconciler.stop()
    real, beyond, nobodys = (names.repair(*which) for which in (
        (done, 0), (done, 99), ("0" * 24, 0)))  # fmt: skip
    store.write(real, nothing)
    store.write_json(beyond, {"asked": 0})
    store.write_json(nobodys, {"asked": 0})
    found = {f.object: (f.kind, f.action) for f in Checked(lab, repair=True).found}
    assert found == {
        real: ("damaged", "rebuilt"),
        beyond: ("orphan", "removed"),
        nobodys: ("orphan", "removed"),
    }
    assert list(Repairs(store).wanted()) == [(done, 0)]
    assert Checked(lab).found == []


def test_what_points_nowhere_is_removed_and_a_blob_that_nothing_names_is_left(lab, done):
    store, nobody = lab.service.store, "0" * 24
    blob = store.write_blob(b"nobody's")
    orphans = {
        names.active_marker(done): "removed",
        names.active_marker(nobody): "removed",
        names.index_entry(nobody): "removed",
        names.within("", "a" * 64): "removed",
        names.measurement_job(done, nobody): "removed",
        names.blob(blob): "none",
    }
    key = plan_of(lab, done).segments[0].key
    orphans[names.attempt(names.attempts_prefix("", key), f"{done}-{1:020d}")] = "removed"
    for name in orphans:
        if names.parts(name).kind != "blob":
            store.write_json(name, {"segment": "b" * 64})
    checked = Checked(lab, repair=True)
    assert {f.object: f.action for f in checked.found} == orphans
    assert {f.kind for f in checked.found} == {"orphan"}
    assert checked.tally.unrepaired == 0
    assert [f.object for f in Checked(lab).found] == [names.blob(blob)]


def test_a_claim_without_its_experiment_and_a_spec_by_itself_are_unfinished(lab, done):
    store, nobody = lab.service.store, "0" * 24
    spec = store.read_json(names.experiment_object(done, "spec.json"))
    Precious(store).create(names.experiment_object(nobody, "spec.json"), spec)
    Precious(store).create(names.idempotency("local", "k"), {"body": "x", "id": "1" * 24})
    assert {f.object: f.kind for f in Checked(lab, repair=True).found} == {
        names.experiment_object(nobody, "spec.json"): "unfinished",
        names.idempotency("local", "k"): "unfinished",
    }


def test_a_measurement_job_is_linked_again(lab, done):
    asked = LaterMeasurements.model_validate({"fisher": {"epochs": [2], "samples": 8}})
    job, _ = lab.service.jobs.accept(done, asked)
    link = names.measurement_job(done, job.id)
    whole = lab.service.store.read(link)
    lab.service.store.remove(link)
    assert [(f.object, f.action) for f in Checked(lab, repair=True).found] == [(link, "rebuilt")]
    assert lab.service.store.read(link) == whole


def test_a_fork_is_linked_again_and_a_link_to_none_removed(lab, done):
    asked = Fork.model_validate({"run": 0, "epoch": 1, "set": {"training.batch_size": 8}})
    fork, _ = lab.service.forks.accept(done, asked)
    link, nowhere = names.fork(done, fork.id), names.fork(done, "0" * 24)
    lab.service.store.remove(link)
    lab.service.store.write(nowhere, b"")
    found = [(f.object, f.action) for f in Checked(lab, repair=True).found]
    assert {(link, "rebuilt"), (nowhere, "removed")} <= set(found)
    assert lab.service.forks.of(done) == [fork.id]


def test_a_damaged_array_of_a_data_set_is_said_and_taken_out_of_the_way(lab, done):
    digest = plan_of(lab, done).configs[0]["dataset"]["digest"]
    name = names.dataset_object(digest, "train_images.npy")
    flip(lab, name)
    checked = Checked(lab, repair=True)
    assert [(f.object, f.kind, f.action) for f in checked.found] == [(name, "damaged", "asked")]
    with pytest.raises(NotFound):
        lab.service.store.read(name)
    lab.start_worker()
    again = submit(lab, **TINY, reuse=False)
    lab.reconciler.pass_over()
    while not lab.service.store.exists(name):
        lab.reconciler.pass_over()
        assert lab.service.outcome(again) is None
    lab.service.cancel(again)


def test_after_a_repair_every_byte_is_there_again(lab, done):
    """One checkpoint, the metrics and the manifest of another segment, a measurement; a real
    worker."""
    store, segments = lab.service.store, plan_of(lab, done).segments
    first, *_, last = manifests(lab, done)
    probed = next(s for s in segments if s.probes)
    epoch, digest = probed.probes[-1]
    measured = names.measurement("", probed.state(epoch), digest)
    blobs = [names.blob(first.checkpoint), names.blob(last.metrics)]
    whole = {name: store.read(name) for name in blobs}
    manifest, values = names.manifest("", last.key), store.read_json(measured)["values"]
    store.remove(blobs[0])
    for name in (blobs[1], manifest, measured):
        flip(lab, name)
    repairs = Repairs(store)
    checked = Checked(lab, repair=True, ask=repairs.ask)
    assert {f.object for f in checked.found} >= {blobs[0], manifest, measured}
    lab.reconciler = Reconciler(lab.service)
    lab.reconciler.start()
    lab.start_worker()
    deadline = time.monotonic() + 120
    while list(repairs.wanted()):
        assert time.monotonic() < deadline, "\n".join(lab.lines[-20:])
        time.sleep(0.2)
    assert {name: store.read(name) for name in blobs} == whole
    assert store.read_json(manifest)["checkpoint"] == last.checkpoint
    assert store.read_json(measured)["values"] == values
    assert Checked(lab).found == []


def test_an_experiment_under_way_has_no_findings(lab):
    ExperimentSpec.model_validate(body())
    lab.start_worker()
    id = submit(lab, **TINY)
    seen = 0
    while lab.service.status(id)["state"] not in FINISHED:
        assert json.dumps([f.shown() for f in Checked(lab).found if f.kind != "orphan"]) == "[]"
        seen += 1
    assert seen > 1


def test_a_plan_of_a_newer_version_is_left_as_it_is(lab):
    prepare("gratings", lab.service.store, lab.settings)
    id, store = submit(lab), lab.service.store
    name = names.experiment_object(id, "plan.json")
    newer = store.read_json(name) | {"segments": {"packed": 1}}
    Precious(store).replace(name, newer)
    Checked(lab, repair=True)
    assert store.read_json(name) == store.read_json(names.copy(name)) == newer
