"""What a worker says of itself while it lives, also while it is idle: its parent tells Redis."""

import time
from collections.abc import Iterable
from typing import Any

from celery.worker import state

from shared.live import Live
from shared.queue import PREPARE, REPAIR, SEGMENT, TRAIN
from shared.ready import WORK
from worker.pulse import Pulse

STATES = {TRAIN: "training", PREPARE: "preparing", REPAIR: "repairing"}


class Presence:
    """The parent knows from Celery what its child has been given: training pays nothing for it."""

    def __init__(self, live: Live, name: str, pulse: Pulse) -> None:
        self.live, self.name, self.pulse = live, name, pulse
        self._at: tuple[Any, ...] = ()
        self._since = time.monotonic()

    def tell(self, taken: Iterable[Any] | None = None) -> None:
        """`taken`: requests of Celery's; by default those that it knows to be under way."""
        requests = list(state.reserved_requests if taken is None else taken)
        about = self._about(None if self.pulse.is_unfit else next(iter(requests), None))
        at = (about["state"], about.get("work"))
        if at != self._at:
            self._at, self._since = at, time.monotonic()
        said = self.pulse.said
        about |= {"device": said.get("device"), "device_name": said.get("name")}
        about |= {"unfit": self.pulse.is_unfit, "for": time.monotonic() - self._since}
        self.live.tell_worker(self.name, about)

    def _about(self, request: Any) -> dict[str, Any]:
        doing = None if request is None else STATES.get(request.task_name)
        if doing is None:
            return {"state": "idle"}
        experiment, what = request.args
        headers = request.request_dict
        what = headers.get(SEGMENT, what)
        about = {"state": doing, "experiment": experiment, "work": headers.get(WORK)}
        if doing == "training" and (at := self.pulse.at):  # it may have gone on, in place
            what, about["work"] = at[0], self.pulse.work
        return about | ({"dataset": what} if doing == "preparing" else {"segment": what})
