"""Deleting experiments: gone for all at once; what only they needed is freed behind, and later."""

import logging
import threading
import time
from typing import TYPE_CHECKING

from api.lifecycle import ENDED
from api.marked import Marked
from shared import names, removal
from shared.deletion import Deletions
from shared.errors import Conflict, HubelError, NotFound, Stopped
from shared.inspection import GRACE_SECONDS

if TYPE_CHECKING:
    from api.service import Service

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How often is looked for what can be freed: it lies for an hour anyway."""
HALF_DONE_SECONDS = 60.0
"""A request that meant to delete and has not said so by then, never will."""


class Deletion:
    """One a service, used by all its threads."""

    def __init__(self, service: "Service", grace_seconds: float = GRACE_SECONDS) -> None:
        self.service, self.store = service, service.store
        self.grace_seconds = grace_seconds
        self.deletions = Deletions(self.store)
        self._marked = Marked(self.store, names.DELETED)
        self._unlisted: set[str] = set()
        self._look_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def __contains__(self, id: str) -> bool:
        """As far as this process has heard."""
        return id in self._marked

    def delete(self, id: str) -> None:
        """With the measurement jobs on it. Conflict before it has ended, or while one of them has
        not."""
        self._check_ended(id, "the experiment")
        jobs = [job for job in self.service.jobs.ids(id) if job not in self]
        for job in jobs:
            self._check_ended(job, f"its measurement job {job}")
        for one in (*jobs, id):
            about = {"share": self.service.quotas.share(one)}
            self.deletions.delete(one, about)
            self._marked.add(one)
            self.service.remarks.note_change(one)
            log.info("experiment %s is deleted", one)

    def share(self, id: str) -> float | None:
        """Of what was charged for a deleted experiment, the part that it had used. None: it was not
        deleted."""
        about = self.deletions.about(id)
        return None if about is None else float(about.get("share", 1.0))

    def _check_ended(self, id: str, what: str) -> None:
        state = self.service.status(id)["state"]
        if state not in ENDED:
            raise Conflict(
                f"Only what has ended can be deleted, and {what} is {state}: cancel it first, with"
                f" POST /v1/experiments/{id}/cancel"
            )

    # --- behind, in the process that reconciles ---

    def pass_over(self) -> None:
        """Goes on where somebody stopped in the middle, and frees what is due."""
        for id, entry in self.deletions.pending():
            if id in self._unlisted:
                continue
            if self.deletions.has(id):
                self.deletions.unlist(id)
                self._unlisted.add(id)
            elif time.time() - entry.modified > HALF_DONE_SECONDS:
                self.store.remove(entry.name)
        is_busy = self._thread is not None and self._thread.is_alive()
        if self._unlisted and not is_busy and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._thread = threading.Thread(target=self._free, name="removal", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    def _free(self) -> None:
        try:
            settings = self.service.settings
            freed = removal.remove(self.store, settings, self._tick, self.grace_seconds)
            self._unlisted.difference_update(freed)
        except (Stopped, NotFound):
            pass
        except HubelError as error:
            log.warning("what was deleted is freed later: %s", error.detail)
        except Exception:
            log.exception("what was deleted is freed later")

    def _tick(self) -> None:
        if self._stop.is_set():
            raise Stopped("the service stops")
