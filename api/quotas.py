"""Quotas of device seconds: what each token's experiments have come to. Never more is accepted than
a token allows, however many requests and API processes are at it.

Of each token there is a ledger in the store: numbered entries, each written only where none of that
number is. Whoever loses the race for a number reads what the winner wrote, and counts again. One
damaged entry would end the token's use, and so each is kept twice.
"""

import math
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any

from shared import ahead, names
from shared.errors import Conflict, Forbidden, NotFound
from shared.precious import Precious
from shared.tokens import Principal

if TYPE_CHECKING:
    from api.service import Service

ENDED_FOR_SECONDS = 60.0
"""A segment that was under way when its experiment ended may still be stored."""
LOST_AFTER_SECONDS = 3600.0
"""What was charged for an experiment that does not exist by then is given back."""
SETTLED_AT_ONCE = 64
"""Experiments that a request which asks for too much looks at, at most."""
TRIES_SECONDS = 10.0


@dataclass
class _Account:
    """A ledger as far as it has been read."""

    last: str | None = None
    entries: int = 0
    charged: dict[str, float] = field(default_factory=dict)
    """By experiment; once it is settled, what it has spent."""
    open: deque[str] = field(default_factory=deque)
    """Not settled yet."""
    lock: Lock = field(default_factory=Lock)

    @property
    def used(self) -> float:
        return math.fsum(self.charged.values())

    def add(self, name: str, entry: dict[str, Any]) -> None:
        self.last, self.entries = name, self.entries + 1
        experiment = entry["experiment"]
        self.charged[experiment] = entry["seconds"]
        if not entry["settled"]:
            self.open.append(experiment)
        elif experiment in self.open:
            self.open.remove(experiment)

    def next_open(self) -> list[str]:
        """Some of them, other ones each time."""
        found = list(islice(self.open, SETTLED_AT_ONCE))
        self.open.rotate(-len(found))
        return found


class Quotas:
    """One a service, used by all its threads."""

    def __init__(self, service: "Service") -> None:
        self.service, self.store = service, service.store
        self._entries = Precious(service.store)
        self._accounts: dict[str, _Account] = {}

    def charge(self, principal: Principal, experiment: str, seconds: float) -> None:
        """Forbidden where this is more than is left. The same experiment again: no change."""
        if principal.device_seconds is None or seconds <= 0:
            return
        account = self._accounts.setdefault(principal.id, _Account())
        with account.lock:
            until = time.monotonic() + TRIES_SECONDS
            while time.monotonic() < until:
                self._catch_up(principal.id, account)
                if experiment in account.charged:
                    return
                if account.used + seconds > principal.device_seconds:
                    self._settle(principal.id, account)
                if account.used + seconds > principal.device_seconds:
                    raise _refusal(principal, account.used, seconds)
                if self._write(principal.id, account, experiment, seconds, settled=False):
                    return
        error = Conflict("Too many requests with this token are being accepted at once: ask again")
        error.retry_after = 1
        raise error

    def used(self, token: str) -> float:
        """By what has not ended: estimated; by what has: as far as it was settled."""
        account = self._accounts.setdefault(token, _Account())
        with account.lock:
            self._catch_up(token, account)
            return account.used

    def _catch_up(self, token: str, account: _Account) -> None:
        new = list(self.store.names(names.ledger(token), after=account.last))
        if new:
            for name, entry in zip(new, ahead.each(self._entries.read, new), strict=True):
                account.add(name, entry)

    def _write(
        self, token: str, account: _Account, experiment: str, seconds: float, settled: bool
    ) -> bool:
        """False where another process was first: the ledger has to be read again."""
        entry = {"experiment": experiment, "seconds": seconds, "settled": settled}
        name = names.ledger_entry(token, account.entries + 1)
        ours = self._entries.create(name, entry)
        if ours:
            account.add(name, entry)
        return ours

    def _settle(self, token: str, account: _Account) -> None:
        """Give back what experiments that have ended did not train."""
        for experiment in account.next_open():
            spent = self._spent(experiment, account.charged[experiment])
            if spent is not None and not self._write(token, account, experiment, spent, True):
                self._catch_up(token, account)

    def _spent(self, experiment: str, charged: float) -> float | None:
        """Of what was charged, the part that manifests say was trained. None: not known yet."""
        try:
            found = self.service.experiment(experiment)
        except NotFound:
            return self._of_none(experiment, charged)
        if found.outcome is None:
            return None
        ended = datetime.fromisoformat(found.outcome["finished"])
        if datetime.now(UTC) - ended < timedelta(seconds=ENDED_FOR_SECONDS):
            return None
        return charged * self.share(experiment)

    def _of_none(self, experiment: str, charged: float) -> float | None:
        """To delete an experiment gives nothing back."""
        if (share := self.service.deletion.share(experiment)) is not None:
            return charged * share
        return 0.0 if names.age_of(experiment) > LOST_AFTER_SECONDS else None

    def share(self, experiment: str) -> float:
        """Of what an experiment that has ended was charged with, the part that it has used."""
        plan = self.service.plan_left(experiment)
        if plan is None:
            return 0.0
        planned, replayed = plan.epochs.new, plan.epochs.replayed
        if planned == 0:
            return 1.0
        self.service.done_segments(experiment)
        trained = self.service.tracker(experiment).trained
        return min(1.0, (trained + replayed) / (planned + replayed))


def _refusal(principal: Principal, used: float, asked: float) -> Forbidden:
    allowed = principal.device_seconds or 0.0
    error = Forbidden(
        f"The token '{principal.name}' may use {allowed:g} device seconds: {used:g} are used, this"
        f" asks for {asked:g}, and {max(0.0, allowed - used):g} are left. Ask for less, cancel what"
        " is not needed, or have a token made that may use more"
    )
    error.code, error.title = "quota-exhausted", "Not enough device seconds are left"
    return error
