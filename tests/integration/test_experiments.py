"""Experiments on a real Redis, a real S3 server and real worker processes."""

import hashlib
import os
import signal
import time
from pathlib import Path

import pytest
import redis
from breakable import children_of, is_alive
from small import body, results, submit

from api.service import Service
from shared import names
from shared.errors import Conflict, Invalid
from shared.live import Live
from shared.queue import QUEUE, Sender, make_app
from shared.repairs import Repairs
from shared.spec import ExperimentSpec
from worker.preparation import prepare

pytestmark = pytest.mark.services


def done(status):
    return status["progress"]["epochs"]["done"] if status["progress"] else 0


def at_most(lab, id, deaths):
    """Epochs that are trained for an experiment of which so many workers have died."""
    plan = lab.service.plan(id)
    return plan.epochs.new + deaths * max(s.end - s.start for s in plan.segments)


def test_an_experiment_is_trained_measured_and_stored(lab):
    lab.start_worker()
    id = submit(lab)
    status = lab.wait(id)
    assert status["state"] == "succeeded"
    assert status["progress"]["epochs"]["done"] == status["progress"]["epochs"]["planned"] == 10
    assert status["progress"]["runs"]["succeeded"] == 3
    outcome = lab.service.experiment(id).outcome
    assert outcome["epochs"]["trained"] == 10
    for rows, checkpoints, measured in results(lab, id):
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(checkpoints) >= 1
        fisher = [one["trace"] for one in measured.values() if "trace" in one]
        assert len(fisher) == len(measured) / 2  # the other half are the gradients beside them
        assert min(fisher) > 0
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


def test_a_checkpoint_asked_for_later_is_trained_to_and_equals_the_one_kept_at_once(lab):
    lab.start_worker()
    plain = {"sweep": {}, "deficit": None, "training": {"epochs": 6, "batch_size": 64}}
    lab.wait(submit(lab, **plain))
    kept = {**plain, "checkpoints": {"epochs": [3, 5]}, "fisher": {"epochs": [4], "samples": 16}}
    later = submit(lab, **kept)
    assert lab.service.experiment(later).plan.epochs.replayed == 5
    assert lab.wait(later)["state"] == "succeeded"
    alone = submit(lab, **kept, reuse=False)
    lab.wait(alone)
    assert sorted(results(lab, later)[0][1]) == [3, 5, 6]
    assert results(lab, later) == results(lab, alone)


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
    assert lab.service.live.counted_epochs(disturbed) <= at_most(lab, disturbed, deaths=1)


def test_a_worker_asked_to_stop_keeps_the_epochs_it_has_finished(lab):
    id = submit(lab, sweep={}, training={"epochs": 19, "batch_size": 4})
    worker = lab.start_worker()
    lab.wait(id, lambda s: done(s) >= 2)
    worker.stop()
    assert worker.exit_code == 0  # by itself, within its grace
    lab.start_worker()
    lab.wait(id)
    # One segment of 19 epochs in the plan; the part that the first worker finished is stored.
    (segment,) = lab.service.experiment(id).plan.segments
    parts = lab.service.records.spanning("", segment.key, 0)
    assert len(parts) == 2
    assert parts[0].end == parts[1].start >= 2
    assert lab.service.live.counted_epochs(id) == 19


def test_a_worker_that_has_no_time_for_the_epoch_under_way_keeps_those_before_it(lab):
    longer = {
        "sweep": {},
        "dataset": {"name": "gratings", "train_samples": 2000, "test_samples": 64},
        "training": {"epochs": 4, "batch_size": 4},
        "fisher": {"every": 2, "samples": 16},
    }
    id = submit(lab, **longer)
    worker = lab.start_worker(HUBEL_STOP_SECONDS="0")
    lab.wait(id, lambda s: done(s) >= 2)
    worker.stop()
    assert worker.exit_code == 0
    (segment,) = lab.service.experiment(id).plan.segments
    stored = [end for end, key in enumerate(segment.keys, 1)
              if lab.service.records.manifest("", key)]  # fmt: skip
    assert stored == [2]
    assert lab.service.live.counted_epochs(id) == 2, "it waited for the end of the third"
    lab.start_worker()
    assert lab.wait(id)["state"] == "succeeded"
    rows = [r for m in lab.service.records.spanning("", segment.key, 0)
            for r in lab.service.records.metrics(m)]  # fmt: skip
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert lab.service.live.counted_epochs(id) == 4


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
    lab.start_worker()
    lab.start_worker()
    alone = submit(lab, reuse=False)
    lab.wait(alone)
    id = submit(lab)
    for _ in range(10):
        for index, segment in enumerate(lab.service.plan(id).segments):
            lab.service.sender.train(id, index, segment)
    assert lab.wait(id)["state"] == "succeeded"
    assert results(lab, id) == results(lab, alone)
    assert lab.service.live.counted_epochs(id) == 10


