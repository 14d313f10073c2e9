"""Tags and notes as they are now: in an object of their own beside the accepted spec.

Several may change them at once, in several processes: each writes what it has read and changed only
where that still stands, or else reads again."""

import logging
import random
import time
from typing import TYPE_CHECKING, Any

from api.marked import Marked
from shared import ahead, names, remarks
from shared.cache import Cache
from shared.errors import Conflict, Corrupt, NotFound
from shared.precious import Precious
from shared.remarks import RemarksPatch

if TYPE_CHECKING:
    from api.service import Service

log = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
"""After so long a change by another process shows here."""
BYTES, CHANGES_BYTES = 16 << 20, 1 << 20
ENTRY, CHANGE = 600, 200
"""What an entry takes in memory, without notes."""
TRIES_SECONDS = 10.0

Json = dict[str, Any]


class Remarks:
    """One a service, used by all its threads."""

    def __init__(self, service: "Service") -> None:
        self.service, self.store = service, service.store
        self._seen: Cache[tuple[float, Json | None]] = Cache(BYTES)
        """When it was read, and what there was."""
        self._changed: Cache[float] = Cache(CHANGES_BYTES)
        self._marked = Marked(self.store, names.TAGGED)

    def of(self, id: str) -> Json:
        """`tags` and `notes`. What is damaged twice counts as what was accepted: the experiment is
        whole without it."""
        at, found = self._seen.get(id) or (float("-inf"), None)
        if time.monotonic() - at >= FRESH_SECONDS:
            found = self._read_again(id)
        return remarks.as_accepted(self.service.accepted(id).spec) if found is None else found

    def many(self, ids: list[str]) -> list[Json]:
        """In order; those that have any are asked for at the same time."""
        ahead.each(self.of, [id for id in ids if id in self._marked])
        return [self.of(id) for id in ids]

    def changed_since(self, id: str, moment: float) -> bool:
        """By this process, on the monotonic clock."""
        return (self._changed.get(id) or float("-inf")) >= moment

    def note_change(self, id: str) -> None:
        """What was made of it before is not shown any more."""
        self._changed.replace(id, time.monotonic(), CHANGE)

    def patch(self, id: str, patch: RemarksPatch) -> Json:
        accepted, until = self.service.accepted(id), time.monotonic() + TRIES_SECONDS
        while time.monotonic() < until:
            version = self.store.version(names.tags(id))  # before it is read: what is read is newer
            found = self._stored(id)
            before = remarks.as_accepted(accepted.spec) if found is None else found
            after = patch.applied(before)
            if after == before or self._write(id, after, version):
                self.note_change(id)
                self._keep(id, time.monotonic(), after)
                return after
            time.sleep(random.uniform(0.01, 0.1))  # noqa: S311 - apart, not secret
        error = Conflict("Too many requests change these tags and notes at once: ask again")
        error.retry_after = 1
        raise error

    def _write(self, id: str, remarks: Json, version: str | None) -> bool:
        """The mark first, so that nobody misses what comes."""
        if id not in self._marked:
            self.store.write(names.tagged(id), b"")
            self._marked.add(id)
        return Precious(self.store).swap(names.tags(id), remarks, version)

    def _read_again(self, id: str) -> Json | None:
        begun = time.monotonic()
        found = self._stored(id) if id in self._marked else None
        if not self.changed_since(id, begun):
            self._keep(id, begun, found)
        return found

    def _stored(self, id: str) -> Json | None:
        try:
            found = Precious(self.store).read(names.tags(id))
            return {"tags": dict(found["tags"]), "notes": str(found["notes"])}
        except NotFound:
            return None
        except (Corrupt, KeyError, TypeError, ValueError) as error:
            log.error("the tags and notes of %s are lost: %s", id, error)
            return None

    def _keep(self, id: str, at: float, found: Json | None) -> None:
        self._seen.replace(id, (at, found), ENTRY + (len(found["notes"]) if found else 0))
