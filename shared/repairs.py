"""What is damaged in the store and is to be computed again: marks in the store, which stay until
it is done."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared import names
from shared.errors import Corrupt, NotFound
from shared.storage import Storage


@dataclass(frozen=True)
class Repairs:
    store: Storage

    def ask(self, experiment: str, index: int) -> bool:
        """Have a segment of an experiment's plan verified, and computed again where it is damaged:
        checkpoint, metrics, manifest, measurements. False where that is under way already. What has
        been given up is tried anew."""
        name = names.repair(experiment, index)
        if self.store.create_json(name, {"asked": time.time()}):
            return True
        if self._failure(name) is None:
            return False
        self.ask_anew(experiment, index)
        return True

    def ask_anew(self, experiment: str, index: int) -> None:
        """Whatever came of it before."""
        for tried in self.store.names(names.repair_attempts_prefix(experiment, index)):
            self.store.remove(tried)
        self.store.write_json(names.repair(experiment, index), {"asked": time.time()})

    def wanted(self) -> Iterator[tuple[str, int]]:
        """What is neither done nor given up."""
        for which, name in self._marks():
            if self._failure(name) is None:
                yield which

    def given_up(self) -> dict[tuple[str, int], Any]:
        """What keeps failing, with the reason."""
        found = {which: self._failure(name) for which, name in self._marks()}
        return {which: failure for which, failure in found.items() if failure is not None}

    def give_up(self, experiment: str, index: int, failure: dict[str, Any]) -> None:
        self.store.write_json(
            names.repair(experiment, index), {"asked": time.time(), "failure": failure}
        )

    def done(self, experiment: str, index: int) -> None:
        self.store.remove(names.repair(experiment, index))

    def _marks(self) -> Iterator[tuple[tuple[str, int], str]]:
        for name in self.store.names(names.REPAIRS):
            if (which := names.repair_of(name)) is not None:
                yield which, name

    def _failure(self, name: str) -> Any:
        try:
            return self.store.read_json(name).get("failure")
        except (NotFound, Corrupt):
            return None
