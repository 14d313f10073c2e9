"""Experiments on a real Redis, a real S3 server and real worker processes."""

import os
import signal
import time
from pathlib import Path

import pytest
import redis

from api.service import Service
from shared import names
from shared.errors import Conflict, Invalid
from shared.live import Live
from shared.queue import Sender, make_app
from shared.spec import ExperimentSpec

pytestmark = pytest.mark.services


def body(**changes):
    return {
        "name": "small",
        "dataset": {"name": "gratings", "train_samples": 128, "test_samples": 64},
        "model": {"name": "all_cnn", "width": 0.05},
        "training": {
            "epochs_after_deficit": 2,
            "batch_size": 64,
            "augmentation": {"shift": 2},
        },
        "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
        "sweep": {"deficit.end": [0, 2, 4]},
        "fisher": {"every": 2, "samples": 16},
    } | changes


def submit(lab, **changes):
    experiment, _ = lab.service.accept(ExperimentSpec.model_validate(body(**changes)))
    return experiment.id


def done(status):
    return status["progress"]["epochs"]["done"] if status["progress"] else 0


def results(lab, id):
    """Everything that a user could see of the numbers: metrics, traces, digests of weights."""
    plan = lab.service.experiment(id).plan
    out = []
    for run in plan.runs:
        rows, checkpoints = [], {}
        for segment in (plan.segments[i] for i in run.segments):
            for manifest in lab.service.records.spanning(segment.scope, segment.key, segment.start):
                stored = lab.service.records.metrics(manifest)
                rows += [r for r in stored if segment.start < r["epoch"] <= segment.end]
            checkpoints[segment.end] = manifest.checkpoint
        scope = plan.segments[run.segments[0]].scope
        traces = {
            (epoch, digest): lab.service.records.measurement(scope, key, digest)["values"]
            for epoch, key, digest in run.probes
        }
        out.append((rows, checkpoints, traces))
    return out


def test_an_experiment_is_trained_measured_and_stored(lab):
    lab.start_worker()
    id = submit(lab)
    status = lab.wait(id)
    assert status["state"] == "succeeded"
    assert status["progress"]["epochs"]["done"] == status["progress"]["epochs"]["planned"] == 10
    assert status["progress"]["runs"]["succeeded"] == 3
    outcome = lab.service.experiment(id).outcome
    assert outcome["epochs"]["trained"] == 10
    for rows, checkpoints, traces in results(lab, id):
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(checkpoints) >= 1
        assert all(trace["trace"] > 0 for trace in traces.values())
    assert list(lab.service.store.names(names.ACTIVE)) == []


def test_sharing_on_equals_sharing_off_byte_for_byte(lab):
    lab.start_worker()
    shared = submit(lab)
    lab.wait(shared)
    alone = submit(lab, reuse=False)
    lab.wait(alone)
    assert results(lab, shared) == results(lab, alone)
    # 2 + 4 + 6 epochs alone, the trunk of 4 and 3 x 2 when shared; and really trained:
    assert lab.service.experiment(alone).outcome["epochs"]["trained"] == 12
    assert lab.service.live.counted_epochs(alone) == 12
    assert lab.service.live.counted_epochs(shared) == 10


def test_a_second_experiment_trains_only_what_is_new(lab):
    lab.start_worker()
    lab.wait(submit(lab))
    wider = body(sweep={"deficit.end": [0, 2, 4, 6]})
    plan = lab.service.dry_run(ExperimentSpec.model_validate(wider))
    assert (plan.epochs.new, plan.epochs.replayed) == (4, 0)
    id = submit(lab, sweep=wider["sweep"])
    lab.wait(id)
    assert lab.service.experiment(id).outcome["epochs"]["trained"] == 4
    assert lab.service.live.counted_epochs(id) == 4


