"""Data sets that no longer verify: made again where that is possible, else said until they are PUT
again."""

import io

import numpy as np
import pytest
from small import body, results

from shared import check, dataset_store, names
from shared.attempts import Attempts
from shared.errors import DataDamaged
from shared.findings import Report
from shared.spec import ExperimentSpec
from worker import datasets_cache
from worker.datasets import BUILTIN
from worker.gratings import generate, in_phase
from worker.preparation import prepare

pytestmark = pytest.mark.services

ONE = {"sweep": {"deficit.end": [2]}, "fisher": {"epochs": [2], "samples": 8, "beside": []}}
OWN = {"dataset": {"name": "mine", "train_samples": 64, "test_samples": 32}}
PARTS = ["train_images.npy", "test_labels.npy", "manifest.json", "the name"]
HOW = ["a bit", "the end", "gone"]


def npz():
    rng = np.random.RandomState(0)
    file = io.BytesIO()
    np.savez(
        file,
        train_images=rng.randint(0, 256, (80, 16, 16, 1), np.uint8),
        train_labels=np.arange(80) % 4,
        test_images=rng.randint(0, 256, (40, 16, 16, 1), np.uint8),
        test_labels=np.arange(40) % 4,
    )
    return file.getvalue()


def put(http, name="mine"):
    return http.put(f"/v1/datasets/{name}", content=npz())


def submit(lab, **changes):
    spec = ExperimentSpec.model_validate(body(**ONE) | changes)
    return lab.service.accept(spec)[0].id


def objects(store):
    """What is stored of data sets, without when a name was given."""
    found = {name: store.read(name) for name in store.names(names.DATASETS)}
    return {
        name: dataset_store.pointed(name[len(names.DATASETS) : -5], store)[0]
        if names.parts(name).kind == "dataset"
        else data
        for name, data in found.items()
        if names.parts(name).kind != "dataset use"
    }


