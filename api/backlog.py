"""How much work there is: counted by the process that reconciles, from what it knows anyway, and
told to all by Redis. Workers are scaled by it, so that it counts what a queue of bounded length
does not hold, and what is under way."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.live import Live


@dataclass(frozen=True)
class Noted:
    state: str
    works: frozenset[int]
    """Hashes of the names of what can be done now, or is."""
    waiting: int


class Backlog:
    """Used by the reconcile loop's one thread."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self._noted: dict[str, Noted] = {}

    def note(self, about: str, state: str, works: Iterable[str], waiting: int = 0) -> None:
        """What was found of an experiment."""
        self._noted[about] = Noted(state, frozenset(map(hash, works)), waiting)

    def forget(self, about: str) -> None:
        self._noted.pop(about, None)

    def publish(self, active: Iterable[str], repairs: Iterable[str], seconds: float) -> None:
        """Believed by others for so long."""
        kept = set(active)
        self._noted = {id: noted for id, noted in self._noted.items() if id in kept}
        leased = self.live.leased()
        if leased is None:
            return
        works = set(map(hash, repairs)).union(*(noted.works for noted in self._noted.values()))
        held = set(map(hash, leased))
        states = [noted.state for noted in self._noted.values()]
        told = {
            "segments": {
                "waiting": sum(noted.waiting for noted in self._noted.values()),
                "queued": len(works - held),
                "running": len(held),
            },
            "experiments": {s: states.count(s) for s in ("preparing", "queued", "running")},
        }
        self.live.tell_backlog(told, seconds)
