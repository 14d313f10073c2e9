"""Arrays that no name means and no experiment uses: found by a check, removed by a collection."""

import io

import numpy as np
import pytest
from small import body
from test_damaged_data import npz, put
from test_garbage import collected, found_by_check

from shared import dataset_store, garbage, names, orphaned_data
from shared.findings import Report
from shared.npz import read_npz
from shared.spec import ExperimentSpec

pytestmark = pytest.mark.services

OWN = {"dataset": {"name": "mine", "train_samples": 64, "test_samples": 32}}


def other_npz():
    with np.load(io.BytesIO(npz())) as arrays:
        changed = dict(arrays) | {"train_labels": np.arange(80) % 3}
    file = io.BytesIO()
    np.savez(file, **changed)
    return file.getvalue()


def objects(store, digest):
    prefix = names.dataset_object(digest, "x")[:-1]
    return set(store.names(prefix))


def orphans(lab):
    return {name for kind, name in found_by_check(lab) if kind == "orphan"}


@pytest.mark.parametrize("how", ["deleted", "given to others", "broken off"])
def test_what_nothing_names_or_uses_is_found_and_collected(lab, http, how):
    store, digest = lab.service.store, put(http).json()["digest"]
    whole = objects(store, digest)
    assert len(whole) == 5
    assert orphans(lab) == set(collected(store, lab.settings)) == set()
    if how == "deleted":
        http.delete("/v1/datasets/mine")
    elif how == "given to others":
        http.put("/v1/datasets/mine", content=other_npz())
    else:
        store.remove(names.dataset_object(digest, dataset_store.MANIFEST))
        store.remove(names.dataset_pointer("mine"))
    left = objects(store, digest)
    assert orphans(lab) == left
    assert collected(store, lab.settings, grace_seconds=3600) == []
    assert set(collected(store, lab.settings, dry_run=True)) == left == objects(store, digest)
    gone = collected(store, lab.settings)
    assert set(gone) == left
    assert objects(store, digest) == set()
    if how != "broken off":
        assert names.parts(gone[0]).kind == "dataset manifest"
    assert orphans(lab) == set()


@pytest.mark.parametrize("marked", [True, False])
def test_what_an_experiment_was_planned_on_stays_also_where_its_mark_is_lost(lab, http, marked):
    store, digest = lab.service.store, put(http).json()["digest"]
    lab.reconciler.stop()
    id = lab.service.accept(ExperimentSpec.model_validate(body() | OWN))[0].id
    store.remove(names.dataset_pointer("mine"))
    if not marked:
        store.remove(names.dataset_use(digest, id))
    whole = objects(store, digest)
    assert collected(store, lab.settings) == []
    assert objects(store, digest) == whole
    assert not orphans(lab)


@pytest.mark.parametrize("how", ["a mark", "a name", "put again"])
def test_what_comes_to_be_named_or_used_in_the_midst_stays(lab, http, monkeypatch, how):
    """A second look, just before."""
    store, digest = lab.service.store, put(http).json()["digest"]
    summary = dataset_store.find("mine", store).summary
    http.delete("/v1/datasets/mine")
    looked = orphaned_data.OrphanedData._unused

    def then_it_comes(self, objects):
        found = looked(self, objects)
        if how == "a mark":
            store.write(names.dataset_use(digest, names.new_experiment_id()), b"")
        elif how == "a name":
            dataset_store.point("other", summary, store)
        else:
            put(http)
        return found

    monkeypatch.setattr(orphaned_data.OrphanedData, "_unused", then_it_comes)
    assert collected(store, lab.settings) == []
    assert len(objects(store, digest)) >= 5


def test_while_a_name_cannot_be_read_no_data_set_is_collected(lab, http):
    store, digest = lab.service.store, put(http).json()["digest"]
    http.delete("/v1/datasets/mine")
    store.write(names.dataset_pointer("other"), b"{")
    assert collected(store, lab.settings) == []
    assert not orphans(lab)
    assert len(objects(store, digest)) == 5


def test_a_put_between_two_findings_of_a_collection_keeps_its_arrays(lab, http):
    """Whoever reads the findings may take their time over each."""
    store, digest = lab.service.store, put(http).json()["digest"]
    http.delete("/v1/datasets/mine")
    settings = lab.settings.model_copy(update={"check_share": 1})
    collection = garbage.collect(store, settings, Report(), garbage.Policy(-60), grace_seconds=-60)
    next(collection)
    assert put(http).json()["digest"] == digest
    assert len(list(collection)) == 4
    assert len(objects(store, digest)) == 5


def test_a_put_that_a_collection_came_before_sends_again_what_it_removed(
    lab, http, tmp_path, monkeypatch
):
    store, digest = lab.service.store, put(http).json()["digest"]
    http.delete("/v1/datasets/mine")
    write = type(store).write_json

    def late(self, name, value):
        if name == names.dataset_object(digest, dataset_store.MANIFEST):
            assert len(collected(store, lab.settings)) == 5
        write(self, name, value)

    sent = tmp_path / "mine.npz"
    sent.write_bytes(npz())
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    summary = read_npz(sent, arrays, 1 << 30)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(type(store), "write_json", late)
        dataset_store.keep(summary, arrays, store)
    assert len(objects(store, digest)) == 5
