"""Blobs that no longer verify: what is trained again, what it costs, what is said meanwhile."""

import hashlib

import httpx
import pytest
from serving import serving
from small import results, submit

from shared import names

pytestmark = pytest.mark.services

TRUNK = {"sweep": {"deficit.end": [4]}, "checkpoints": {"epochs": [2]}}
"""Six epochs in segments of two."""
LONGER = {"sweep": {"deficit.end": [6]}}
"""Eight, of which four are the trunk's."""
SEEN = ("metrics", "runs", "summary", "figures/critical_period")


@pytest.fixture
def http(lab):
    """The app beside the lab's own parts, before anything is trained: it is never restarted."""
    with (
        serving(lab.settings) as url,
        httpx.Client(base_url=f"{url}/v1/", timeout=60, trust_env=False) as client,
    ):
        yield client


@pytest.fixture
def trunk(lab, http):
    """The id of an experiment that has succeeded."""
    lab.start_worker()
    id = submit(lab, **TRUNK)
    assert lab.wait(id)["state"] == "succeeded"
    return id


def state(lab, id, epoch):
    """The manifest of the state after `epoch` epochs."""
    plan = lab.service.experiment(id).plan
    key = next(s.key for s in plan.segments if s.end == epoch)
    return lab.service.records.manifest("", key)


def damage(lab, digest, how="a bit"):
    """The blob's name, and its bytes before."""
    name = names.blob(digest)
    whole = lab.service.store.read(name)
    if how == "gone":
        lab.service.store.remove(name)
    else:
        flipped = bytes([whole[0] ^ 1]) + whole[1:]
        lab.service.store.write(name, flipped if how == "a bit" else whole[:-1])
    return name, whole


def seen(http, id):
    """How each view of an experiment's results is answered."""
    return [http.get(f"experiments/{id}/{view}").status_code for view in SEEN]


@pytest.mark.parametrize(
    ("epoch", "how"), [(2, "a bit"), (2, "gone"), (4, "a bit"), (4, "the end")]
)
def test_a_longer_run_trains_the_stretch_again_that_lost_its_metrics(lab, http, trunk, epoch, how):
    name, whole = damage(lab, state(lab, trunk, epoch).metrics, how)
    # The list of runs needs their last epochs only, for the scores: those are whole.
    assert dict(zip(SEEN, seen(http, trunk), strict=True)) == dict.fromkeys(SEEN, 503) | {
        "runs": 200
    }
    longer = submit(lab, **LONGER)
    assert lab.wait(longer)["state"] == "succeeded"
    assert lab.service.store.read(name) == whole
    assert seen(http, trunk) == seen(http, longer) == [200] * 4
    # Four epochs of its own, and the two that were damaged:
    assert lab.service.experiment(longer).outcome["epochs"]["trained"] == 4
    assert lab.service.live.counted_epochs(longer) == 6


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_measurement_in_or_after_a_stretch_mends_its_metrics(lab, http, trunk, epoch):
    name, whole = damage(lab, state(lab, trunk, epoch).metrics)
    id = submit(lab, **TRUNK, fisher={"epochs": [3], "samples": 8, "beside": []})
    assert lab.wait(id)["state"] == "succeeded"
    assert lab.service.store.read(name) == whole
    assert seen(http, trunk) == seen(http, id) == [200] * 4
    ((_, key, digest),) = lab.service.experiment(id).plan.runs[0].probes
    provenance = lab.service.records.measurement("", key, digest)["provenance"]
    assert provenance["replay_matches"] is True


def test_what_the_answer_advises_mends_a_whole_experiment(lab, http, trunk):
    for epoch in (2, 4, 6):
        damage(lab, state(lab, trunk, epoch).metrics)
    detail = http.get(f"experiments/{trunk}/metrics").json()["detail"]
    advice = 'a Fisher measurement at its last epoch that it has not had, of other "samples"'
    assert advice in detail
    assert "epochs 1 to 2" in detail
    asked = {"fisher": {"epochs": [6], "samples": 8}}
    answer = http.post(f"experiments/{trunk}/measurements", json=asked)
    assert answer.status_code == 202, answer.text
    assert lab.wait(answer.json()["id"])["state"] == "succeeded"
    assert seen(http, trunk) == [200] * 4


