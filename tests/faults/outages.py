"""Redis or the store away for a while, by each way of being away."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from shared import moments, names
from shared.queue import Sender, make_app
from shared.repairs import Repairs
from tests.faults.damage import flip
from tests.faults.deaths import forget_data_sets, until
from tests.faults.round import PATIENCE_SECONDS, SUBMIT_SECONDS, Round, stopped, with_parent
from tests.faults.rule import AFTER, BEFORE, Rule
from tests.faults.sweep import Sweep

GOES_ON_SECONDS = 60
"""Within which a segment of some seconds is stored without Redis."""


def flushall(round: Round) -> None:
    round.begun()
    for _ in range(2):
        with round.site.direct_redis() as client:
            client.flushall()
        round.injected += 1
        time.sleep(round.random.uniform(0, 0.5))


def redis_away(round: Round) -> None:
    _without_redis(round, round.site.redis.away)


def redis_silent(round: Round) -> None:
    _without_redis(round, round.site.redis.silent)


def _without_redis(round: Round, outage: Callable[[], AbstractContextManager[None]]) -> None:
    """A submit is answered 202, and its work goes on when Redis is back. What runs goes on to its
    end meanwhile."""
    running = _in_a_segment(round)
    with outage():
        began, moment = time.monotonic(), moments.now()
        round.injected += 1
        _submit_meanwhile(round)
        stored = round.await_stored(running, began + GOES_ON_SECONDS)
        time.sleep(max(0.0, began + round.outage_seconds - time.monotonic()))
    for manifest in stored:
        if (started := manifest["provenance"]["started"]) > moment:
            round.complaints.append(f"lost: away at {moment}, and begun again at {started}")


def _in_a_segment(round: Round) -> Sweep:
    """A sweep of one segment, of which an epoch is trained."""
    sweep = round.long_sweep()
    sweep.submit()
    sweep.await_epochs(1)
    return sweep


def _submit_meanwhile(round: Round) -> None:
    began = time.monotonic()
    sweep = round.sweep()
    sweep.submit(round.outage_seconds + SUBMIT_SECONDS)
    took = time.monotonic() - began
    if took > SUBMIT_SECONDS:
        round.complaints.append(f"late: submit was answered after {took:.1f} s without Redis")


def store_away(round: Round) -> None:
    round.begun()
    with round.site.store.away():
        round.injected += 1
        time.sleep(round.outage_seconds)


def store_500(round: Round) -> None:
    _answered(round, 500)


def store_503(round: Round) -> None:
    _answered(round, 503)


def _answered(round: Round, status: int) -> None:
    """Everything, for a while."""
    rule = Rule("answer", BEFORE, method=".*", times=None, argument=status)
    round.begun()
    with round.site.store.holding(rule):
        time.sleep(round.outage_seconds)
    round.injected += bool(rule.hits)


def store_slow(round: Round) -> None:
    """20 kB/s: a checkpoint takes a second."""
    rule = Rule("slow", AFTER, method="GET", times=None, argument=20_000)
    round.through(rule)
    round.injected = min(round.injected, 1)


def store_hangs(round: Round) -> None:
    """One request is never answered."""
    rule = Rule("hang", round.any_phase(), method=".*", nth=round.random.randint(1, 60))
    round.through(rule)


def paused_worker(round: Round) -> None:
    """SIGSTOP for longer than its lease: another takes the work, then the first goes on."""
    kind = round.random.choice(("segments/.*/attempts/.*", "blobs/.*", "measurements/.*"))
    rule = round.worker_rule("freeze", AFTER, method="PUT", kind=kind)
    sweep = round.sweep()
    with round.site.store.holding(rule):
        sweep.submit()
        frozen = round.await_hit(rule)
        with stopped(*with_parent(frozen.pid or 0)):
            round.injected += 1
            time.sleep(round.site.lease + 2)  # and the reconcile loop looks
    round.await_end(sweep)
    time.sleep(2)  # for what the late one still does


def delivered_ten_times(round: Round) -> None:
    """Every message, also at once."""
    sweep = round.sweep()
    sweep.submit()
    sweep.await_epochs(0)  # until there is a plan
    for index, segment in list(enumerate(round.plan(sweep).segments)) * 10:
        assert _sender(round).train(sweep.id, index, segment)
    round.injected += 1


def prepared_ten_times(round: Round) -> None:
    forget_data_sets(round)
    sweep = round.sweep()
    sweep.submit()
    for _ in range(10):
        assert _sender(round).prepare(sweep.id, sweep.body["dataset"]["name"])
    round.injected += 1


def repaired_ten_times(round: Round) -> None:
    """All that is stored of a sweep is damaged: its segments are asked for ten times each."""
    sweep = round.sweep()
    sweep.submit()
    round.await_end(sweep)
    store, segments = round.site.direct_store(), round.plan(sweep).segments
    for segment in segments:
        manifest = store.read_json(names.manifest(segment.scope, segment.key))
        for digest in (manifest["checkpoint"], manifest["metrics"]):
            flip(store, names.blob(digest), round.random)
    repairs = Repairs(store)
    for index in range(len(segments)):
        repairs.ask(sweep.id, index)
    for index, segment in list(enumerate(segments)) * 10:
        assert _sender(round).repair(sweep.id, index, segment)
    round.injected += 1
    if not until(lambda: not list(repairs.wanted()), round.site.lease + PATIENCE_SECONDS):
        round.complaints.append(f"lost: not mended: {list(repairs.wanted())}")


def _sender(round: Round) -> Sender:
    return Sender(make_app(round.site.local.settings))
