"""Objects that nothing can compute again, say an accepted spec and an outcome: kept twice, and
mended from each other."""

import logging
from dataclasses import dataclass
from typing import Any

from shared import names, sealed
from shared.errors import Corrupt, NotFound
from shared.storage import Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Precious:
    store: Storage

    def create(self, name: str, value: dict[str, Any]) -> bool:
        """Once; False where it exists: whoever made that may have died before copying it."""
        made = self.store.create_json(name, value)
        if made:
            self.store.write_json(names.copy(name), value)
        else:
            self.copy(name)
        return made

    def swap(self, name: str, value: dict[str, Any], version: str | None) -> bool:
        """For what may change: False where it is of another version by now (None: it is new). Its
        copy may say for a moment, or after a crash, what it said before."""
        data = sealed.dump(value)
        if version is None:
            made = self.store.create(name, data, "application/json")
        else:
            made = self.store.swap(name, data, version, "application/json")
        if made:
            self.store.write_json(names.copy(name), value)
        return made

    def read(self, name: str) -> dict[str, Any]:
        """NotFound where there is none. Corrupt where neither of the two verifies."""
        try:
            return dict(self.store.read_json(name))
        except Corrupt as error:
            return self._from_copy(name, error)

    def find(self, name: str) -> dict[str, Any]:
        """The same, and what is gone is found in its copy: of what never was, a second question."""
        try:
            return self.read(name)
        except NotFound as error:
            return self._from_copy(name, error)

    def _from_copy(self, name: str, error: Corrupt | NotFound) -> dict[str, Any]:
        try:
            found = dict(self.store.read_json(names.copy(name)))
        except (NotFound, Corrupt):
            raise error from None
        log.error("%s; it is written again from its copy", error)
        self.store.write_json(name, found)
        return found

    def replace(self, name: str, value: dict[str, Any]) -> None:
        """Both, whatever they are."""
        for each in (name, names.copy(name)):
            self.store.write_json(each, value)

    def restore(self, name: str) -> None:
        """Write it again from its copy. Corrupt or NotFound where that says no more."""
        found = self.store.read_json(names.copy(name))
        if found == self._readable(name):
            raise Corrupt(f"{name!r} and its copy say the same")
        self.store.write_json(name, found)

    def _readable(self, name: str) -> Any:
        try:
            return self.store.read_json(name)
        except (NotFound, Corrupt):
            return None

    def keep_twice(self, name: str) -> None:
        """Whoever made it may have died before copying it, or known of no copies."""
        if not self.store.exists(names.copy(name)):
            self.copy(name)

    def copy(self, name: str) -> bool:
        """Make its copy where that is missing or damaged: whether it was."""
        value = self.read(name)
        whole = bool(self._readable(names.copy(name)) == value)
        if not whole:
            self.store.write_json(names.copy(name), value)
        return not whole
