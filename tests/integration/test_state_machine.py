"""The real service driven at random by what users and fate do to it: submit, submit again, fork,
cancel, retry; workers and their children killed, Redis emptied and killed.

A fork here is a spec that shares a trunk with an earlier one. `make test` runs a few examples,
always the same ones. More of them, drawn anew:

    STATE_MACHINE_EXAMPLES=200 pytest tests/integration/test_state_machine.py --hypothesis-seed=1
"""

import itertools
import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import pytest
from breakable import WORKERS, Breakable
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from reference import Reference
from small import numbers

from api.lifecycle import STATES
from shared import names
from shared.plan import Plan
from shared.records import Records
from shared.spec import ExperimentSpec
from shared.storage import Storage

pytestmark = [pytest.mark.services, pytest.mark.timeout(0)]

EXAMPLES, STEPS = 3, 12
KILLS = 3
"""Of worker processes in one example: a new one imports torch for seconds."""
SHOWN_SECONDS = 5.0
END_SECONDS = 180.0
ENDED = ("succeeded", "failed", "cancelled")
_numbers = itertools.count()


@dataclass
class Known:
    """What has been said of one experiment."""

    body: dict[str, Any]
    key: str
    retries: str | None = None
    cancelled: bool = False
    end: dict[str, Any] | None = None
    shown_by: set[int] = field(default_factory=set)
    """The replicas that have told of the end."""


def told(step: Callable[..., Any]) -> Callable[..., Any]:
    """Hypothesis tries again what failed, and where that depends on time, tells of the second try
    only."""

    @wraps(step)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        try:
            return step(*args, **kwargs)
        except BaseException:
            traceback.print_exc()
            raise

    return stepped


class World:
    """What lasts from one example to the next."""

    def __init__(self, place: Breakable) -> None:
        self.place = place
        self.reference = Reference(place.settings)

    def check_numbers(self, id: str, body: dict[str, Any]) -> None:
        """Read from the store anew: no cache may hide what is not there."""
        records = Records(Storage(self.place.settings))
        plan = records.store.read_json(names.experiment_object(id, "plan.json"))
        found = numbers(records, Plan.model_validate(plan))
        expected = self.reference.of(ExperimentSpec.model_validate(body))
        assert [_comparable(run) for run in found] == [_comparable(run) for run in expected]

    def check_store(self) -> None:
        """Every segment was stored once and verifies."""
        store = Storage(self.place.settings)
        manifests = [n for n in store.names("segments/") if n.endswith("/manifest.json")]
        assert manifests
        for name in manifests:
            found = store.read_json(name)
            assert name == names.manifest("", found["key"])
            assert store.verifies(found["checkpoint"])
            assert store.verifies(found["metrics"])
        assert not [line for line in self.place.lines if "stored with other bytes" in line]


def _comparable(run: tuple) -> tuple:
    """Where a run was cut depends on what was stored before; its end does not."""
    rows, checkpoints, measured = run
    return rows, checkpoints[max(checkpoints)], measured


