"""Which workers there are, and what they do."""

import time

import pytest
from pydantic import SecretStr
from small import submit

from api import workers
from deploy.servers import Ports
from shared.live import PRESENCE_SECONDS, Live

pytestmark = pytest.mark.services


def told(http):
    return http.get("/v1/workers").raise_for_status().json()


def until(http, fits, seconds=60):
    deadline = time.monotonic() + seconds
    while not any(map(fits, (found := told(http))["workers"])):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return next(filter(fits, found["workers"])), found


def test_a_worker_is_seen_while_it_is_idle_and_while_it_trains_and_not_for_ever(lab, http):
    assert told(http)["workers"] == []
    worker = lab.start_worker()
    idle, found = until(http, lambda one: one["state"] == "idle")
    assert (idle["experiment"], idle["segment"], idle["device"]) == (None, None, None)
    assert found["known"] is True
    assert found["queue"]["messages"] == 0
    id = submit(lab, seeds=[0, 1], training={"epochs_after_deficit": 30, "batch_size": 16})
    training, _ = until(
        http,
        lambda one: (
            one["state"] == "training" and one["epoch"] is not None and one["epoch"] > one["start"]
        ),
    )
    segment = lab.service.plan(id).segments[training["segment"]]
    assert training["experiment"] == id
    assert (training["start"], training["end"]) == (segment.start, segment.end)
    assert training["device"] == "cpu"
    assert training["name"] == idle["name"]
    assert training["name"].endswith(f":{worker.pid}")
    assert training["since"] <= training["seen"]
    key = f"hubel:worker:{training['name']}"
    assert 0 < lab.service.live._redis.pttl(key) <= 1000 * PRESENCE_SECONDS
    worker.kill()
    lab.service.live._redis.pexpire(key, 1)
    time.sleep(0.05)
    assert told(http)["workers"] == []


def test_without_redis_nobody_knows_which_there_are(settings):
    url = SecretStr(f"redis://127.0.0.1:{Ports.free().redis}/0")
    found = workers.of(Live(settings.model_copy(update={"redis_url": url})))
    assert found == {
        "workers": [],
        "queue": {"messages": None, "queued": None, "running": None, "waiting": None},
        "known": False,
    }