def test_measurements_added_or_moved_change_no_weight(lab):
    lab.start_worker()
    ids = [
        submit(lab, reuse=False, fisher=fisher)
        for fisher in (
            None,
            {"every": 1, "samples": 16},
            {"epochs": [3], "samples": 8, "estimator": "exact", "images": ["clean", "deficit"]},
        )
    ]
    for id in ids:
        lab.wait(id)
    weights = [[(rows, checkpoints) for rows, checkpoints, _ in results(lab, id)] for id in ids]
    assert weights[0] == weights[1] == weights[2]


def test_a_measurement_asked_for_later_equals_the_one_made_on_the_way(lab):
    lab.start_worker()
    plain = submit(lab, fisher=None)
    lab.wait(plain)
    later = submit(lab, fisher={"every": 1, "samples": 16})
    status = lab.wait(later)
    # Inside stored segments, so training is replayed up to the last measurement.
    assert lab.service.experiment(later).plan.epochs.new == 0
    assert status["progress"]["epochs"]["planned"] > 0
    fresh = submit(lab, fisher={"every": 1, "samples": 16}, reuse=False)
    lab.wait(fresh)
    assert results(lab, later) == results(lab, fresh)
    replayed = [
        lab.service.records.measurement("", key, digest)["provenance"].get("replay_matches")
        for run in lab.service.experiment(later).plan.runs
        for _, key, digest in run.probes
    ]
    assert True in replayed
    assert False not in replayed


def test_a_killed_worker_costs_time_and_nothing_else(lab):
    longer = {"training": {"epochs_after_deficit": 6, "batch_size": 16}, "fisher": {"every": 3}}
    lab.start_worker()
    undisturbed = submit(lab, reuse=False, **longer)
    lab.wait(undisturbed)
    disturbed = submit(lab, **longer)
    lab.wait(disturbed, lambda s: done(s) >= 3)
    os.kill(lab.workers[0].pid, signal.SIGKILL)
    lab.start_worker()
    assert lab.wait(disturbed)["state"] == "succeeded"
    assert results(lab, disturbed) == results(lab, undisturbed)


def test_a_worker_asked_to_stop_keeps_the_epochs_it_has_finished(lab):
    id = submit(lab, sweep={}, training={"epochs": 19, "batch_size": 4})
    worker = lab.start_worker()
    lab.wait(id, lambda s: done(s) >= 2)
    worker.stop()
    lab.start_worker()
    lab.wait(id)
    # One segment of 19 epochs in the plan; the part that the first worker finished is stored.
    (segment,) = lab.service.experiment(id).plan.segments
    parts = lab.service.records.spanning("", segment.key, 0)
    assert len(parts) == 2
    assert parts[0].end == parts[1].start >= 2
    assert lab.service.live.counted_epochs(id) == 19


def test_losing_redis_loses_nothing(lab, settings):
    lab.start_worker()
    id = submit(lab)
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:
        lab.wait(id, lambda s: done(s) >= 1)
        client.flushall()
        lab.wait(id, lambda s: done(s) >= 4)
        client.flushall()
    assert lab.wait(id)["state"] == "succeeded"


def test_two_workers_given_the_same_segments_store_each_once(lab):
    lab.start_worker()
    lab.start_worker()
    ids = [submit(lab) for _ in range(3)]
    for id in ids:
        assert lab.wait(id)["state"] == "succeeded"
    for id in ids[1:]:
        assert results(lab, id) == results(lab, ids[0])
    assert sum(lab.service.live.counted_epochs(id) or 0 for id in ids) == 10
    assert not any("stored with other bytes" in line for line in lab.lines)


def test_every_message_delivered_many_times_changes_nothing(lab):
    id = submit(lab)
    plan = lab.service.experiment(id).plan
    if plan is None:
        lab.start_worker()
        lab.wait(id, lambda s: s["plan"] is not None)
        plan = lab.service.experiment(id).plan
    for _ in range(10):
        for index in range(len(plan.segments)):
            lab.service.sender.train(id, index)
    lab.start_worker()
    assert lab.wait(id)["state"] == "succeeded"
    assert lab.service.live.counted_epochs(id) == 10