class Laboratory(RuleBasedStateMachine):
    accepted = Bundle("accepted")
    replicas = st.integers(0, 1)
    workers = st.integers(0, WORKERS - 1)
    seeds, ends = st.integers(0, 1), st.sampled_from([[2], [0, 3]])
    reuse = st.sampled_from([True, True, False])

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.place = world, world.place
        self.number = next(_numbers)
        self.known: dict[str, Known] = {}
        self.kills = 0
        self.began = time.monotonic()

    # --- what users do ---

    @initialize(target=accepted, replica=replicas, seed=seeds, ends=ends, reuse=reuse)
    @told
    def begin(self, replica: int, seed: int, ends: list[int], reuse: bool) -> str:
        return self.submit(replica, seed, ends, reuse)

    @rule(target=accepted, replica=replicas, seed=seeds, ends=ends, reuse=reuse)
    @told
    def submit(self, replica: int, seed: int, ends: list[int], reuse: bool) -> str:
        body = {
            "dataset": {"name": "gratings", "train_samples": 64, "test_samples": 32},
            "model": {"name": "all_cnn", "width": 0.05},
            "training": {"epochs": 5, "batch_size": 8, "augmentation": {"shift": 2}},
            "deficit": {"name": "blur", "resolution": 4, "end": 0},
            "sweep": {"deficit.end": ends},
            "fisher": {"every": 2, "samples": 8},
            # Seeds of its own for each example: else all would be in the store already.
            "seeds": [10 * self.number + seed],
            "tags": {"example": str(self.number)},
            "reuse": reuse,
        }
        return self._submit(replica, body)

    @rule(target=accepted, old=accepted, replica=replicas)
    @told
    def submit_again(self, old: str, replica: int) -> str:
        return self._submit(replica, self.known[old].body)

    @rule(old=accepted, replica=replicas)
    @told
    def send_again(self, old: str, replica: int) -> None:
        known = self.known[old]
        if known.retries is None:
            assert self._post(replica, "/v1/experiments", known.body, known.key)["id"] == old

    @rule(target=accepted, old=accepted, replica=replicas, from_epoch=st.integers(1, 4))
    @told
    def fork(self, old: str, replica: int, from_epoch: int) -> str:
        body = self.known[old].body
        window = {"name": "vertical_flip", "start": from_epoch, "end": from_epoch + 2}
        training = body["training"] | {"epochs": 7}
        return self._submit(replica, body | {"deficit": window, "sweep": {}, "training": training})

    @rule(id=accepted, replicas=st.sampled_from([[0], [1], [0, 1], [1, 1, 0]]))
    @told
    def cancel(self, id: str, replicas: list[int]) -> None:
        answers: list[Any] = []
        threads = [
            threading.Thread(target=lambda r=r: answers.append(self._call(r, id, "cancel")))
            for r in replicas
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == len(replicas)
        assert len({answer.status_code for answer in answers}) == 1, answers
        known = self.known[id]
        if answers[0].status_code == 200:
            assert known.end is None or known.end["state"] == "cancelled"
            assert {answer.json()["state"] for answer in answers} == {"cancelled"}
            known.cancelled = True
        else:
            assert answers[0].status_code == 409
            assert "has succeeded" in answers[0].json()["detail"]
            assert not known.cancelled

    @rule(id=accepted, seconds=st.sampled_from([0.2, 1.0, 3.0]))
    @told
    def cancel_later(self, id: str, seconds: float) -> None:
        """At other moments than those that follow a step at once; often after the end."""
        time.sleep(seconds)
        self.cancel(id, [0, 1])

    @rule(target=accepted, old=accepted, replica=replicas)
    @told
    def retry(self, old: str, replica: int) -> str:
        """What cannot be retried is given back itself: a bundle wants something."""
        known, key = self.known[old], f"{self.number}-{len(self.known)}"
        answer = self._call(replica, old, "retry", {"Idempotency-Key": key})
        if not known.cancelled:
            assert answer.status_code == 409, answer.text
            return old
        assert answer.status_code == 202, answer.text
        found = answer.json()
        assert found["retries"] == old
        again = self._call(1 - replica, old, "retry", {"Idempotency-Key": key})
        assert again.json()["id"] == found["id"]
        assert found["id"] in self._get(replica, f"/v1/experiments/{old}")["retried_by"]
        self.known[found["id"]] = Known(known.body, key, retries=old)
        return str(found["id"])

    # --- what fate does ---

    @precondition(lambda self: self.kills < KILLS)
    @rule(worker=workers)
    @told
    def child_is_killed(self, worker: int) -> None:
        self.kills += 1
        self.place.kill_child(worker)

    @precondition(lambda self: self.kills < KILLS)
    @rule(worker=workers)
    @told
    def worker_is_killed(self, worker: int) -> None:
        self.kills += 1
        self.place.kill_worker(worker)

    @precondition(lambda self: self.kills < KILLS)
    @rule(worker=workers)
    @told
    def worker_is_asked_to_stop(self, worker: int) -> None:
        self.kills += 1
        self.place.workers[worker].ask_to_stop()

    @precondition(lambda self: self.place.redis_is_up)
    @rule()
    @told
    def redis_forgets(self) -> None:
        with self.place.redis() as client:
            client.flushall()

    @precondition(lambda self: self.place.redis_is_up)
    @rule()
    @told
    def redis_is_killed(self) -> None:
        self.place.kill_redis()

    @precondition(lambda self: not self.place.redis_is_up)
    @rule()
    @told
    def redis_returns(self) -> None:
        self.place.start_redis()

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0]))
    @told
    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    # --- what always holds ---

    @invariant()
    @told
    def every_experiment_is_listed_once_in_one_state_that_stays(self) -> None:
        self.place.mend()
        for replica in (0, 1):
            for found in self._listed(replica):
                self._check(self.known[found["id"]], found, replica)

    def _listed(self, replica: int) -> list[dict[str, Any]]:
        """What another replica did or told shows within some seconds: a status is kept for one or
        two. Who has told of an end tells of it from then on."""
        deadline = time.monotonic() + SHOWN_SECONDS
        path = f"/v1/experiments?tag=example:{self.number}&page_size=200"
        while True:
            page: list[dict[str, Any]] = self._get(replica, path)["experiments"]
            ids = sorted(found["id"] for found in page)
            late = [f for f in page if f["state"] not in ENDED and self._may_be_late(f, replica)]
            if ids == sorted(self.known) and not late:
                return page
            assert time.monotonic() < deadline, (ids, sorted(self.known), late)
            time.sleep(0.1)

    def _may_be_late(self, found: dict[str, Any], replica: int) -> bool:
        known = self.known.get(found["id"])
        ended = known is not None and (known.cancelled or known.end is not None)
        return ended and replica not in known.shown_by

    def _check(self, known: Known, found: dict[str, Any], replica: int) -> None:
        assert found["state"] in STATES
        assert found["state"] != "failed", found
        assert found["retries"] == known.retries
        if known.cancelled:
            assert found["state"] == "cancelled"
        end = {name: found[name] for name in ("state", "finished", "failures")}
        if known.end is not None:
            assert end == known.end
        elif found["state"] in ENDED:
            assert known.cancelled == (found["state"] == "cancelled")
            known.end = end
            if found["state"] == "succeeded":
                self.world.check_numbers(found["id"], known.body)
        if known.end is not None:
            known.shown_by.add(replica)

    @told
    def teardown(self) -> None:
        if not self.place.redis_is_up:
            self.place.start_redis()
        self._wait_for("an end of each", lambda: all(k.end for k in self.known.values()))
        self._wait_for("no active marker", lambda: not self._left_active())
        self._wait_for("no lease", lambda: not self._leases())
        ends = [known.end["state"] for known in self.known.values() if known.end]
        assert ends.count("cancelled") == sum(known.cancelled for known in self.known.values())
        took = time.monotonic() - self.began
        print(f"example {self.number}: {len(ends)} experiments, {self.kills} kills, {took:.0f} s")

    def _wait_for(self, what: str, holds: Any) -> None:
        deadline = time.monotonic() + END_SECONDS
        while not holds():
            tail = "\n".join(self.place.lines[-60:])
            assert time.monotonic() < deadline, f"{what}: not yet; {self.known}\n{tail}"
            time.sleep(0.3)
            self.every_experiment_is_listed_once_in_one_state_that_stays()

    def _left_active(self) -> list[str]:
        marked = set(Storage(self.place.settings).names(names.ACTIVE))
        return [id for id in self.known if names.active_marker(id) in marked]

    def _leases(self) -> list[bytes]:
        with self.place.redis() as client:
            return list(client.scan_iter("hubel:lease:*"))

    # --- calls ---

    def _submit(self, replica: int, body: dict[str, Any]) -> str:
        key = f"{self.number}-{len(self.known)}"
        id = str(self._post(replica, "/v1/experiments", body, key)["id"])
        assert id not in self.known
        self.known[id] = Known(body, key)
        return id

    def _post(self, replica: int, path: str, body: Any, key: str) -> dict[str, Any]:
        headers = {"Idempotency-Key": key}
        answer = self.place.replicas[replica].post(path, json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def _get(self, replica: int, path: str) -> dict[str, Any]:
        answer = self.place.replicas[replica].get(path)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def _call(self, replica: int, id: str, what: str, headers: Any = None) -> Any:
        path = f"/v1/experiments/{id}/{what}"
        return self.place.replicas[replica].post(path, headers=headers)


def test_whatever_happens_every_experiment_has_one_end_and_the_right_numbers(
    servers_factory, tmp_path
):
    asked = os.environ.get("STATE_MACHINE_EXAMPLES")
    with Breakable(servers_factory(), tmp_path).running() as place:
        world = World(place)
        run_state_machine_as_test(
            lambda: Laboratory(world),
            settings=settings(
                max_examples=int(asked or EXAMPLES),
                stateful_step_count=STEPS,
                derandomize=asked is None,
                database=None,
                deadline=None,
                # To shrink what depends on time takes hours and ends elsewhere.
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
        world.check_store()
