"""Redis: leases, queue marks, live progress, cancel flags. All of it advisory.

Every call answers a neutral value when Redis is away: what is lost is some saved work, never a
result. Nothing here is believed over the object store.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from shared import meters
from shared.plan import Segment
from shared.ready import QUEUE, Ready
from shared.settings import Settings

T = TypeVar("T")
log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""After a failure Redis is left alone for this long, so that an outage does not slow us down."""

LOST_SECONDS = 20
TOLD_SECONDS = 3600
"""What was told of a segment outlives a restart of its worker; an epoch that takes longer is seen
when its segment is stored."""
LOOK_SECONDS = 5.0
"""How often the queue is read, at most: a thousand messages take 10 ms."""
SCANNED_AT_ONCE = 2000
PRESENCE_SECONDS = 20.0
"""A worker that has said nothing for so long counts as gone: it speaks every 5 s."""

_WORKER = "hubel:worker:"

_TAKE = """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[2] then
    return 0
end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
"""
_RENEW = """
if redis.call('get', KEYS[1]) == ARGV[1] then
    return redis.call('pexpire', KEYS[1], ARGV[2])
end
if redis.call('exists', KEYS[1]) == 0 then
    redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 1
end
return 0
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end"


class Live:
    def __init__(self, settings: Settings) -> None:
        self.lease_ms = int(settings.lease_seconds * 1000)
        self.queued_ms = int(settings.queued_seconds * 1000)
        self.lost_ms = max(0, self.queued_ms - 1000 * LOST_SECONDS)
        """A mark that is left no more than this is believed only with its message."""
        self._waiting: set[str] | None = None
        self._looked = float("-inf")
        self._down_until = 0.0
        self._redis = Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=2,
            socket_connect_timeout=1,
            health_check_interval=15,
            decode_responses=True,
        )
        self._ready = Ready(self._redis)

    def answers(self) -> bool:
        return bool(self._try(self._redis.ping, False))

    # --- leases: who is working on what. They save work; they decide nothing ---

    def take(self, work: str, owner: str, held_by: str = "") -> bool:
        """True if nobody holds it but who held it for this owner (or nobody can say)."""
        key = f"hubel:lease:{work}"
        taken = self._try(
            lambda: self._redis.eval(_TAKE, 1, key, owner, held_by, self.lease_ms), True
        )
        self._try(lambda: self._redis.delete(f"hubel:queued:{work}"), 0)
        return bool(taken)

    def renew(self, work: str, owner: str) -> None:
        """Also takes it again where Redis has forgotten everything, and keeps what was reported."""
        self._try(
            lambda: self._redis.eval(_RENEW, 1, f"hubel:lease:{work}", owner, self.lease_ms), 0
        )
        self._try(lambda: self._redis.pexpire(f"hubel:live:{work}", 2 * self.lease_ms), False)

    def release(self, work: str, owner: str) -> None:
        self._try(lambda: self._redis.eval(_RELEASE, 1, f"hubel:lease:{work}", owner), 0)

    # --- what has been sent and not yet been taken: marks, and what is most urgent of it ---

    def add_ready(self, experiment: str, index: int, segment: Segment, seconds: float) -> bool:
        """True if it did not wait for this experiment yet, or nobody can say: the caller is the one
        to send it."""
        told = experiment, index, segment, seconds, self.queued_ms
        return self._try(lambda: self._ready.add(*told), True)

    def drop_ready(self, experiment: str, index: int, segment: Segment) -> None:
        self._try(lambda: self._ready.drop(experiment, index, segment), None)

    def take_most_urgent(
        self, experiment: str, index: int, work: str, owner: str
    ) -> tuple[int, str]:
        """What whoever receives a message of an experiment is to do, and its name; a lease is taken
        for it. The message's own work where nothing else waits, or nobody can say."""
        return self._try(
            lambda: self._ready.take(experiment, index, work, owner, self.lease_ms), (index, work)
        )

    def most_urgent(self, experiment: str) -> tuple[int, float] | None:
        """Which segment waits, and what is left from its start in device seconds; a look."""
        return self._try(lambda: self._ready.most_urgent(experiment), None)

    def queued_for_others(self, experiment: str, works: Mapping[str, int]) -> list[str]:
        """Of work that is queued or leased, by name with its index, what only another experiment's
        messages bring to a worker: that one may be long."""
        return self._try(lambda: self._ready.unknown(experiment, works), []) if works else []

    def mark_queued(self, work: str) -> bool:
        """True if there is no mark: the caller is the one to send it."""
        key = f"hubel:queued:{work}"
        return bool(self._try(lambda: self._redis.set(key, "1", nx=True, px=self.queued_ms), True))

    def unmark_queued(self, work: str) -> None:
        self._try(lambda: self._redis.delete(f"hubel:queued:{work}"), 0)

    def idle(self, works: Iterable[str]) -> list[str]:
        """Those that nobody holds, and of which no message is believed to be under way.

        A message that was taken by a worker that died before its lease is gone, and its mark is
        not: once that is LOST_SECONDS old, it is believed only while a message in the queue brings
        the work to a worker.
        """
        works = list(works)
        if not works:
            return []
        leases, marks = self._held(works)
        free = {w: left for w, lease, left in zip(works, leases, marks, strict=True) if not lease}
        lost = {w for w, left in free.items() if 0 < left <= self.lost_ms and not self._waits(w)}
        if lost:
            self._try(lambda: self._redis.delete(*(f"hubel:queued:{w}" for w in lost)), 0)
        return [w for w, left in free.items() if left <= 0 or w in lost]

    def _held(self, works: list[str]) -> tuple[list[int], list[int]]:
        """Of each work whether it is leased, and the milliseconds that its mark is left, negative
        without one."""

        def ask() -> list[Any]:
            with self._redis.pipeline(transaction=False) as pipe:
                for work in works:
                    pipe.exists(f"hubel:lease:{work}")
                for work in works:
                    pipe.pttl(f"hubel:queued:{work}")
                return pipe.execute()

        found = self._try(ask, [0] * len(works) + [-2] * len(works))
        return found[: len(works)], found[len(works) :]

    def _waits(self, work: str) -> bool:
        """Whether a message in the queue brings it, or did seconds ago, or nobody can say."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._waiting = self._try(self._ready.expected, None)
            self._looked = time.monotonic()
        return self._waiting is None or work in self._waiting

    def queue_length(self) -> int | None:
        """Messages that wait for a worker; None: nobody can say."""
        found = self._try(lambda: self._redis.llen(QUEUE), None)
        return None if found is None else int(found)

    def others_wait(self, experiment: str) -> bool:
        """Whether something else is in the queue than training for this experiment."""
        return self._try(lambda: self._ready.others_wait(experiment), False)

    # --- how much work there is ---

    def leased(self) -> list[str] | None:
        """What somebody holds; None: nobody can say."""
        prefix = "hubel:lease:"
        return self._try(
            lambda: [
                key.removeprefix(prefix)
                for key in self._redis.scan_iter(f"{prefix}*", count=SCANNED_AT_ONCE)
            ],
            None,
        )

    def tell_backlog(self, backlog: dict[str, Any], seconds: float) -> None:
        text = json.dumps(backlog)
        self._try(lambda: self._redis.set("hubel:backlog", text, px=int(seconds * 1000)), None)

    def backlog(self) -> dict[str, Any] | None:
        """As the process that reconciles has counted it; None: nobody has lately."""
        text = self._try(lambda: self._redis.get("hubel:backlog"), None)
        return json.loads(text) if text else None

    # --- which workers there are ---

    def tell_worker(self, name: str, about: dict[str, Any]) -> None:
        """That it is there, and what it does."""
        key, ms = f"{_WORKER}{name}", int(1000 * PRESENCE_SECONDS)
        self._try(lambda: self._redis.set(key, json.dumps(about), px=ms), None)

    def workers(self) -> dict[str, dict[str, Any]] | None:
        """What each has last said, by name, and how many seconds `ago`, by the clock of Redis: a
        worker's own may be wrong. None: nobody can say."""
        return self._try(self._workers, None)

    def _workers(self) -> dict[str, dict[str, Any]]:
        keys = list(self._redis.scan_iter(f"{_WORKER}*", count=SCANNED_AT_ONCE))
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.get(key)
            for key in keys:
                pipe.pttl(key)
            found = pipe.execute()
        told = zip(keys, found[: len(keys)], found[len(keys) :], strict=True)
        return {
            key.removeprefix(_WORKER): json.loads(text) | {"ago": PRESENCE_SECONDS - left / 1000}
            for key, text, left in told
            if text
        }

    # --- live progress ---

    def report(self, work: str, progress: dict[str, Any]) -> None:
        text = json.dumps(progress | {"at": time.time()})
        self._try(lambda: self._redis.set(f"hubel:live:{work}", text, px=2 * self.lease_ms), None)

    def progress(self, works: list[str]) -> dict[str, dict[str, Any]]:
        if not works:
            return {}
        keys = [f"hubel:live:{work}" for work in works]
        found = self._try(lambda: self._redis.mget(keys), [None] * len(keys))
        return {w: json.loads(text) for w, text in zip(works, found, strict=True) if text}

    # --- what a segment under way has come to: its numbers before they are in the store ---

    def tell_epoch(self, work: str, epoch: int, row: dict[str, Any]) -> None:
        self._tell(work, str(epoch), json.dumps(row))

    def tell_measured(self, work: str, epoch: int, probe: str) -> None:
        """That the measurement is stored."""
        self._tell(work, _measured(epoch, probe), "1")

    def told(
        self, work: str, epochs: Sequence[int], measured: Sequence[tuple[int, str]]
    ) -> tuple[list[dict[str, Any]], int]:
        """The rows of the first of these epochs, and how many of the first of these (epoch, probe)
        are measured: up to what nothing was told about."""
        fields = [*map(str, epochs), *(_measured(*one) for one in measured)]
        if not fields:
            return [], 0
        key = f"hubel:told:{work}"
        found = self._try(lambda: self._redis.hmget(key, fields), [None] * len(fields))
        rows = [json.loads(text) for text in takewhile(bool, found[: len(epochs)])]
        return rows, sum(1 for _ in takewhile(bool, found[len(epochs) :]))

    def _tell(self, work: str, field: str, text: str) -> None:
        key = f"hubel:told:{work}"

        def tell() -> None:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(key, field, text)
                pipe.expire(key, TOLD_SECONDS)
                pipe.execute()

        self._try(tell, None)

    def count_epoch(self, experiment: str) -> None:
        """One epoch was trained for this experiment, whatever becomes of it."""
        key = f"hubel:epochs:{experiment}"
        self._try(lambda: self._redis.incr(key), 0)
        self._try(lambda: self._redis.expire(key, 30 * 86_400), False)

    def counted_epochs(self, experiment: str) -> int | None:
        found = self._try(lambda: self._redis.get(f"hubel:epochs:{experiment}"), None)
        return None if found is None else int(found)

    def count_request(self, token: str, minute: int) -> int:
        """How many a token has made in a minute; 0 where nobody can say."""
        key = f"hubel:rate:{token}:{minute}"
        made = int(self._try(lambda: self._redis.incr(key), 0))
        if made == 1:
            self._try(lambda: self._redis.expire(key, 120), False)
        return made

    # --- cancelling, and one leader at a time ---

    def cancel(self, experiment: str) -> None:
        self._try(lambda: self._redis.set(f"hubel:cancel:{experiment}", "1", ex=86_400), None)

    def cancelled(self, experiment: str) -> bool:
        return bool(self._try(lambda: self._redis.exists(f"hubel:cancel:{experiment}"), 0))

    def lead(self, owner: str, seconds: float, what: str = "leader") -> bool:
        """True for the one API process that reconciles, or does something else (for every one
        while Redis is away)."""
        return bool(
            self._try(
                lambda: self._redis.eval(_RENEW, 1, f"hubel:{what}", owner, int(seconds * 1000)), 1
            )
        )

    def _try(self, call: Callable[[], Any], otherwise: T) -> Any | T:
        if time.monotonic() < self._down_until:
            return otherwise
        try:
            with meters.timed(meters.REDIS):
                return call()
        except (RedisError, OSError) as error:
            meters.REDIS_ERRORS.inc()
            self._down_until = time.monotonic() + PAUSE_SECONDS
            log.warning("redis does not answer (work goes on): %s", error)
            return otherwise


def _measured(epoch: int, probe: str) -> str:
    return f"{epoch}:{probe}"