def damage(store, name, part, how="a bit"):
    """Of a data set one part."""
    digest, *_ = dataset_store.pointed(name, store)
    if part == "the name":
        target = names.dataset_pointer(name)
    else:
        target = names.dataset_object(digest, part)
    data = bytearray(store.read(target))
    data[len(data) // 2] ^= 1
    if how == "gone":
        store.remove(target)
    else:
        store.write(target, bytes(data) if how == "a bit" else bytes(data[:-1]))
    return target


def checked(lab, repair=False):
    settings, report = lab.settings.model_copy(update={"check_share": 1}), Report(repair)
    found = check.findings(lab.service.store, settings, report, lambda *_: True, grace_seconds=-60)
    return {(one.object, one.kind, one.action): one.expected for one in found}


# --- built in ---


@pytest.mark.parametrize(("part", "how"), [*zip(PARTS, HOW + HOW[:1], strict=True)])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_built_in_is_made_again_to_the_same_bytes(lab, part, how, when):
    """Before the experiment is submitted, or once it is planned."""
    store = lab.service.store
    prepare("gratings", store, lab.settings)
    whole = objects(store)
    if when == "before":
        damage(store, "gratings", part, how)
    id = submit(lab)
    if when == "after":
        damage(store, "gratings", part, how)
    lab.start_worker()
    assert lab.wait(id)["state"] == "succeeded"
    if (part, when) == ("the name", "after"):  # who has a plan needs none
        assert lab.wait(submit(lab, seeds=[1]))["state"] == "succeeded"
    assert objects(store) == whole
    undisturbed = submit(lab, reuse=False)
    lab.wait(undisturbed)
    assert results(lab, id) == results(lab, undisturbed)


def test_what_is_built_in_and_cannot_be_made_again_says_why(storage, settings, monkeypatch):
    digest = prepare("gratings", storage, settings).digest
    data = {"name": "gratings", "digest": digest, "train_samples": 7, "test_samples": 9}
    damage(storage, "gratings", "train_images.npy")
    monkeypatch.setitem(BUILTIN, "gratings", lambda *_: generate(64, 64))
    with pytest.raises(DataDamaged, match=r"cannot be made again: The files of 'gratings' hold 64"):
        datasets_cache.arrays({"dataset": data}, storage, settings)
    monkeypatch.setitem(BUILTIN, "gratings", lambda *_: in_phase())
    with pytest.raises(DataDamaged, match=r"cannot be made again: its files now give [0-9a-f]{64}"):
        datasets_cache.arrays({"dataset": data}, storage, settings)


# --- one's own ---


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("how", HOW)
def test_to_put_the_same_images_again_heals(lab, http, part, how):
    store = lab.service.store
    digest = put(http).json()["digest"]
    whole = objects(store)
    damage(store, "mine", part, how)
    assert put(http).json()["digest"] == digest
    assert objects(store) == whole


@pytest.mark.parametrize("part", ["manifest.json", "the name"])
def test_to_submit_what_cannot_be_read_says_to_put_it_again_and_lists_go_on(lab, http, part):
    put(http)
    damage(lab.service.store, "mine", part)
    answer = http.post("/v1/experiments", json=body(**ONE) | OWN)
    assert answer.status_code == 503
    assert "PUT the same images to /v1/datasets/mine again" in answer.json()["detail"]
    assert "Retry-After" not in answer.headers, "to wait does not help"
    assert http.get("/v1/datasets/mine").status_code == 503
    listed = {one["name"]: one for one in http.get("/v1/datasets").json()["datasets"]}
    assert not listed["mine"]["prepared"]
    assert "PUT the same images" in listed["mine"]["damage"]
    assert put(http).status_code in (200, 201)
    assert http.post("/v1/experiments", json=body(**ONE) | OWN).status_code == 202


def test_a_run_whose_data_are_damaged_waits_for_them_and_goes_on_from_there(lab, http):
    """However often it is tried: it is not the run's fault."""
    lab.settings.retry_seconds, lab.settings.max_attempts = 0.1, 1
    store = lab.service.store
    digest = put(http).json()["digest"]
    put(http, "also-mine")
    id = submit(lab, **OWN)
    damage(store, "mine", "train_images.npy")
    lab.start_worker()
    (segment, *_) = lab.service.plan(id).segments
    tries = Attempts.of_segment(store, id, segment)
    lab.wait(id, lambda _: len([a for a in tries.history().attempts if a.failure]) >= 3)
    failure = tries.history().attempts[0].failure
    assert (failure.kind, failure.error) == ("infrastructure", "DataDamaged")
    for word in (digest, "'also-mine', 'mine'", "PUT the same images", "retry goes on"):
        assert word in failure.message
    assert lab.service.outcome(id) is None
    put(http)
    assert lab.wait(id)["state"] == "succeeded"


def test_a_run_that_has_failed_for_its_data_is_retried_once_they_are_there(lab, http):
    lab.settings.retry_seconds, lab.settings.max_infrastructure_attempts = 0.1, 2
    put(http)
    id = submit(lab, **OWN)
    damage(lab.service.store, "mine", "train_images.npy", "gone")
    lab.start_worker()
    status = lab.wait(id)
    assert status["state"] == "failed"
    assert status["failures"][0]["error"] == "DataDamaged"
    put(http)
    again, _ = lab.service.retries.accept(id)
    assert lab.wait(again.id)["state"] == "succeeded"


@pytest.mark.parametrize("part", PARTS)
def test_a_repair_removes_nothing_of_ones_own_and_says_what_to_do(lab, http, part):
    put(http)
    store = lab.service.store
    target = damage(store, "mine", part)
    before = {name: store.read(name) for name in store.names(names.DATASETS)}
    found = checked(lab, repair=True)
    assert [key for key in found if key[1] != "orphan"] == [(target, "damaged", "impossible")]
    assert "PUT the same images" in found[target, "damaged", "impossible"]
    assert {name: store.read(name) for name in store.names(names.DATASETS)} == before
    put(http)
    assert checked(lab) == {}
