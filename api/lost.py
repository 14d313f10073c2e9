"""Experiments of which nobody can read what was asked for, or the plan: planned again where that
gives the same plan, and ended with what was found where nothing does."""

import logging
import time
from typing import TYPE_CHECKING

from api import outcome
from shared import names, replanning
from shared.errors import Corrupt, DataDamaged, Invalid, NotFound
from shared.plan import Plan
from shared.precious import Precious

if TYPE_CHECKING:
    from api.service import Service

log = logging.getLogger(__name__)


class Lost:
    """Used by the reconcile loop's one thread."""

    def __init__(self, service: "Service") -> None:
        self.service, self.records = service, service.records
        self._since: dict[str, float] = {}

    def forget(self, id: str) -> None:
        """It was read."""
        self._since.pop(id, None)

    def met(self, id: str) -> None:
        """Damage on the way, for as long as a network is sick, looks the same: what is there after
        half a lease is in the store."""
        since = self._since.setdefault(id, time.monotonic())
        if time.monotonic() - since <= self.service.settings.lease_seconds / 2:
            return
        self.forget(id)
        if (reason := self._beyond_repair(id)) is not None:
            log.error("experiment %s has failed: %s", id, reason)
            self.service.finish(id, outcome.ended("failed", [{"run": None, "reason": reason}]))

    def see_to_plan(self, id: str, plan: Plan) -> None:
        """Whoever takes its work reads the plan from the store, and this process remembers it."""
        try:
            self.records.plan(id)
        except (Corrupt, NotFound) as error:
            log.error("experiment %s: %s; its plan is written again", id, error.detail)
            name = names.experiment_object(id, "plan.json")
            Precious(self.service.store).replace(name, plan.model_dump())

    def _beyond_repair(self, id: str) -> str | None:
        """What was found; None where all is read, or is again."""
        try:
            self.service.accepted(id)
        except Corrupt as error:
            return f"what was asked for is lost, and so is its copy: {error.detail}"
        try:
            self.records.plan(id)
        except NotFound:  # it waits for its data set
            return None
        except Corrupt as error:
            return self._not_planned_again(id, error)
        return None

    def _not_planned_again(self, id: str, damage: Corrupt) -> str | None:
        try:
            ended = (self.service.outcome(id) or {}).get("state")
            replanning.replace(id, ended, self.records, self.service.settings)
        except DataDamaged:  # its owner can mend it
            raise
        except (Corrupt, Invalid, NotFound) as error:
            return (
                f"its plan is lost, and so is the copy ({damage.detail}), and none was made again:"
                f" {error.detail}"
            )
        log.error("experiment %s: %s; it was planned again", id, damage.detail)
        return None
