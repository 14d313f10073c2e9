"""What a worker takes at a message: the most urgent of its experiment, with a real Redis."""

import json
import threading
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor

import pytest
from small import body

from api.reconcile import Reconciler
from api.service import Service
from shared.live import LOST_SECONDS, Live
from shared.queue import Sender, make_app
from shared.ready import EXPERIMENT, QUEUE, WORK
from shared.records import Records
from shared.spec import ExperimentSpec
from shared.work import work_name
from worker.preparation import prepare

pytestmark = pytest.mark.services

LONG = {"sweep": {"deficit.end": [0, 10, 20, 30]}, "fisher": None, "checkpoints": {"every": 2}}


@pytest.fixture
def service(settings, storage):
    prepare("gratings", storage, settings)
    return Service(Records(storage), Live(settings), Sender(make_app(settings)), settings)


def submit(service, **changes):
    experiment, _ = service.accept(ExperimentSpec.model_validate(body(**LONG | changes)))
    return experiment.id


def receive(live, worker):
    """As the parent of a worker does: (experiment, index), or None."""
    message = live._redis.rpop(QUEUE)
    if message is None:
        return None
    said = json.loads(message)
    experiment, index = json.loads(b64decode(said["body"]))[0]
    assert said["headers"][EXPERIMENT] == experiment
    taken, _ = live.take_most_urgent(experiment, index, said["headers"][WORK], worker)
    return experiment, taken


def names(service, id, indices):
    return [work_name(service.plan(id).segments[i]) for i in indices]


def age(live, works, seconds=LOST_SECONDS):
    for work in works:
        key = f"hubel:queued:{work}"
        live._redis.pexpire(key, live._redis.pttl(key) - 1000 * seconds)
    live._looked = float("-inf")


def test_each_message_brings_the_most_urgent_that_nobody_holds(service):
    id = submit(service, seeds=[0, 1])
    live, tracker = service.live, service.tracker(id)
    ready = tracker.ready()
    assert len(ready) == 4  # of each seed the clean run, and the trunk
    # Sent in the wrong order, as children are woken when their parents are done.
    live._redis.flushall()
    for index in reversed(ready):
        assert service.wake(tracker, index)
    urgency = tracker.urgency
    assert live.most_urgent(id) == (live.most_urgent(id)[0], max(urgency[i] for i in ready))
    first = live.most_urgent(id)[0]
    live.take(*names(service, id, [first]), "another")  # an old worker: it does not look
    taken = [receive(live, f"worker {i}")[1] for i in range(3)]
    assert set(taken) == set(ready) - {first}
    assert [urgency[i] for i in taken] == sorted((urgency[i] for i in taken), reverse=True)
    assert not live.take(*names(service, id, taken[:1]), "another")
    assert service.live.idle(names(service, id, ready)) == []
    assert live.most_urgent(id) is None


def test_experiments_among_each_other_are_served_as_they_come(service):
    long, short = submit(service, seeds=[0, 1]), submit(service, seeds=[2], sweep={})
    came = [receive(service.live, f"worker {i}")[0] for i in range(5)]
    assert came == [long] * 4 + [short]
    assert receive(service.live, "one more") is None


def test_what_waits_for_a_long_experiment_is_sent_for_a_short_one_too(service):
    long = submit(service, seeds=[0, 1])
    short = submit(service, seeds=[1], sweep={})  # the least urgent of the long one
    [index] = service.tracker(short).ready()
    assert service.live.most_urgent(short)[0] == index
    reconciler = Reconciler(service)
    for _ in range(3):
        for id in (long, short):
            reconciler.look_at(id)
    assert service.live.queue_length() == 5
    service.live._redis.delete(f"hubel:ready:{short}")  # as if it had become ready later
    reconciler.look_at(short)
    assert service.live.most_urgent(short)[0] == index


def test_without_redis_for_a_moment_all_is_sent_again_and_once(service):
    id = submit(service, seeds=[0, 1])
    reconciler, live = Reconciler(service), service.live
    live._redis.flushall()
    for _ in range(3):
        reconciler.look_at(id)
    assert live.queue_length() == 4
    urgency = service.tracker(id).urgency
    taken = [receive(live, f"worker {i}")[1] for i in range(4)]
    assert [urgency[i] for i in taken] == sorted((urgency[i] for i in taken), reverse=True)


def test_a_message_that_is_lost_is_missed_for_the_least_urgent_that_waits(service):
    id = submit(service, seeds=[0, 1])
    live, tracker = service.live, service.tracker(id)
    works = names(service, id, tracker.ready())
    age(live, works)
    assert live.idle(works) == []
    _, taken = receive(live, "worker")  # another than the message names, perhaps
    rest = [i for i in tracker.ready() if i != taken]
    assert live.idle(works) == []
    age(live, [], 0)
    assert live.idle(works) == []
    while live._redis.rpop(QUEUE):
        pass  # by workers that die at once
    age(live, [], 0)
    assert sorted(live.idle(works)) == sorted(names(service, id, rest))
    Reconciler(service).look_at(id)
    assert live.queue_length() == len(rest)


def test_a_message_of_an_earlier_version_brings_what_it_names(service):
    id = submit(service, seeds=[0, 1])
    live, tracker = service.live, service.tracker(id)
    *_, last = tracker.ready()
    live.drop_ready(id, last, tracker.plan.segments[last])
    [work] = names(service, id, [last])
    assert live.take_most_urgent(id, last, work, "worker") == (last, work)
    first, name = live.take_most_urgent(id, last, work, "another")  # it came twice
    assert first != last
    assert [name] == names(service, id, [first])


def test_who_takes_while_another_sends_leaves_nothing_behind(service):
    id = submit(service, seeds=list(range(40)))
    tracker, live = service.tracker(id), service.live
    live._redis.flushall()
    ready, taken, sent = tracker.ready(), [], threading.Event()

    def work(name):
        own = Live(service.settings)
        while (got := receive(own, name)) or not sent.is_set():
            if got:
                taken.append(got[1])

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, f"worker {i}") for i in range(3)]
        for index in ready:
            service.wake(tracker, index)
        sent.set()
        for worker in workers:
            worker.result(30)
    assert sorted(taken) == sorted(ready)
    works = names(service, id, ready)
    assert live._held(works) == ([1] * len(works), [-2] * len(works))  # all held, none marked
