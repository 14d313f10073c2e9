"""Submitting again is safe: equal requests, many at once, to two API processes."""

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import pytest
from serving import environment
from small import body

from api.acceptance import IN_FLIGHT_SECONDS
from deploy import servers
from deploy.processes import Child, Program, await_ready
from shared import names
from worker.preparation import prepare

pytestmark = pytest.mark.services

MANY, SEVERAL, AT_ONCE = 1000, 100, 25
"""Without a key each is an experiment that has to end: a thousand are for `make bench-load`."""


class Replica:
    """An API process."""

    def __init__(self, settings) -> None:
        self.url = f"http://{servers.HOST}:{(port := servers.free_ports(1)[0])}"
        env = environment(settings) | {"HUBEL_PORT": str(port)}
        argv = [sys.executable, "-m", "api.main"]
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        self.child = Child(Program("api", argv, self._is_ready, env), lambda *said: None)
        await_ready(self.child, 60)

    def post(self, key: str | None = None, **changes) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.http.post("/v1/experiments", json=body(**changes), headers=headers)

    def post_until_answered(self, key: str) -> httpx.Response:
        """As a client does that takes "still in flight" for what it says."""
        while (answer := self.post(key)).status_code == 409:
            assert "in flight" in answer.json()["detail"]
            time.sleep(int(answer.headers["Retry-After"]))
        return answer

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def replica(settings) -> Iterator[Replica]:
    one = Replica(settings)
    try:
        yield one
    finally:
        one.child.kill()
        one.http.close()


@pytest.fixture
def replicas(lab) -> Iterator[list[Replica]]:
    """Two of them, beside the lab's own loop; the data set is there."""
    prepare("gratings", lab.service.store, lab.settings)
    with replica(lab.settings) as first, replica(lab.settings) as second:
        yield [first, second]


def at_once(ask: Callable[[int], httpx.Response], count: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(AT_ONCE) as clients:
        return list(clients.map(ask, range(count)))


def test_a_thousand_equal_posts_with_one_key_make_one_experiment(lab, replicas):
    answers = at_once(lambda i: replicas[i % 2].post_until_answered("one"), MANY)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(list(lab.service.store.names(names.INDEX))) == 1


def test_equal_posts_without_a_key_are_experiments_of_their_own_that_train_once(lab, replicas):
    answers = at_once(lambda i: replicas[i % 2].post(), SEVERAL)
    ids = [answer.json()["id"] for answer in answers]
    assert len(set(ids)) == SEVERAL
    lab.start_worker()
    assert {lab.wait(id)["state"] for id in ids} == {"succeeded"}
    trained = [lab.service.outcome(id)["epochs"]["trained"] for id in ids]
    assert sum(trained) == lab.service.plan(ids[0]).epochs.new == 10


def test_a_key_with_another_body_is_refused_by_every_replica(replicas):
    first, second = replicas
    assert first.post("key").status_code == 202
    for one in replicas:
        answer = one.post("key", seeds=[5])
        assert answer.status_code == 422
        assert "another body" in answer.json()["detail"]
    assert second.post("key").status_code == 202


def test_a_refused_body_leaves_its_key_free(replicas):
    first, second = replicas
    too_much = {"training": {"epochs": 5000, "batch_size": 64}, "seeds": list(range(1000))}
    assert first.post("key", **too_much, sweep={}).status_code == 422
    assert second.post("key").status_code == 202


def flip(store, name):
    data = bytearray(store.read(name))
    data[-20] ^= 1
    store.write(name, bytes(data))


@pytest.mark.parametrize("which", [lambda name: name, names.copy])
def test_a_bit_that_a_claim_lost_changes_no_answer(lab, replicas, which):
    store, claim = lab.service.store, names.idempotency("local", "one")
    id = replicas[0].post("one").json()["id"]
    flip(store, which(claim))
    for one in replicas:
        answer = one.post("one")
        assert (answer.status_code, answer.json()["id"]) == (202, id)
        assert answer.headers["Idempotent-Replayed"] == "true"
    assert replicas[0].post("one", seeds=[5]).status_code == 422
    assert len(list(store.names(names.INDEX))) == 1


def test_a_claim_that_is_lost_twice_is_said_and_makes_no_second_experiment(lab, replicas):
    store, claim = lab.service.store, names.idempotency("local", "one")
    assert replicas[0].post("one").status_code == 202
    for each in (claim, names.copy(claim)):
        flip(store, each)
    answer = replicas[0].post("one")
    assert answer.status_code == 503
    assert "look for the experiment in the list" in answer.json()["detail"]
    assert len(list(store.names(names.INDEX))) == 1


def test_a_claim_whose_maker_was_killed_is_completed_by_whoever_repeats_it(lab, replicas):
    survivor = replicas[0]
    key, id = _half_done(lab)
    before = len(list(lab.service.store.names(names.INDEX)))
    began = time.monotonic()
    refused = survivor.post(key)
    assert (refused.status_code, refused.headers["Retry-After"]) == (409, "1")
    answer = survivor.post_until_answered(key)
    assert answer.json()["id"] == id
    assert time.monotonic() - began < IN_FLIGHT_SECONDS + 10
    assert replicas[1].post(key).json()["id"] == id
    listed = httpx.get(f"{survivor.url}/v1/experiments", trust_env=False).json()["experiments"]
    assert [one["id"] for one in listed].count(id) == 1
    assert len(listed) == before + 1
    lab.start_worker()
    assert lab.wait(id)["state"] == "succeeded"


def _half_done(lab) -> tuple[str, str]:
    """A key that was claimed for an id whose experiment is not there: the process was killed in
    between. Tried until the kill comes at the right moment."""
    store = lab.service.store
    for _ in range(20):
        key = secrets.token_hex(8)
        claim = names.idempotency("local", key)
        with replica(lab.settings) as one, ThreadPoolExecutor(1) as client:
            asked = client.submit(_lost, one, key)
            deadline = time.monotonic() + 30
            while not store.exists(claim):
                assert time.monotonic() < deadline
            os.kill(one.child.pid, signal.SIGKILL)
            asked.result()
        id = store.read_json(claim)["id"]
        if not store.exists(names.active_marker(id)):
            return key, id
        for name in (names.active_marker(id), names.index_entry(id)):
            store.remove(name)
    raise AssertionError("no kill came between the claim and the experiment")


def _lost(one: Replica, key: str) -> None:
    with suppress(httpx.HTTPError):
        one.post(key)