def test_an_experiment_can_be_cancelled_between_two_steps(lab):
    lab.start_worker()
    id = submit(lab, training={"epochs_after_deficit": 400, "batch_size": 2}, sweep={})
    lab.wait(id, lambda s: s["state"] == "running")
    lab.service.cancel(id)
    lab.service.cancel(id)
    assert lab.service.status(id)["state"] == "cancelled"
    other = submit(lab)
    assert lab.wait(other)["state"] == "succeeded"
    assert lab.service.status(id)["state"] == "cancelled"
    with pytest.raises(Conflict, match="succeeded"):
        lab.service.cancel(other)


def test_a_checkpoint_that_no_longer_verifies_is_trained_again_to_the_same_bytes(lab):
    lab.start_worker()
    first = submit(lab, sweep={"deficit.end": [4]}, checkpoints={"epochs": [2]})
    lab.wait(first)
    undisturbed = submit(lab, sweep={"deficit.end": [2]}, reuse=False)
    lab.wait(undisturbed)
    name = names.blob(state_at_2(lab, first).checkpoint)
    whole = lab.service.store.read(name)
    lab.service.store.write(name, whole[:-1] + bytes([whole[-1] ^ 1]))
    id = submit(lab, sweep={"deficit.end": [2]})
    assert lab.wait(id)["state"] == "succeeded"
    assert results(lab, id) == results(lab, undisturbed)
    assert lab.service.store.read(name) == whole


def test_a_run_that_keeps_failing_is_set_aside_and_its_siblings_succeed(lab):
    lab.start_worker()
    first = submit(lab, sweep={"deficit.end": [4]}, checkpoints={"epochs": [2]})
    lab.wait(first)
    # A manifest whose checkpoint no training gives: nothing can be made of that.
    manifest = state_at_2(lab, first)
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


def state_at_2(lab, id):
    """The manifest of the checkpoint that was asked for after two epochs."""
    plan = lab.service.experiment(id).plan
    key = next(s.key for s in plan.segments if s.end == 2)
    return lab.service.records.manifest("", key)


def test_a_data_set_that_cannot_be_had_fails_the_experiment_with_the_reason(lab):
    lab.settings.allow_download = False
    lab.start_worker()
    id = submit(lab, dataset={"name": "mnist"})
    assert lab.service.status(id)["state"] == "preparing"
    status = lab.wait(id)
    assert status["state"] == "failed"
    assert "HUBEL_ALLOW_DOWNLOAD" in status["failures"][0]["reason"]


def test_the_worker_parent_never_imports_torch_and_its_child_dies_with_it(lab):
    worker = lab.start_worker()
    lab.wait(submit(lab))
    (child,) = children_of(worker.pid)
    assert "torch" not in Path(f"/proc/{worker.pid}/maps").read_text()
    assert "torch" in Path(f"/proc/{child}/maps").read_text()
    os.kill(worker.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_submitting_works_while_redis_is_away(lab, servers_factory):
    own = servers_factory()
    settings = lab.settings.model_copy(update={"redis_url": own.settings.redis_url})
    service = Service(lab.service.records, Live(settings), Sender(make_app(settings)), settings)
    own.redis.kill()
    began = time.monotonic()
    experiment, made = service.accept(ExperimentSpec.model_validate(body()))
    assert made
    assert service.status(experiment.id)["state"] == "preparing"
    assert time.monotonic() - began < 10
    lab.start_worker()  # and its own Redis answers: the reconcile loop sends what was not sent
    assert lab.wait(experiment.id)["state"] == "succeeded"


def test_an_idempotency_key_gives_the_first_answer_again(lab):
    spec = ExperimentSpec.model_validate(body())
    first, made = lab.service.accept(spec, idempotency_key="abc")
    again, made_again = lab.service.accept(spec, idempotency_key="abc")
    assert (first.id, made, made_again) == (again.id, True, False)
    with pytest.raises(Invalid, match="another body"):
        lab.service.accept(ExperimentSpec.model_validate(body(seeds=[5])), idempotency_key="abc")
    assert len(list(lab.service.store.names(names.INDEX))) == 1


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(c) for task in tasks.iterdir() for c in (task / "children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
