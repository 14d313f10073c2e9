"""What was met damaged while somebody read it: found, and asked to be computed again."""

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from shared.chain import Manifest
from shared.errors import Corrupt, HubelError
from shared.plan import Segment
from shared.repairs import Repairs

if TYPE_CHECKING:
    from api.service import Service

log = logging.getLogger(__name__)


class Damage:
    """Readers say of which experiment; the reconcile loop's thread looks what it is."""

    def __init__(self, service: "Service") -> None:
        self.service = service
        self._met: set[str] = set()
        self._states: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def met(self, id: str) -> None:
        with self._lock:
            self._met.add(id)

    def met_state(self, scope: str, manifest: Manifest) -> None:
        """Of a state whose checkpoint was asked for. Whoever trained it knows how."""
        with self._lock:
            self._states[scope, manifest.key] = manifest.provenance["experiment"]

    def pass_over(self) -> None:
        with self._lock:
            met, self._met = self._met, set()
            states, self._states = self._states, {}
        for (scope, key), id in states.items():
            self._ask_for_state(id, scope, key)
        for id in met:
            try:
                self.ask(id)
            except HubelError as error:
                log.error("damage in experiment %s: %s", id, error.detail)

    def _ask_for_state(self, id: str, scope: str, key: str) -> None:
        try:
            plan = self.service.tracker(id).plan
        except HubelError as error:
            log.error("damage of state %s: %s", key, error.detail)
            return
        for index, segment in enumerate(plan.segments):
            if segment.scope == scope and key in segment.keys:
                Repairs(self.service.store).ask(id, index)
                return

    def ask(self, id: str) -> list[int]:
        """Have each segment mended of which something does not verify. Reads all but checkpoints:
        those are read by workers, who mend them by themselves."""
        damaged = list(self._damaged(id))
        for index in damaged:
            if Repairs(self.service.store).ask(id, index):
                log.error("segment %d of experiment %s is damaged: to be mended", index, id)
        return damaged

    def _damaged(self, id: str) -> Iterator[int]:
        plan = self.service.plan(id)
        if plan is None:
            return
        done = self.service.done_segments(id)
        for index in sorted(done):
            if not self._verifies(plan.segments[index], plan.probed(plan.segments[index])):
                yield index

    def _verifies(self, segment: Segment, probes: list[tuple[int, str]]) -> bool:
        records, scope = self.service.records, segment.scope
        try:
            for manifest in records.spanning(scope, segment.key, segment.start):
                records.metrics(manifest)
            for epoch, digest in probes:
                records.measurement(scope, segment.state(epoch), digest)
        except Corrupt:
            return False
        return True
