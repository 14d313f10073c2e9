"""A worker stores a segment while it trains what follows: a real Redis, and a real store behind a
proxy that tells what was asked of it, and answers amiss where it is told to."""

import gc
import threading
import time

import pytest
import small

from shared.attempts import Attempts, Failure
from shared.errors import StoreUnavailable
from shared.live import QUEUE
from shared.queue import TRAIN, make_app
from shared.scratch import DATASETS
from tests.faults.rule import AFTER, BEFORE, Rule
from tests.faults.store_proxy import StoreProxy
from worker import datasets_cache
from worker.crew import Crew
from worker.fixed import Fixed
from worker.overseer import Overseer
from worker.preparation import prepare
from worker.pulse import Pulse
from worker.train import Trainer

pytestmark = pytest.mark.services

MANIFESTS = r"segments/\*/manifest\.json"
TRIES = 3
"""Of one request, by `shared.storage`."""


@pytest.fixture
def proxy(settings):
    port = int(settings.s3_endpoint.rpartition(":")[2])
    with StoreProxy(lambda: port) as made:
        yield made


@pytest.fixture
def crew(lab, storage, proxy):
    """In this process, and it does not wait for a store that is away."""
    datasets_cache._held.clear()
    prepare("gratings", storage, lab.settings)
    (lab.settings.scratch / DATASETS).mkdir()
    changes = {"s3_endpoint": f"127.0.0.1:{proxy.port}", "store_patience_seconds": 0.0}
    settings = lab.settings.model_copy(update=changes | {"retry_seconds": 0.01})
    return Crew(settings, make_app(settings), Pulse())


def submit(lab):
    """Two runs that are one up to the end of a deficit: a segment an epoch."""
    id = small.submit(lab, checkpoints={"every": 1}, sweep={"deficit.end": [2, 3]})
    return id, lab.service.experiment(id).plan


def train(crew, id, plan, index):
    """What a child does with a segment that its parent took."""
    crew.live.drop_ready(id, index, plan.segments[index])
    crew.train(id, index)


def manifests(plan):
    return [f"segments/{segment.key}/manifest.json" for segment in plan.segments]


def stored(storage, plan):
    return [name for name in manifests(plan) if storage.exists(name)]


def run_of(plan, index):
    return [manifests(plan)[i] for i in plan.runs[index].segments]


def is_at_nothing(crew, storage, id, plan):
    tries = [Attempts.of_segment(storage, id, segment).history() for segment in plan.segments]
    assert not any(history.attempts for history in tries)
    assert crew.live.leased() == []
    assert (crew.tries.open, crew.at, crew.pulse.at) == ({}, [], [])
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}
    return True


def test_one_message_is_a_whole_run_of_which_nothing_is_read_again(lab, storage, proxy, crew):
    id, plan = submit(lab)
    longer = run_of(plan, 1)
    train(crew, id, plan, 0)
    assert stored(storage, plan) == longer, "of two children, that behind which more waits"
    asked = [(call.method, call.name) for call in proxy.calls]
    assert [name for how, name in asked if how == "PUT" and name in longer] == longer
    read = [name.partition("/")[0] for how, name in asked if how == "GET"]
    assert "blobs" not in read, "a state that is in memory is not loaded"
    assert sum(name.endswith("train_images.npy") for how, name in asked if how == "GET") == 1
    assert is_at_nothing(crew, storage, id, plan)
    other = next(i for i in plan.runs[0].segments if manifests(plan)[i] not in longer)
    train(crew, id, plan, other)
    assert lab.wait(id)["state"] == "succeeded"
    asked = [(call.method, call.name) for call in proxy.calls]
    assert sum(name.endswith("train_images.npy") for how, name in asked if how == "GET") == 1
    entries = [one for kind in ("blobs/", "segments/") for one in storage.entries(kind)]
    assert plan.bytes == pytest.approx(sum(entry.bytes for entry in entries), rel=0.05)


@pytest.mark.parametrize("nth", [1, 2])
def test_what_was_trained_on_a_state_that_is_not_stored_is_not_stored(
    lab, storage, proxy, crew, nth
):
    id, plan = submit(lab)
    refused = Rule("answer", BEFORE, "PUT", MANIFESTS, nth=nth, times=TRIES, argument=503)
    with proxy.holding(refused):
        train(crew, id, plan, 0)
    assert refused.is_spent
    assert stored(storage, plan) == run_of(plan, 1)[: nth - 1]
    assert is_at_nothing(crew, storage, id, plan)
    train(crew, id, plan, nth - 1)
    assert stored(storage, plan) == run_of(plan, 1)


