"""Which experiments the reconcile loop looks at next.

With thousands that wait it cannot look at each in every pass: first come those where something
changed, then those that could be queued, and then the others in turn, so that nothing depends on
what Redis says."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest

from shared import names
from shared.live import Live
from shared.storage import Storage

IN_TURN = 64
"""Experiments without a change that a pass looks at: with no more than these, all of them."""
AT_LEAST = 4
"""And so many however long the others took."""
PASS_SECONDS = 1.5
LISTED_SHARE = 0.01
"""Of the time, at most, goes into listing all that are active; new ones are seen in every pass."""
WATCHED_WORKS = 512
"""Of one experiment. As long as there are more, those that are watched change often."""
ASKED_AT_ONCE = 1000


@dataclass
class Watched:
    """What was found when an experiment was last looked at, on the monotonic clock."""

    looked: float = float("-inf")
    tried: float = float("-inf")
    """When there was last room to queue something of it."""
    waits: bool = True
    """Whether something of it was neither queued nor leased."""
    busy: tuple[str, ...] = ()
    """Work that was queued or leased."""


class Watch:
    """Used by the reconcile loop's one thread."""

    def __init__(self, store: Storage, live: Live) -> None:
        self.store, self.live = store, live
        self._watched: dict[str, Watched] = {}
        self._list_at = float("-inf")

    def take_up(self) -> None:
        """What is active now."""
        begun = time.monotonic()
        if begun < self._list_at:
            newest = max(self._watched, default=None)
            after = None if newest is None else names.active_marker(newest)
            self._watched |= {id: Watched() for id in self._active(after)}
            return
        known = self._watched
        self._watched = {id: known.get(id) or Watched() for id in self._active()}
        took = time.monotonic() - begun
        self._list_at = begun + took / LISTED_SHARE

    def due(self, room: Callable[[], int]) -> Iterator[str]:
        """Each at most once, until the pass has taken its time."""
        until, given = time.monotonic() + PASS_SECONDS, set()
        for id in self._by_urgency(room):
            if time.monotonic() > until:
                break
            if id in self._watched and id not in given:
                given.add(id)
                yield id
        rest = (id for id in self._in_turn(IN_TURN) if id not in given)
        for count, id in enumerate(rest):
            if count >= AT_LEAST and time.monotonic() > until:
                return
            yield id

    def note(self, id: str, works: Iterable[str], had_room: bool) -> None:
        """What was found: work that can be done now."""
        now, works = time.monotonic(), list(works)
        idle = set(self.live.idle(works[:WATCHED_WORKS]))
        watched = self._watched.setdefault(id, Watched())
        watched.looked, watched.waits = now, bool(idle) or not works
        watched.tried = now if had_room else watched.tried
        watched.busy = tuple(work for work in works[:WATCHED_WORKS] if work not in idle)

    def forget(self, id: str) -> None:
        self._watched.pop(id, None)

    def __contains__(self, id: str) -> bool:
        return id in self._watched

    def __iter__(self) -> Iterator[str]:
        return iter(self._watched)

    def _by_urgency(self, room: Callable[[], int]) -> Iterator[str]:
        yield from self._changed()
        waiting = [(one.tried, id) for id, one in self._watched.items() if one.waits]
        for _, id in sorted(waiting):
            if room() <= 0:
                return
            yield id

    def _in_turn(self, count: int) -> list[str]:
        return nsmallest(count, self._watched, key=lambda id: self._watched[id].looked)

    def _changed(self) -> Iterator[str]:
        """Those with work that was queued or leased and no longer is, or that is said to be done.

        While Redis is away all of it seems idle, and so each is looked at.
        """
        owners: dict[str, list[str]] = defaultdict(list)
        for id, one in self._watched.items():
            for work in one.busy:
                owners[work].append(id)
        works = list(owners)
        for first in range(0, len(works), ASKED_AT_ONCE):
            some = works[first : first + ASKED_AT_ONCE]
            said = self.live.progress(some)
            done = {work for work, word in said.items() if word.get("done")}
            for work in done.union(self.live.idle(some)):
                yield from owners[work]

    def _active(self, after: str | None = None) -> Iterator[str]:
        return map(names.experiment_of, self.store.names(names.ACTIVE, after=after))
