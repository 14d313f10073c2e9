"""Thousands of experiments that wait, and many that ask: what is asked of the store and of Redis.

Nothing is trained here: a test writes the records that a worker would.
"""

import asyncio
import threading
import time

import pytest
from freezing import frozen
from small import body
from test_many_segments import finish

from api import service as service_module
from api import watch
from api.reconcile import Reconciler
from api.service import Service
from shared import names
from shared.live import Live
from shared.queue import Sender, make_app
from shared.records import Records
from shared.spec import ExperimentSpec
from shared.storage import Storage
from shared.work import work_name
from worker.preparation import prepare

pytestmark = pytest.mark.services


class Counted(Storage):
    questions = 0

    def read_json(self, name):
        self.questions += 1
        return super().read_json(name)

    def names(self, prefix, after=None, limit=None):
        self.questions += 1
        return super().names(prefix, after, limit)


@pytest.fixture
def service(settings, storage):
    prepare("gratings", storage, settings)
    store = Counted(settings)
    return Service(Records(store), Live(settings), Sender(make_app(settings)), settings)


def another(service):
    """A replica: the same store and Redis, and nothing remembered."""
    parts = (Records(Counted(service.settings)), Live(service.settings), service.sender)
    return Service(*parts, service.settings)


def submit(service, seed=0):
    training = {"epochs": 1, "batch_size": 64}
    spec = body(seeds=[seed], sweep={}, deficit=None, fisher=None, training=training)
    return service.accept(ExperimentSpec.model_validate(spec))[0].id


def report_done(service, id):
    (segment,) = service.plan(id).segments
    finish(service, segment, id)
    service.live.report(work_name(segment), {"epoch": 1, "start": 0, "end": 1, "done": True})


def test_however_many_poll_a_status_is_made_once(service):
    id = submit(service)
    made = []

    def slow(asked):
        made.append(asked)
        time.sleep(0.3)
        return service.status(asked)

    service.statuses._make = slow

    async def poll():
        return await asyncio.gather(*(service.statuses.polled(id) for _ in range(100)))

    found = asyncio.run(poll())
    assert {status["state"] for status in found} == {"queued"}
    assert made == [id]


def test_a_store_that_hangs_holds_up_no_thread_but_those_that_make_statuses(
    service, servers_factory
):
    own = servers_factory()
    hanging = Storage(own.settings, read_seconds=3).open()
    hung = Service(Records(hanging), service.live, service.sender, own.settings)
    prepare("gratings", hanging, service.settings)
    ids = [submit(hung, seed) for seed in range(3)]
    before = threading.active_count()

    async def poll():
        asked = [hung.statuses.polled(id) for id in ids for _ in range(50)]
        gathered = asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(0.5)
        threads = threading.active_count()
        await gathered
        return threads

    with frozen(own.store.pid):
        threads = asyncio.run(poll())
    assert threads - before <= 2 * len(ids)
    assert hung.statuses.of(ids[0])["state"] == "queued"


def test_a_cancel_shows_at_once_here_and_soon_on_another_replica(service):
    id, other = submit(service), another(service)
    assert service.statuses.of(id)["state"] == other.statuses.of(id)["state"] == "queued"
    service.cancel(id)
    assert service.statuses.of(id)["state"] == "cancelled"
    deadline = time.monotonic() + 3
    while other.statuses.of(id)["state"] != "cancelled":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_status_that_was_begun_before_a_cancel_is_not_shown_after_it(service):
    id = submit(service)
    begun, go_on = threading.Event(), threading.Event()

    def slow(asked):
        found = service.status(asked)
        begun.set()
        go_on.wait(10)
        return found

    service.statuses._make = slow
    asked = service.statuses._ask(id)
    begun.wait(10)
    service.cancel(id)
    go_on.set()
    assert asked.result(10).status["state"] == "queued"
    assert service.statuses.of(id)["state"] == "cancelled"


def test_what_was_just_accepted_is_listed_at_once(service):
    ids = []
    for seed in range(5):
        ids.append(submit(service, seed))
        page = service.page(50).experiments
        assert [one["id"] for one in page] == ids[::-1]


def test_pages_hold_every_experiment_once(service, monkeypatch):
    monkeypatch.setattr("api.index.BEGINNING", 4)
    ids = [submit(service, seed) for seed in range(11)]
    for one in (service, another(service)):
        found, token = [], None
        while True:
            page = one.page(3, token)
            token = page.last
            found += [status["id"] for status in page.experiments]
            assert page.unreadable == []
            if token is None:
                break
        assert found == ids[::-1]


def test_the_queue_holds_a_bounded_number_and_is_filled_again(service, monkeypatch):
    monkeypatch.setattr(service_module, "MOST_QUEUED", 5)
    ids = [submit(service, seed) for seed in range(12)]
    reconciler = Reconciler(service)
    reconciler.pass_over()
    assert service.live.queue_length() == 5
    works = [work_name(service.plan(id).segments[0]) for id in ids]
    assert service.live.idle(works) == works[5:]
    for work in works[:3]:  # as workers do
        service.live._redis.lpop("hubel")
        service.live.take(work, "a worker")
    reconciler.pass_over()
    assert service.live.queue_length() == 5
    assert service.live.idle(works) == works[8:]  # the oldest first


def test_a_pass_looks_at_what_changed_and_at_a_few_others(service, monkeypatch):
    monkeypatch.setattr(watch, "IN_TURN", 2)
    ids = [submit(service, seed) for seed in range(12)]
    reconciler = Reconciler(service)
    reconciler.pass_over()
    looked = []
    look_at = reconciler.look_at
    monkeypatch.setattr(reconciler, "look_at", lambda id: (looked.append(id), look_at(id)))
    reconciler.pass_over()
    assert len(looked) == 2
    report_done(service, ids[7])
    looked.clear()
    reconciler.pass_over()
    assert ids[7] in looked
    assert len(looked) == 3
    assert service.outcome(ids[7])["state"] == "succeeded"


def test_without_a_word_from_redis_each_has_its_turn(service, monkeypatch):
    monkeypatch.setattr(watch, "IN_TURN", 3)
    ids = [submit(service, seed) for seed in range(9)]
    reconciler = Reconciler(service)
    reconciler.pass_over()
    for id in ids:
        finish(service, service.plan(id).segments[0], id)
        service.tracker(id)._asked.clear()
    for _ in range(3):
        reconciler.pass_over()
    assert [service.outcome(id)["state"] for id in ids] == ["succeeded"] * 9
    assert list(service.store.names(names.ACTIVE)) == []


def test_experiments_that_wait_are_not_asked_about_in_every_pass(service, monkeypatch):
    monkeypatch.setattr(watch, "IN_TURN", 2)
    for seed in range(20):
        submit(service, seed)
    reconciler = Reconciler(service)
    reconciler.pass_over()
    service.store.questions = 0
    for _ in range(3):
        reconciler.pass_over()
    assert service.store.questions <= 3 * (1 + 2 * 2)  # a list, and at most two for each in turn