def test_a_preparation_asked_for_many_times_is_one_data_set(lab):
    id = submit(lab)
    for _ in range(10):
        lab.service.sender.prepare(id, "gratings")
    lab.start_worker()
    lab.start_worker()
    assert lab.wait(id)["state"] == "succeeded"
    stored = lab.service.store.names(names.DATASETS)
    assert len({name.split("/")[2] for name in stored if "/by-digest/" in name}) == 1
    assert lab.service.live.counted_epochs(id) == 10
    assert not any("failed" in line for line in lab.lines)


def test_a_repair_asked_for_many_times_is_made_once(lab):
    id = submit(lab)
    lab.start_worker()
    lab.start_worker()
    lab.wait(id)
    whole, store = results(lab, id), lab.service.store
    segment = lab.service.plan(id).segments[0]
    blob = names.blob(lab.service.records.manifest(segment.scope, segment.key).checkpoint)
    store.write(blob, b"x" + store.read(blob)[1:])
    repairs = Repairs(store)
    repairs.ask(id, 0)
    for _ in range(10):
        lab.service.sender.repair(id, 0, segment)
    lab.wait(id, lambda _: not list(repairs.wanted()))
    lab.wait(id, lambda _: lab.service.live.queue_length() == 0)
    assert names.blob(hashlib.sha256(store.read(blob)).hexdigest()) == blob
    assert results(lab, id) == whole
    assert sum("is trained again" in line for line in lab.lines) == 1, lab.lines


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


def test_a_killed_child_is_noticed_at_once_and_its_work_taken_up_again(lab):
    """The lease is far from its end: the parent gives it back."""
    lab.service.live.lease_ms = 600_000
    worker = lab.start_worker(HUBEL_LEASE_SECONDS="600")
    id = submit(lab, sweep={}, training={"epochs": 12, "batch_size": 4}, fisher=None)
    lab.wait(id, lambda s: done(s) >= 2)
    (child,) = children_of(worker.pid)
    os.kill(child, signal.SIGKILL)
    assert lab.wait(id, seconds=300)["state"] == "succeeded"
    assert worker.exit_code is None
    assert 12 < lab.service.live.counted_epochs(id) <= at_most(lab, id, deaths=1)


def test_a_child_killed_before_it_began_leaves_no_mark_behind(lab):
    """It imports torch for seconds, with the message in its hands."""
    prepare("gratings", lab.service.store, lab.settings)
    id = submit(lab, sweep={}, deficit=None, training={"epochs": 2}, fisher=None)
    with redis.Redis.from_url(lab.settings.redis_url.get_secret_value()) as client:
        assert client.llen(QUEUE) == 1
        worker = lab.start_worker()
        deadline = time.monotonic() + 60
        while client.llen(QUEUE):
            assert time.monotonic() < deadline, lab.lines
            time.sleep(0.02)
    time.sleep(0.5)  # what the child has not read yet, Celery itself gives to the next one
    (child,) = children_of(worker.pid)
    os.kill(child, signal.SIGKILL)
    assert lab.wait(id, seconds=300)["state"] == "succeeded"


def test_a_worker_that_dies_before_it_began_is_missed_in_time_also_behind_a_full_queue(lab):
    """Its message is gone; that others wait must not let the mark of it be believed for long."""
    prepare("gratings", lab.service.store, lab.settings)
    one = {"sweep": {}, "deficit": None, "training": {"epochs": 2}, "fisher": None}
    ids = [submit(lab, **one, seeds=[seed]) for seed in range(3)]
    with redis.Redis.from_url(lab.settings.redis_url.get_secret_value()) as client:
        worker = lab.start_worker()
        deadline = time.monotonic() + 60
        while client.llen(QUEUE) == len(ids):
            assert time.monotonic() < deadline, lab.lines
            time.sleep(0.02)
        os.kill(worker.pid, signal.SIGKILL)
        assert client.llen(QUEUE) == len(ids) - 1
        while client.llen(QUEUE) < len(ids):
            assert time.monotonic() < deadline + lab.settings.lease_seconds + 30
            time.sleep(0.1)
    lab.start_worker()
    assert {lab.wait(id)["state"] for id in ids} == {"succeeded"}


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


def test_a_spec_is_shown_with_the_defaults_that_it_was_accepted_with(lab):
    id = names.new_experiment_id()
    given = body(fisher={"every": 2})
    stored = {"given": given, "accepted": given | {"fisher": {"every": 2, "estimator": "label"}}}
    lab.service.store.write_json(names.experiment_object(id, "spec.json"), stored)
    assert lab.service.accepted(id).shown["fisher"]["estimator"] == "label"
