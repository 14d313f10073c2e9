"""What of each experiment waits for a worker, the most urgent first: sorted sets in Redis beside
the queue, and as advisory. A message says that some of an experiment can be done, and names what
was sent with it; whoever receives it takes the most urgent."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from redis import Redis

from shared.plan import Segment
from shared.work import work_name

QUEUE = "hubel"
"""Celery's list of messages."""
WORK, EXPERIMENT = "work", "hubel_experiment"
"""Headers of a message: what it is about, as `shared.work` names it; and for whom it is trained."""
KEPT_SECONDS = 86_400
"""A set that nobody adds to or takes from is forgotten: its experiment may be."""

# Atomic, so that what is taken out is held. What another one holds is no longer waiting. A message
# whose work is queued and not in the set was sent by an earlier version: it is the only one for it.
_TAKE = """
local function take(work)
    local lease = 'hubel:lease:' .. work
    if redis.call('exists', lease) == 1 then
        return false
    end
    redis.call('set', lease, ARGV[3], 'PX', ARGV[4])
    redis.call('del', 'hubel:queued:' .. work)
    return true
end
local own = ARGV[1] .. ' ' .. ARGV[2]
local is_queued = redis.call('exists', 'hubel:queued:' .. ARGV[2]) == 1
if is_queued and not redis.call('zscore', KEYS[1], own) and take(ARGV[2]) then
    return own
end
while true do
    local most = redis.call('zpopmax', KEYS[1])
    if not most[1] then
        break
    end
    if take(string.match(most[1], '^%d+ (.*)$')) then
        redis.call('expire', KEYS[1], ARGV[5])
        return most[1]
    end
end
take(ARGV[2])
return own
"""


class Ready:
    """Raises what Redis raises."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def add(
        self, experiment: str, index: int, segment: Segment, seconds: float, queued_ms: int
    ) -> bool:
        """Mark it as queued, and as waiting: how many device seconds are left from its start to the
        end of the longest run through it. In one step, since whoever takes it takes the mark away.
        False where it was both."""
        work = work_name(segment)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(f"hubel:queued:{work}", "1", nx=True, px=queued_ms)
            pipe.zadd(_key(experiment), {_member(index, work): seconds})
            pipe.expire(_key(experiment), KEPT_SECONDS)
            is_marked, is_added, _ = pipe.execute()
        return bool(is_marked or is_added)

    def drop(self, experiment: str, index: int, segment: Segment) -> None:
        self._redis.zrem(_key(experiment), _member(index, work_name(segment)))

    def take(
        self, experiment: str, index: int, work: str, owner: str, lease_ms: int
    ) -> tuple[int, str]:
        """The most urgent that nobody holds, with its lease; without any the one named."""
        told = index, work, owner, lease_ms, KEPT_SECONDS
        return _read(cast(str, self._redis.eval(_TAKE, 1, _key(experiment), *told)))

    def most_urgent(self, experiment: str) -> tuple[int, float] | None:
        found = self._redis.zrevrange(_key(experiment), 0, 0, withscores=True)
        return (_read(str(found[0][0]))[0], float(found[0][1])) if found else None

    def unknown(self, experiment: str, works: Mapping[str, int]) -> list[str]:
        """Of these, by name with their index, those that are queued and not in the set: no message
        for this experiment brings them."""
        with self._redis.pipeline(transaction=False) as pipe:
            for work, index in works.items():
                pipe.zscore(_key(experiment), _member(index, work))
                pipe.exists(f"hubel:queued:{work}")  # after it: a mark goes when work is taken
            found = pipe.execute()
        asked = zip(works, found[::2], found[1::2], strict=True)
        return [work for work, seconds, is_queued in asked if is_queued and seconds is None]

    def others_wait(self, experiment: str) -> bool:
        """Whether a message is about something else than training for this experiment. Nearly
        all are read where none is: 1000 take 10 ms."""
        messages = self._redis.lrange(QUEUE, 0, -1)
        return any(_headers(text).get(EXPERIMENT) != experiment for text in messages)

    def expected(self) -> set[str]:
        """Work that a message in the queue will bring to a worker: what it names, and of what waits
        of an experiment as many, from the most urgent, as there are messages for it."""
        named, messages = set(), Counter[str]()
        for text in self._redis.lrange(QUEUE, 0, -1):
            headers = _headers(text)
            if work := headers.get(WORK):
                named.add(str(work))
            if experiment := headers.get(EXPERIMENT):
                messages[experiment] += 1
        with self._redis.pipeline(transaction=False) as pipe:
            for experiment, count in messages.items():
                pipe.zrevrange(_key(experiment), 0, count - 1)
            found = pipe.execute()
        return named.union(_read(member)[1] for members in found for member in members)


def _key(experiment: str) -> str:
    return f"hubel:ready:{experiment}"


def _member(index: int, work: str) -> str:
    return f"{index} {work}"


def _read(member: str) -> tuple[int, str]:
    index, work = member.split(" ", 1)
    return int(index), work


def _headers(message: str | bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(message)["headers"])
    except (ValueError, KeyError, TypeError):  # not of ours
        return {}
