"""What the store holds of training: manifests, metrics, measurements. Immutable once written, and
so kept in memory once read."""

import json
import logging
from collections import OrderedDict
from threading import Lock
from typing import Any

from shared import names
from shared.chain import Manifest
from shared.errors import Corrupt, NotFound
from shared.plan import Plan
from shared.storage import Storage

log = logging.getLogger(__name__)

CACHED = 20_000


class Records:
    """Reads a store's training records. Answers `shared.chain.Stored`. Thread-safe."""

    def __init__(self, store: Storage) -> None:
        self.store = store
        self._cache: OrderedDict[str, Any] = OrderedDict()
        self._lock = Lock()

    def plan(self, experiment: str) -> Plan:
        """Not kept here: its size has no bound."""
        name = names.experiment_object(experiment, "plan.json")
        return Plan.model_validate(self.store.read_json(name))

    def manifest(self, scope: str, key: str) -> Manifest | None:
        """One that does not verify is none: whoever wants the segment trains it again."""
        name = names.manifest(scope, key)
        try:
            value = self._json(name)
        except Corrupt as error:
            log.error("counts as missing: %s", error)
            return None
        return None if value is None else Manifest.model_validate(value)

    def covering(self, scope: str, key: str) -> str | None:
        """The end key of a stored segment that ends in this state, or else passes through it."""
        if self.manifest(scope, key) is not None:
            return key
        try:
            target = str(self.store.read_json(names.within(scope, key))["segment"])
        except (NotFound, Corrupt):
            return None
        return target if self.manifest(scope, target) is not None else None

    def begun(self, scope: str, key: str) -> bool:
        return self.store.exists(names.within(scope, key))

    def measured(self, scope: str, key: str, probe: str) -> bool:
        try:
            return self.measurement(scope, key, probe) is not None
        except Corrupt as error:
            log.error("counts as missing: %s", error)
            return False

    def probed(self, scope: str, key: str) -> frozenset[str]:
        """One question, however many probes there are."""
        prefix = names.measurements(scope, key)
        return frozenset(names.probe_of(name) for name in self.store.names(prefix))

    def measurement(self, scope: str, key: str, probe: str) -> dict[str, Any] | None:
        """Corrupt where it does not verify."""
        return self._json(names.measurement(scope, key, probe))

    def metrics(self, manifest: Manifest) -> list[dict[str, Any]]:
        """One record for each epoch of the segment, in order. Kept only once it has verified."""
        name = names.blob(manifest.metrics)
        found = self._cached(name)
        if found is None:
            found = json.loads(self._metrics_blob(manifest))
            self._keep(name, found)
        return list(found)

    def is_collected(self, scope: str, manifest: Manifest) -> bool:
        """Whether its checkpoint was removed to make room, and has not come back."""
        try:
            mark = self.store.read_json(names.collected(scope, manifest.key))
        except (NotFound, Corrupt):
            return False
        is_its = mark.get("checkpoint") == manifest.checkpoint
        return is_its and not self.store.exists(names.blob(manifest.checkpoint))

    def spanning(self, scope: str, key: str, start: int) -> list[Manifest]:
        """Manifests that lead to the state `key` from epoch `start` or before, in order.

        Another experiment may have cut the same stretch elsewhere and stored it first.
        """
        out: list[Manifest] = []
        while not out or out[0].start > start:
            manifest = self.manifest(scope, out[0].parent if out else key)
            if manifest is None:
                raise Corrupt(f"the manifest of state {key} or of one of its ancestors is gone")
            out.insert(0, manifest)
        return out

    def forget(self) -> None:
        """Something was written anew that otherwise never changes."""
        with self._lock:
            self._cache.clear()

    def _metrics_blob(self, manifest: Manifest) -> bytes:
        try:
            return self.store.read_blob(manifest.metrics)
        except (Corrupt, NotFound) as error:
            self.forget()  # there may be a new generation of this manifest
            raise Corrupt(
                f"The metrics of epochs {manifest.start + 1} to {manifest.end} are damaged"
                f" ({error.detail}) and are computed again, where a worker is there: ask again"
            ) from error

    def _json(self, name: str) -> dict[str, Any] | None:
        found = self._cached(name)
        if found is None:
            try:
                found = self.store.read_json(name)
            except NotFound:
                return None
            self._keep(name, found)
        return dict(found)

    def _cached(self, name: str) -> Any:
        with self._lock:
            if name in self._cache:
                self._cache.move_to_end(name)
            return self._cache.get(name)

    def _keep(self, name: str, value: Any) -> None:
        with self._lock:
            self._cache[name] = value
            while len(self._cache) > CACHED:
                self._cache.popitem(last=False)
