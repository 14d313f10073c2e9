"""What the store holds of training: manifests, metrics, measurements. Immutable once written, and
so kept in memory once read, until somebody has deleted what nothing needs."""

import json
import logging
from typing import Any

from pydantic import ValidationError

from shared import names
from shared.cache import Cache
from shared.chain import Manifest
from shared.errors import Corrupt, NotFound, TooNew
from shared.plan import Plan
from shared.precious import Precious
from shared.storage import Storage

log = logging.getLogger(__name__)

KEPT_BYTES = 128 << 20
"""Memory for what was read, in each process."""
GROWTH, ENTRY = 4, 400
"""Bytes in memory for each byte of JSON, and for each entry. tracemalloc, Python 3.11: metrics of 1
to 20 epochs 3.8 to 2.7, manifests 3.2, traces by layer 3.7, filters 3.1."""


class Records:
    """Reads a store's training records. Answers `shared.chain.Stored`. Thread-safe."""

    def __init__(self, store: Storage) -> None:
        self.store = store
        self._cache: Cache[Any] = Cache(KEPT_BYTES)
        self._freed: str | None = None

    def plan(self, experiment: str) -> Plan:
        """Not kept here: its size has no bound. TooNew where it is whole and no plan."""
        name = names.experiment_object(experiment, "plan.json")
        found = Precious(self.store).find(name)
        try:
            return Plan.model_validate(found)
        except ValidationError as error:
            raise TooNew(
                f"{name!r} is whole, and no plan that this program reads: start the newer one that"
                f" wrote it ({error.error_count()} fields are not as expected)"
            ) from error

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
        found = self._cache.get(name)
        if found is None:
            data = self._metrics_blob(manifest)
            found = self._keep(name, json.loads(data), len(data))
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
        self._cache.clear()

    def catch_up(self) -> None:
        """Forget what was read, where states have been removed since. One question."""
        if (freed := self.store.version(names.FREED)) != self._freed:
            self.forget()
            self._freed = freed

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
        found = self._cache.get(name)
        if found is None:
            try:
                found = self._keep(name, *self.store.read_json_sized(name))
            except NotFound:
                return None
        return dict(found)

    def _keep(self, name: str, value: Any, size: int) -> Any:
        return self._cache.keep(name, value, GROWTH * size + ENTRY)