def test_of_a_child_that_died_the_segment_that_it_trained_is_at_fault(lab, storage):
    prepare("gratings", storage, lab.settings)
    id, plan = submit(lab)
    overseer = Overseer(lab.settings, Pulse())
    tries = [Attempts.of_segment(storage, id, segment) for segment in plan.segments[:3]]
    for each in tries[:2]:
        each.begin(f"{overseer.name}:{2**22}")
    overseer._note(TRAIN, [id, 0], "Worker exited prematurely: signal 11 (SIGSEGV)", at=[1, 0])
    failures = [[one.failure for one in each.history().attempts] for each in tries]
    assert [[(one.kind, one.error) for one in each] for each in failures] == [
        [("infrastructure", "SIGSEGV")],
        [("died", "SIGSEGV")],
        [],
    ]


def test_a_worker_leaves_its_path_for_what_is_much_more_urgent(lab, storage, crew):
    id, plan = submit(lab)
    crew.live.add_ready(id, 6, plan.segments[6], 1e9)
    assert crew.live.most_urgent(id) == (6, 1e9)
    train(crew, id, plan, 0)
    assert stored(storage, plan) == run_of(plan, 1)[:1]


def test_after_a_while_it_leaves_its_path_for_others_and_for_what_is_more_urgent_of_its_own(
    lab, storage, crew, monkeypatch
):
    lab.reconciler.stop()
    monkeypatch.setattr("worker.crew.IN_PLACE_SECONDS", 0.0)
    id, plan = submit(lab)
    crew.live._redis.delete(QUEUE)
    crew.sender.train("another", 0, plan.segments[0])
    train(crew, id, plan, 0)
    assert stored(storage, plan) == run_of(plan, 1)[:1]
    crew.live._redis.delete(QUEUE)
    crew.sender.train(id, 3, plan.segments[3])
    train(crew, id, plan, 1)
    # The other run has two epochs left by then, and this one has one.
    assert stored(storage, plan) == run_of(plan, 1)[:-1]


def test_who_is_asked_to_stop_stores_what_it_has_trained(lab, storage, proxy, crew):
    id, plan = submit(lab)
    begun = Rule("pass", AFTER, "PUT", r"blobs/\*", times=1)

    def stop():
        while not begun.is_spent:
            time.sleep(0.001)
        crew.pulse.stop()

    asking = threading.Thread(target=stop)
    with proxy.holding(begun):
        asking.start()
        train(crew, id, plan, 0)
    asking.join()
    kept = stored(storage, plan)
    assert 0 < len(kept) < len(run_of(plan, 1))
    assert kept == run_of(plan, 1)[: len(kept)]
    assert crew.live.counted_epochs(id) == len(kept), "no epoch was trained for nothing"
    assert is_at_nothing(crew, storage, id, plan)


def test_what_has_failed_before_is_not_gone_on_with_in_place(lab, storage, crew):
    """It may end this process again, and what it follows would be trained for nothing each time."""
    id, plan = submit(lab)
    longer = plan.runs[1].segments
    tries = Attempts.of_segment(storage, id, plan.segments[longer[1]])
    tries.fail(tries.begin("somebody"), Failure("died", "SIGSEGV", "by a signal"))
    time.sleep(2 * crew.settings.retry_seconds)
    train(crew, id, plan, 0)
    assert stored(storage, plan) == run_of(plan, 1)[:1]
    train(crew, id, plan, longer[1])
    assert stored(storage, plan) == run_of(plan, 1)


def test_once_its_work_is_done_a_process_holds_nothing_of_it(lab, crew, monkeypatch):
    id, plan = submit(lab)
    held = []

    def count():
        held.append([type(one) for one in gc.get_objects() if isinstance(one, Trainer | Fixed)])

    monkeypatch.setattr("worker.allocator.give_back", count)
    gc.collect()
    gc.disable()
    try:
        train(crew, id, plan, 0)
    finally:
        gc.enable()
    assert held == [[]], "what is in use is not given back"


def test_what_is_stored_stays_so_where_what_follows_could_not_be_sent(
    lab, storage, crew, monkeypatch
):
    id, plan = submit(lab)

    def ask(segment):
        raise StoreUnavailable("away, for a moment")

    monkeypatch.setattr(crew, "_can_begin", ask)
    train(crew, id, plan, 0)
    assert stored(storage, plan) == run_of(plan, 1)


def test_after_a_while_it_leaves_its_path_for_a_repair_and_for_whoever_waits_behind_its_own(
    lab, storage, crew, monkeypatch
):
    lab.reconciler.stop()
    monkeypatch.setattr("worker.crew.IN_PLACE_SECONDS", 0.0)
    id, plan = submit(lab)
    short = plan.runs[0].segments[-1]
    crew.live._redis.flushall()
    crew.sender.repair(id, 0, plan.segments[0])
    train(crew, id, plan, 0)
    assert stored(storage, plan) == run_of(plan, 1)[:1]
    crew.live._redis.delete(QUEUE, f"hubel:ready:{id}")
    crew.sender.train("another", 0, plan.segments[0])
    for _ in range(200):
        crew.sender.train(id, short, plan.segments[short])
    train(crew, id, plan, 1)
    assert stored(storage, plan) == run_of(plan, 1)[:2]
