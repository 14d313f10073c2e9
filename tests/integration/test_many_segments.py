"""Experiments of many segments: what is asked of the store, and when an attempt counts as dead.

Nothing is trained here: a test writes the records that a worker would.
"""

import time

import pytest
from freezing import frozen
from small import body

from api.reconcile import Reconciler
from api.service import SENT_AT_ONCE, Service
from api.tracker import ASKED_FOR_A_STATUS
from shared import names
from shared.attempts import Attempts, Failure
from shared.chain import Manifest
from shared.live import LOST_SECONDS, PAUSE_SECONDS, Live
from shared.queue import Sender, make_app
from shared.ready import QUEUE
from shared.records import Records
from shared.spec import ExperimentSpec
from shared.storage import Storage
from shared.work import preparation_work, work_name
from worker.heartbeat import Heartbeat
from worker.preparation import prepare

pytestmark = pytest.mark.services

RUNS = 3 * ASKED_FOR_A_STATUS


class Counted(Records):
    asked = 0

    def manifest(self, scope, key):
        self.asked += 1
        return super().manifest(scope, key)


@pytest.fixture
def service(settings, storage):
    quick = settings.model_copy(
        update={"lease_seconds": 2.0, "max_attempts": 1, "max_infrastructure_attempts": 1}
    )
    return Service(Counted(storage), Live(quick), Sender(make_app(quick)), quick)


@pytest.fixture
def experiment(service):
    """One segment for each of many seeds."""
    prepare("gratings", service.store, service.settings)
    spec = body(
        seeds=list(range(RUNS)), sweep={}, deficit=None, fisher=None,
        training={"epochs": 1, "batch_size": 64},
    )  # fmt: skip
    accepted, _ = service.accept(ExperimentSpec.model_validate(spec))
    return accepted


def finish(service, segment, experiment="0" * 24):
    provenance = {"experiment": experiment, "wall_seconds": 1.0, "numerics": "none"}
    service.store.create_json(
        names.manifest(segment.scope, segment.key),
        Manifest(
            key=segment.key, parent=segment.parent, start=segment.start, end=segment.end,
            checkpoint="0" * 64, metrics="0" * 64, provenance=provenance,
        ).model_dump(),
    )  # fmt: skip


def test_a_poll_asks_about_a_bounded_number_of_segments(service, experiment):
    service.records.asked = 0
    assert service.status(experiment.id)["state"] == "queued"
    assert 0 < service.records.asked <= ASKED_FOR_A_STATUS
    assert RUNS > SENT_AT_ONCE


def test_what_a_worker_says_it_finished_is_seen_at_once(service, experiment):
    last = experiment.plan.segments[-1]
    finish(service, last, experiment.id)
    service.live.report(work_name(last), {"epoch": 1, "start": 0, "end": 1, "done": True})
    progress = service.status(experiment.id)["progress"]
    assert progress["runs"]["succeeded"] == 1
    assert progress["epochs"]["done"] == progress["epochs"]["trained"] == 1


def test_a_worker_is_not_believed_over_the_store(service, experiment):
    first = experiment.plan.segments[0]
    service.live.report(work_name(first), {"epoch": 1, "start": 0, "end": 1, "done": True})
    assert service.status(experiment.id)["progress"]["runs"]["succeeded"] == 0


def test_without_a_word_from_redis_all_is_found_in_turn(service, experiment):
    for segment in experiment.plan.segments:
        finish(service, segment, experiment.id)
    reconciler = Reconciler(service)
    for _ in range(4):
        reconciler.look_at(experiment.id)
    outcome = service.outcome(experiment.id)
    assert outcome["state"] == "succeeded"
    assert outcome["epochs"]["trained"] == RUNS
    # A service that is started later does not ask for them again.
    later = Service(Counted(service.store), service.live, service.sender, service.settings)
    progress = later.status(experiment.id)["progress"]
    assert progress["epochs"]["trained"] == progress["runs"]["succeeded"] == RUNS
    assert later.records.asked == 0


def test_what_was_not_done_is_not_asked_about_again_at_once_and_is_still_queued(
    service, experiment
):
    reconciler = Reconciler(service)
    reconciler.look_at(experiment.id)
    service.records.asked = 0
    works = [work_name(segment) for segment in experiment.plan.segments]
    for work in works:
        service.live.unmark_queued(work)  # as after a FLUSHALL
    assert len(service.live.idle(works)) == RUNS
    reconciler.look_at(experiment.id)
    assert service.records.asked == 0
    assert service.live.idle(works) == []
    finish(service, experiment.plan.segments[5], experiment.id)
    service.live.report(works[5], {"epoch": 1, "start": 0, "end": 1, "done": True})
    reconciler.look_at(experiment.id)
    assert service.records.asked == 2  # that it is done, and which epochs it trained


