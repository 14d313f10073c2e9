"""Experiments that were deleted. A tombstone, which stays, says so: what was accepted under this
id is not accepted again. The mark that there is something left to remove comes before it and goes
last, so that whoever dies in between is followed by somebody who goes on."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from shared import moments, names
from shared.errors import Corrupt, NotFound
from shared.precious import Precious
from shared.records import Records
from shared.storage import Entry, Storage


@dataclass(frozen=True)
class Deletions:
    store: Storage

    def delete(self, id: str, about: dict[str, Any]) -> None:
        self.store.write(names.deleting(id), b"")
        self.store.create_json(names.deleted(id), {"at": moments.now(), **about})
        self.unlist(id)

    def has(self, id: str) -> bool:
        return self.store.exists(names.deleted(id))

    def about(self, id: str) -> dict[str, Any] | None:
        """What was noted of one that was deleted."""
        try:
            return dict(self.store.read_json(names.deleted(id)))
        except NotFound:
            return None
        except Corrupt:
            return {}

    def pending(self) -> list[tuple[str, Entry]]:
        """Those of which something may be left."""
        found = self.store.entries(names.DELETING)
        return [(names.experiment_of(entry.name), entry) for entry in found]

    def unlist(self, id: str) -> None:
        """Takes it out of all lists, links and marks. Again: no change."""
        self.store.remove(names.index_entry(id))
        marks = (names.active_marker(id), names.tagged(id), names.mirror(id))
        for name in (*marks, *self._links(id)):
            self.store.remove(name)
        for name in (n for n in self.store.names(names.REPAIRS) if names.parts(n).id == id):
            self.store.remove(name)

    def _links(self, id: str) -> list[str]:
        """What others say of it; and that it uses data."""
        found = []
        with suppress(NotFound, Corrupt):  # by now, all of it is gone
            stored = Precious(self.store).find(names.experiment_object(id, "spec.json"))
            linked = {
                "measures": names.measurement_job,
                "retries": names.retry,
                "forks": names.fork,
            }
            found += [named(stored[how], id) for how, named in linked.items() if stored.get(how)]
        with suppress(NotFound, Corrupt):
            configs = Records(self.store).plan(id).configs
            digests = {config["dataset"]["digest"] for config in configs}
            found += [names.dataset_use(digest, id) for digest in sorted(digests)]
        return found
