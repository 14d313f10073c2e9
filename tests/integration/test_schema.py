"""Stores as earlier versions of this program wrote them: read, shown, planned on, reused."""

import copy
from pathlib import Path

import pytest
from small import results

from shared import check, names, stored_spec
from shared.errors import TooNew
from shared.findings import Report
from shared.planning import plan_for
from shared.spec import ExperimentSpec
from worker.preparation import prepare

pytestmark = pytest.mark.services

DATA = Path(__file__).parents[1] / "data" / "schema"
VERSIONS = sorted(folder.name for folder in DATA.iterdir() if folder.is_dir()
                  and folder.name != "blobs")  # fmt: skip
KEYS = [
    "7128d8af1a8cf92b136e6bea7fd6e9761f26b04598d21c7181399ace71c364a2",
    "fde5dd863ecfc264d3eeaef6564e24789e3d91824bbc3ef0ab4ee5787a3a0614",
    "46370ba0325a70268805ba14ac61370d01c35e54517ce416e2cb1c9f75d99935",
]
"""Of the states after 2 clean epochs, and after 2 blurred and 2 clean ones; in every version."""
BODY = {
    "name": "frozen",
    "dataset": {"name": "gratings", "train_samples": 64, "test_samples": 32},
    "model": {"name": "all_cnn", "width": 0.05},
    "training": {"epochs_after_deficit": 2, "batch_size": 32, "augmentation": {"shift": 2}},
    "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
    "sweep": {"deficit.end": [0, 2]},
}


def test_every_version_is_among_these():
    assert len(VERSIONS) == 4


@pytest.fixture(params=VERSIONS)
def frozen(request, lab):
    """The id of the experiment in a store of that version; its images are made again."""
    for folder in (DATA / request.param, DATA / "blobs"):
        for file in folder.rglob("*"):
            if file.is_file():
                above = DATA if folder.name == "blobs" else folder
                lab.service.store.write(str(file.relative_to(above)), file.read_bytes())
    digest = lab.service.store.read_json(names.dataset_pointer("gratings"))["digest"]
    manifest = names.dataset_object(digest, "manifest.json")
    whole = lab.service.store.read_json(manifest)
    lab.service.store.remove(manifest)
    prepare("gratings", lab.service.store, lab.settings)
    assert lab.service.store.read_json(manifest) == whole
    (entry,) = lab.service.store.names(names.INDEX)
    return names.experiment_of(entry)


def test_what_is_stored_is_sound_and_all_of_it_is_shown(lab, http, frozen):
    settings = lab.settings.model_copy(update={"check_share": 1})
    report = Report()
    found = check.findings(lab.service.store, settings, report, lambda id, index: True)
    assert list(found) == []
    path = f"/v1/experiments/{frozen}"
    status = http.get(path).json()
    assert (status["state"], status["name"]) == ("succeeded", "frozen")
    assert status["progress"]["runs"]["succeeded"] == 2
    (listed,) = http.get("/v1/experiments").json()["experiments"]
    assert listed["id"] == frozen
    shown = http.get(f"{path}/spec").json()
    accepted = lab.service.store.read_json(names.experiment_object(frozen, "spec.json"))["accepted"]
    assert shown == accepted, "with the defaults of its own time"
    assert len(http.get(f"{path}/metrics?metric=test_accuracy").json()) == 6
    assert len(http.get(f"{path}/fisher").json()) > 0
    assert len(http.get(f"{path}/checkpoints").json()["checkpoints"]) == 3
    for part in ("runs", "summary", "analysis", "fisher", "figures/critical_period",
                 "figures/fisher_trace"):  # fmt: skip
        answer = http.get(f"{path}/{part}")
        assert answer.status_code == 200, (part, answer.text)


def test_today_s_keys_name_what_was_stored_then(lab, frozen):
    plan = plan_for(ExperimentSpec.model_validate(BODY), lab.service.records, lab.settings)
    assert [segment.key for segment in plan.segments] == KEYS
    assert all(segment.stored for segment in plan.segments)
    assert (plan.epochs.stored, plan.epochs.new) == (6, 0)
    given = lab.service.accepted(frozen).spec
    again = plan_for(given, lab.service.records, lab.settings)
    assert [segment.key for segment in again.segments] == KEYS


def test_today_s_training_goes_on_from_what_was_stored_then(lab, frozen):
    before = results(lab, frozen)
    lab.start_worker()
    spec = ExperimentSpec.model_validate(BODY | {"sweep": {"deficit.end": [0, 2, 4]}})
    longer, _ = lab.service.accept(spec)
    assert lab.wait(longer.id)["state"] == "succeeded"
    assert lab.service.experiment(longer.id).outcome["epochs"]["trained"] == 4
    after = results(lab, longer.id)
    for (rows, checkpoints, _), (old, kept, _) in zip(after, before, strict=False):
        assert (rows, checkpoints) == (old, kept)
    assert len(after) == 3
    assert results(lab, frozen) == before


def stored(lab, **changes):
    """A spec in the store as another version may have written it."""
    id = names.new_experiment_id()
    spec = {"given": copy.deepcopy(BODY) | changes, "accepted": BODY | changes}
    lab.service.store.write_json(names.experiment_object(id, "spec.json"), spec)
    lab.service.store.write(names.index_entry(id), b"")
    return id


def test_an_unknown_newer_version_is_said_and_is_no_500(lab, http):
    id = stored(lab, schema_version=2, colour="of another time")
    with pytest.raises(TooNew, match="start a newer one"):
        stored_spec.read(id, lab.service.store.read_json(names.experiment_object(id, "spec.json")))
    answer = http.get(f"/v1/experiments/{id}")
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/too-new"
    assert "has schema version 2, and this program reads up to 1" in answer.json()["detail"]
    answer = http.post("/v1/experiments", json=BODY | {"schema_version": 2})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/schema_version"
    assert "should be 1" in answer.json()["detail"]


def test_a_spec_that_says_version_1_reads_as_one_that_says_nothing(lab):
    ids = [stored(lab), stored(lab, schema_version=1)]
    first, second = (lab.service.accepted(id).spec for id in ids)
    assert first == second
