"""Blobs that no longer verify: what is trained again, what it costs, what is said meanwhile."""

import hashlib
import json
import time

import httpx
import pytest
from serving import serving
from small import results, submit

from shared import names
from shared.attempts import Attempts
from shared.repairs import Repairs

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
    print("\n".join(lab.lines[-60:]))


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


def wait_for(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("epoch", "how"), [(2, "a bit"), (2, "gone"), (4, "a bit"), (4, "the end"), (6, "gone")]
)
def test_damaged_metrics_are_never_shown_and_are_computed_again(lab, http, trunk, epoch, how):
    whole_answer = http.get(f"experiments/{trunk}/metrics").content
    name, whole = damage(lab, state(lab, trunk, epoch).metrics, how)
    lab.service.records.forget()
    # The app in this process has read them before: another replica would not have.
    with serving(lab.settings) as url:
        path = f"{url}/v1/experiments/{trunk}/metrics"
        answer = httpx.get(path, trust_env=False)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "10"
        assert f"The metrics of epochs {epoch - 1} to {epoch} are damaged" in answer.text
        wait_for(lambda: httpx.get(path, trust_env=False).status_code == 200)
        assert httpx.get(path, trust_env=False).content == whole_answer
    assert lab.service.store.read(name) == whole
    wait_for(lambda: not list(Repairs(lab.service.store).wanted()))


@pytest.mark.parametrize("how", ["a bit", "gone"])
def test_no_link_is_given_to_a_damaged_checkpoint_and_it_is_computed_again(lab, http, trunk, how):
    manifest = state(lab, trunk, 6)  # the last: no segment loads it
    name, whole = damage(lab, manifest.checkpoint, how)
    answer = http.get(f"checkpoints/{manifest.key}")
    assert answer.status_code == 503
    assert "is computed again" in answer.json()["detail"]
    wait_for(lambda: http.get(f"checkpoints/{manifest.key}").status_code == 200)
    assert lab.service.store.read(name) == whole


@pytest.mark.parametrize("what", ["manifest", "measurement"])
def test_a_damaged_record_is_computed_again(lab, http, trunk, what):
    _, key, digest = next(p for p in lab.service.plan(trunk).runs[0].probes if p[0] == 2)
    view = "metrics" if what == "manifest" else "fisher"
    name = names.manifest("", key) if what == "manifest" else names.measurement("", key, digest)
    whole = json.loads(lab.service.store.read(name))
    whole_answer = http.get(f"experiments/{trunk}/{view}").json()
    data = lab.service.store.read(name)
    lab.service.store.write(name, data.replace(b'"end":2', b'"end":3').replace(b"0.", b"1."))
    with serving(lab.settings) as url:
        path = f"{url}/v1/experiments/{trunk}/{view}"
        assert httpx.get(path, trust_env=False).status_code == 503
        wait_for(lambda: httpx.get(path, trust_env=False).status_code == 200)
        again = httpx.get(path, trust_env=False).json()
    assert values(again) == values(whole_answer)
    assert json.loads(lab.service.store.read(name)).keys() == whole.keys()


def values(rows):
    """Without when it was computed."""
    return [{k: v for k, v in row.items() if k != "time"} for row in rows]


@pytest.mark.parametrize(("epoch", "how"), [(2, "a bit"), (4, "the end")])
def test_a_longer_run_trains_the_stretch_again_that_lost_its_metrics(lab, trunk, epoch, how):
    name, whole = damage(lab, state(lab, trunk, epoch).metrics, how)
    longer = submit(lab, **LONGER)
    assert lab.wait(longer)["state"] == "succeeded"
    assert lab.service.store.read(name) == whole
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


def test_a_mark_that_nobody_can_do_keeps_no_other_repair_waiting(lab, http, trunk):
    store = lab.service.store
    store.write(names.repair(trunk, 0), b"null")
    for nonsense in (names.repair(trunk, 99), names.repair("0" * 24, 0), "repairs/x", "repairs/1-"):
        store.write(nonsense, b"[1]")
    before = lab.service.status(trunk)
    name, whole = damage(lab, state(lab, trunk, 6).metrics)
    assert Repairs(store).ask(trunk, 2)
    wait_for(lambda: not store.exists(names.repair(trunk, 2)))
    assert store.read(name) == whole
    wait_for(lambda: not store.exists(names.repair(trunk, 0)))
    assert lab.service.status(trunk) == before, "repairs are no part of the experiment"


@pytest.mark.parametrize("nothing", [b"null", b"[1]", b'"a"'])
def test_a_note_of_a_try_that_says_nothing_holds_nothing_up(lab, trunk, nothing):
    lab.workers[0].kill()
    id = submit(lab, **LONGER)
    waiting = next(s for s in lab.service.plan(id).segments if not s.stored)
    tries = Attempts.of_segment(lab.service.store, id, waiting)
    lab.service.store.write(tries.begin("nobody:1:2"), nothing)
    lab.start_worker()
    assert lab.wait(id)["state"] == "succeeded"


def pretend_elsewhere(lab, manifest):
    """As if a device of another kind had trained it, to other bytes."""
    checkpoint = lab.service.store.write_blob(b"other weights")
    metrics = lab.service.store.write_blob(b"other numbers")
    elsewhere = manifest.model_copy(
        update={
            "provenance": manifest.provenance | {"numerics": "elsewhere"},
            "checkpoint": checkpoint,
            "metrics": metrics,
        }
    )
    lab.service.store.write_json(names.manifest("", manifest.key), elsewhere.model_dump())
    lab.service.records.forget()
    return elsewhere


def test_what_another_kind_of_device_trained_becomes_a_new_generation(lab, trunk):
    here, after = state(lab, trunk, 4), state(lab, trunk, 6)
    elsewhere = pretend_elsewhere(lab, here)
    damage(lab, elsewhere.metrics, "gone")
    assert Repairs(lab.service.store).ask(trunk, 1)
    lab.workers[0].kill()
    lab.start_worker()
    wait_for(lambda: not list(Repairs(lab.service.store).wanted()))
    lab.service.records.forget()
    renewed = state(lab, trunk, 4)
    assert (renewed.checkpoint, renewed.metrics) == (here.checkpoint, here.metrics)
    assert renewed.provenance["generation"] == 2
    assert renewed.provenance["replaces"] == {
        "numerics": "elsewhere", "checkpoint": elsewhere.checkpoint, "metrics": elsewhere.metrics,
    }  # fmt: skip
    assert state(lab, trunk, 6) == after


def test_metrics_of_another_kind_of_device_hold_nothing_up(lab, trunk):
    elsewhere = pretend_elsewhere(lab, state(lab, trunk, 4))
    damage(lab, elsewhere.metrics, "gone")
    lab.workers[0].kill()
    lab.start_worker()
    longer = submit(lab, **LONGER, fisher={"epochs": [6], "samples": 8})
    assert lab.wait(longer)["state"] == "succeeded"
    assert lab.service.live.counted_epochs(longer) >= 4


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
    assert status["failures"][0]["error"] == "Corrupt"
    assert "gives other bytes" in status["failures"][0]["message"]
    assert lab.service.run_states(id) == ["succeeded", "failed"]
