"""A copy of the bucket and an empty Redis: the same service."""

import httpx
import pytest
import redis
from serving import serving
from small import results, submit

from api.reconcile import Reconciler
from api.service import Service
from shared import check
from shared.findings import Report
from shared.live import Live
from shared.queue import Sender, make_app
from shared.records import Records
from shared.storage import Storage

pytestmark = pytest.mark.services

VIEWS = (
    "", "/spec", "/runs", "/metrics", "/fisher", "/summary", "/analysis", "/checkpoints",
    "/measurements", "/figures/critical_period?format=json", "/figures/fisher_trace?format=json",
    "/figures/fisher_trace?format=svg",
)  # fmt: skip
UNFINISHED = {"sweep": {"deficit.end": [4]}, "checkpoints": {"epochs": [2]}, "seeds": [1]}


@pytest.fixture
def copy(lab):
    """The name of a second bucket."""
    settings = lab.settings.model_copy(update={"s3_bucket": f"{lab.settings.s3_bucket}-copy"})
    yield settings
    client = Storage(settings)._client
    if client.bucket_exists(settings.s3_bucket):
        client.remove_bucket(settings.s3_bucket)


def copied(lab, settings):
    """Every object, through the S3 API, as `mc mirror` does it."""
    store, target = lab.service.store, Storage(settings).open()
    for name in store.names(""):
        target.write(name, store.read(name))
    return target


def flushed(lab):
    with redis.Redis.from_url(lab.settings.redis_url.get_secret_value()) as client:
        client.flushall()


def answers(settings, ids):
    """What is answered about experiments, byte by byte; links by their object alone."""
    with (
        serving(settings) as url,
        httpx.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        found = {"list": client.get("/v1/experiments").content}
        for id in ids:
            for view in VIEWS:
                answer = client.get(f"/v1/experiments/{id}{view}")
                assert answer.status_code == 200, (view, answer.text)
                found[id + view] = answer.content
            for kept in client.get(f"/v1/experiments/{id}/checkpoints").json()["checkpoints"]:
                one = client.get(kept["links"]["self"]).json()
                found[kept["key"]] = httpx.get(one["link"], trust_env=False).content
        return found


def moved(lab, settings):
    """The lab's own parts, on another store."""
    lab.settings = settings
    lab.service = Service(
        Records(Storage(settings)), Live(settings), Sender(make_app(settings)), settings
    )
    lab.reconciler = Reconciler(lab.service)
    lab.reconciler.start()


def stopped(lab):
    lab.reconciler.stop()
    while lab.workers:
        lab.workers.pop().kill()


def test_a_copy_of_the_bucket_answers_the_same_and_goes_on_where_it_was(lab, copy):
    lab.start_worker()
    ended = submit(lab)
    lab.wait(ended)
    begun = submit(lab, **UNFINISHED)
    lab.wait(begun, lambda status: status["progress"]["epochs"]["done"] >= 2)
    stopped(lab)
    assert lab.service.outcome(begun) is None

    target = copied(lab, copy)
    flushed(lab)
    quiet = {"reconcile_seconds": 3600, "check_share": 1}
    original = answers(lab.settings.model_copy(update=quiet), [ended])
    flushed(lab)
    assert answers(copy.model_copy(update=quiet), [ended]) == original
    assert len(original) > len(VIEWS)
    report = Report()
    found = check.findings(target, copy.model_copy(update=quiet), report, lambda *_: True)
    assert [f for f in found if f.kind != "orphan"] == []

    first = lab.settings
    moved(lab, copy)
    lab.start_worker()
    assert lab.wait(begun)["state"] == "succeeded"
    assert lab.service.outcome(begun)["epochs"]["trained"] == 6
    there = results(lab, begun)
    stopped(lab)
    flushed(lab)
    moved(lab, first)
    lab.start_worker()
    assert lab.wait(begun)["state"] == "succeeded"
    assert results(lab, begun) == there