@pytest.mark.parametrize("blob", ["metrics", "checkpoint"])
def test_training_without_reuse_replaces_damage_of_the_same_size(lab, http, trunk, blob):
    manifest = state(lab, trunk, 6)  # the last: no segment loads its checkpoint
    name, whole = damage(lab, getattr(manifest, blob))
    id = submit(lab, **TRUNK, reuse=False)
    assert lab.wait(id)["state"] == "succeeded"
    assert lab.service.store.read(name) == whole
    assert seen(http, trunk) == seen(http, id) == [200] * 4
    one = http.get(f"checkpoints/{manifest.key}").json()
    data = httpx.get(one["link"], trust_env=False).content
    assert hashlib.sha256(data).hexdigest() == one["sha256"]


def test_metrics_of_another_kind_of_device_hold_nothing_up_and_stay_as_they_are(lab, http, trunk):
    manifest = state(lab, trunk, 4)
    elsewhere = manifest.model_copy(
        update={"provenance": manifest.provenance | {"numerics": "elsewhere"}}
    )
    lab.service.store.write_json(names.manifest("", manifest.key), elsewhere.model_dump())
    damage(lab, manifest.metrics)
    lab.workers[0].kill()
    lab.start_worker()
    longer = submit(lab, **LONGER, fisher={"epochs": [3, 6], "samples": 8})
    assert lab.wait(longer)["state"] == "succeeded"
    assert lab.service.live.counted_epochs(longer) == 4 + 1  # and the replay up to epoch 3
    answer = http.get(f"experiments/{longer}/metrics")
    assert answer.status_code == 503
    assert "The metrics of epochs 3 to 4 are damaged" in answer.json()["detail"]
    (_, key, digest), *_ = lab.service.experiment(longer).plan.runs[0].probes
    provenance = lab.service.records.measurement("", key, digest)["provenance"]
    assert provenance["replay_matches"] is None


def test_a_checkpoint_that_no_longer_verifies_is_trained_again_to_the_same_bytes(lab):
    lab.start_worker()
    first = submit(lab, sweep={"deficit.end": [4]}, checkpoints={"epochs": [2]})
    lab.wait(first)
    undisturbed = submit(lab, sweep={"deficit.end": [2]}, reuse=False)
    lab.wait(undisturbed)
    name, whole = damage(lab, state(lab, first, 2).checkpoint)
    id = submit(lab, sweep={"deficit.end": [2]})
    assert lab.wait(id)["state"] == "succeeded"
    assert results(lab, id) == results(lab, undisturbed)
    assert lab.service.store.read(name) == whole


def test_a_run_that_keeps_failing_is_set_aside_and_its_siblings_succeed(lab):
    lab.start_worker()
    first = submit(lab, sweep={"deficit.end": [4]}, checkpoints={"epochs": [2]})
    lab.wait(first)
    # A manifest whose checkpoint no training gives: nothing can be made of that.
    manifest = state(lab, first, 2)
    junk = lab.service.store.write_blob(b"no checkpoint")
    spoiled = manifest.model_copy(update={"checkpoint": junk})
    lab.service.store.write_json(names.manifest("", manifest.key), spoiled.model_dump())
    lab.workers[0].kill()
    lab.start_worker()
    id = submit(lab, sweep={"deficit.end": [0, 2]})
    status = lab.wait(id)
    assert status["state"] == "failed"
    assert [failure["run"] for failure in status["failures"]] == [1]
    assert "gives other bytes" in status["failures"][0]["reason"]
    assert lab.service.run_states(id) == ["succeeded", "failed"]