def test_an_attempt_is_dead_once_nobody_holds_it_and_not_before(service, experiment):
    segment, reconciler = experiment.plan.segments[0], Reconciler(service)
    work = work_name(segment)
    service.live.take(work, "a worker")
    Attempts.of_segment(service.store, experiment.id, segment).begin("a worker")
    # Redis forgets everything while the worker is in the middle of a long step.
    service.live.release(work, "a worker")
    reconciler.look_at(experiment.id)
    service.live.renew(work, "a worker")
    time.sleep(1.2)
    reconciler.look_at(experiment.id)
    assert service.status(experiment.id)["progress"]["runs"]["failed"] == 0
    service.live.release(work, "a worker")
    reconciler.look_at(experiment.id)
    assert service.status(experiment.id)["progress"]["runs"]["failed"] == 0
    time.sleep(1.2)
    reconciler.look_at(experiment.id)
    status = service.status(experiment.id)
    assert status["progress"]["runs"]["failed"] == 1
    assert status["failures"][0]["reason"].startswith("WorkerVanished")


def test_an_attempt_that_says_it_failed_is_believed_at_once(service, experiment):
    segment = experiment.plan.segments[0]
    attempts = Attempts.of_segment(service.store, experiment.id, segment)
    service.live.unmark_queued(work_name(segment))
    failure = Failure("died", "OutOfMemory", "no more of it", "the last words")
    attempts.fail(attempts.begin("a worker"), failure)
    Reconciler(service).look_at(experiment.id)
    expected = {
        "run": 0, "epoch": 0, "attempts": 1, "kind": "died", "error": "OutOfMemory",
        "message": "no more of it", "reason": "OutOfMemory: no more of it",
    }  # fmt: skip
    assert service.status(experiment.id)["failures"] == [expected]


@pytest.mark.parametrize(("queued_seconds", "believed"), [(5, 5), (22, 20), (600, 20)])
def test_a_message_that_is_gone_from_an_empty_queue_is_sent_again(
    settings, queued_seconds, believed
):
    live, work = Live(settings.model_copy(update={"queued_seconds": queued_seconds})), "a" * 64
    assert live.idle([work]) == [work]
    assert live.mark_queued(work)
    age(live, work, believed - 1)
    assert live.idle([work]) == []
    assert not live.mark_queued(work)
    age(live, work, 1)
    assert live.idle([work]) == [work]
    assert live.mark_queued(work)


def test_a_message_that_is_gone_from_among_others_is_sent_again(settings):
    live, sender = Live(settings), Sender(make_app(settings))
    works = [preparation_work(name) for name in ("lost", "waiting")]
    for work, name in zip(works, ("lost", "waiting"), strict=True):
        assert live.mark_queued(work)
        assert sender.prepare("0" * 24, name)
        age(live, work, LOST_SECONDS)
    assert live.idle(works) == []
    live._redis.rpop(QUEUE)  # by a worker that dies
    live._looked = float("-inf")
    assert live.idle(works) == works[:1]
    assert live.mark_queued(works[0])
    assert live.idle(works) == []
    live._redis.delete(QUEUE)


def age(live, work, seconds):
    key = f"hubel:queued:{work}"
    live._redis.pexpire(key, live._redis.pttl(key) - 1000 * seconds)


def test_a_step_may_take_longer_than_a_lease(service):
    work, live = "a" * 64, service.live
    assert live.take(work, "a worker")
    live.report(work, {"epoch": 3})
    with Heartbeat(live, "0" * 24, work, "a worker"):
        time.sleep(5)  # also longer than a report is kept
        assert not live.take(work, "another")
        assert live.progress([work])[work]["epoch"] == 3
    time.sleep(2.2)
    assert live.take(work, "another")


def test_a_frozen_redis_is_waited_for_once_and_not_for_every_segment(servers_factory, tmp_path):
    own = servers_factory()
    settings = own.settings.model_copy(update={"s3_bucket": "frozen", "scratch_dir": tmp_path})
    store = Storage(settings).open()
    prepare("gratings", store, settings)
    service = Service(Records(store), Live(settings), Sender(make_app(settings)), settings)
    spec = ExperimentSpec.model_validate(body(seeds=list(range(20)), sweep={}))
    with frozen(own.redis.pid):
        began = time.monotonic()
        accepted, _ = service.accept(spec)
        assert time.monotonic() - began < 30  # 20 segments, some 7 s each
    time.sleep(PAUSE_SECONDS)
    assert service.status(accepted.id)["state"] == "queued"
    Reconciler(service).look_at(accepted.id)
    assert service.live.idle([work_name(s) for s in accepted.plan.segments if s.start == 0]) == []
