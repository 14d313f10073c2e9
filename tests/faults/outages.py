"""Redis or the store away for a while, by each way of being away."""

import time

from shared.queue import Sender, make_app
from tests.faults.round import SUBMIT_SECONDS, Round, stopped, with_parent
from tests.faults.rule import AFTER, BEFORE, Rule


def flushall(round: Round) -> None:
    round.begun()
    for _ in range(2):
        with round.site.direct_redis() as client:
            client.flushall()
        round.injected += 1
        time.sleep(round.random.uniform(0, 0.5))


def redis_away(round: Round) -> None:
    round.begun()
    with round.site.redis.away():
        _submit_meanwhile(round)


def redis_silent(round: Round) -> None:
    round.begun()
    with round.site.redis.silent():
        _submit_meanwhile(round)


def _submit_meanwhile(round: Round) -> None:
    """It is answered 202, and its work goes on when Redis is back."""
    began = time.monotonic()
    round.injected += 1
    sweep = round.sweep()
    sweep.submit(round.outage_seconds + SUBMIT_SECONDS)
    took = time.monotonic() - began
    if took > SUBMIT_SECONDS:
        round.complaints.append(f"late: submit was answered after {took:.1f} s without Redis")
    time.sleep(max(0.0, round.outage_seconds - took))


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
            time.sleep(round.site.lease + 4)
    round.await_end(sweep)
    time.sleep(2)  # for what the late one still does


def delivered_ten_times(round: Round) -> None:
    """Every message, also at once."""
    sweep = round.sweep()
    sweep.submit()
    sender = Sender(make_app(round.site.local.settings))
    segments = (sweep.status() or {"plan": None})["plan"]["segments"]
    for _ in range(10):
        for segment in range(segments):
            assert sender.train(sweep.id, segment)
    round.injected += 1
