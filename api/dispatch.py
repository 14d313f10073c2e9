"""Tells webhooks what is due, one process at a time. At least once: whoever dies between a try and
its record leaves a mark, and the message comes again, under the same id."""

import logging
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from api.deliveries import MOST_AGE, first, is_old
from api.service import Service
from api.webhooks import Webhook
from shared import names
from shared.errors import Corrupt, HubelError, NotFound, TooNew

log = logging.getLogger(__name__)

AT_A_TIME = 8
"""Webhooks; each in a thread, one message after the other."""
SWEPT_IN_A_PASS = 500
SWEEP_SECONDS = 60.0
"""Whoever ended an experiment may have seen a webhook just before it was deleted."""
LONGEST_REST = 300.0
"""Of a webhook whose receiver is not well, however much is due there."""


@dataclass(frozen=True)
class Rest:
    failures: int
    until: float


class Dispatcher:
    def __init__(self, service: Service) -> None:
        self.service, self.live, self.store = service, service.live, service.store
        self.webhooks, self.deliveries = service.webhooks, service.deliveries
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{id(self):x}"
        self._under_way: set[str] = set()
        self._resting: dict[str, Rest] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is being sent is left: it will be sent again."""
        self._stop.set()
        self.webhooks.news.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _loop(self) -> None:
        pause = self.service.settings.reconcile_seconds
        while not self._stop.is_set():
            self.webhooks.news.wait(pause)
            self.webhooks.news.clear()
            try:
                if not self._stop.is_set() and self.live.lead(
                    self.owner, 5 * pause + 5, "webhooks"
                ):
                    self.pass_over()
            except HubelError as error:
                log.warning("webhooks wait: %s", error.detail)
            except Exception:
                log.exception("webhooks failed; it is tried again")

    def pass_over(self) -> None:
        self._sweep()
        for id in self.webhooks.ids():
            rest = self._resting.get(id)
            if id in self._under_way or (rest and rest.until > time.monotonic()):
                continue
            if len(self._under_way) == AT_A_TIME:
                return
            self._under_way.add(id)
            threading.Thread(target=self._serve, args=(id,), daemon=True).start()

    def _sweep(self) -> None:
        for id, since in self.webhooks.deleted():
            is_empty = self.deliveries.sweep(id, SWEPT_IN_A_PASS)
            if is_empty and time.time() - since > SWEEP_SECONDS:
                self.store.remove(names.webhook_disabled(id))
                self.store.remove(names.webhook_deleted(id))

    def _serve(self, id: str) -> None:
        marks: list[str] = []
        try:
            if marks := self.deliveries.due(id):
                self._tell(self.webhooks.find(id), marks)
        except NotFound:  # deleted meanwhile
            pass
        except HubelError as error:
            log.warning("webhook %s waits: %s", id, error.detail)
            self._let_rest(id)
        except Exception:
            log.exception("webhook %s could not be told", id)
            self._let_rest(id)
        finally:
            self._under_way.discard(id)
            if marks:  # more may be due, or others wait for this thread
                self.webhooks.news.set()

    def _tell(self, webhook: Webhook, marks: list[str]) -> None:
        for number, mark in enumerate(marks):
            if self._stop.is_set():
                return
            is_well = self._see_to(webhook, mark)
            if is_well:
                self._resting.pop(webhook.id, None)
            elif is_well is not None:
                self._let_rest(webhook.id)
                for other in marks[number + 1 :]:
                    self._give_up_old(webhook, other)
                return

    def _let_rest(self, id: str) -> None:
        """One receiver that is away costs a try now and then, however many messages wait for it."""
        failures = self._resting.get(id, Rest(0, 0)).failures + 1
        seconds = min(2.0 ** min(failures, 20), LONGEST_REST)
        self._resting[id] = Rest(failures, time.monotonic() + seconds)

    def _see_to(self, webhook: Webhook, mark: str) -> bool | None:
        """Whether whoever receives is well; None where nothing was sent."""
        due, message = names.due_of(mark)
        try:
            type, data = self._event(names.told_of(message))
        except NotFound:  # the experiment was deleted
            self.deliveries.forget(webhook.id, message, mark)
            return None
        except (Corrupt, TooNew) as error:
            log.warning("webhook %s: %s", webhook.id, error.detail)
            self.deliveries.look_later(webhook.id, message, mark)
            return None
        if type not in webhook.events:
            self.store.remove(mark)
            return None
        delivery = self.deliveries.find(webhook.id, message) or first(message, type, due)
        if delivery.due != due:  # whoever noted this died before they moved the mark
            self.deliveries.put_off(webhook.id, mark, delivery)
            return None
        if webhook.disabled is not None:
            self.deliveries.give_up(webhook.id, mark, delivery, "the webhook is disabled")
            return None
        after = self.deliveries.attempt(webhook, delivery, data)
        self.deliveries.put_off(webhook.id, mark, after)
        if after.state != "delivered":
            reason = after.tries[-1].reason
            log.warning("webhook %s, experiment %s: %s", webhook.id, after.experiment, reason)
        return after.state == "delivered"

    def _give_up_old(self, webhook: Webhook, mark: str) -> None:
        due, message = names.due_of(mark)
        if not is_old(message, time.time()):
            return
        delivery = self.deliveries.find(webhook.id, message)
        if delivery is None:
            delivery = first(message, self._event(names.told_of(message))[0], due)
        reason = f"it waited {MOST_AGE / 3600:g} hours for a receiver that was away"
        self.deliveries.give_up(webhook.id, mark, delivery, reason)

    def _event(self, id: str) -> tuple[str, dict[str, Any]]:
        """Its type, and what there is to be told: little, and where there is more."""
        accepted, outcome = self.service.accepted(id), self.service.outcomes.of(id, now=True)
        if outcome is None:
            raise Corrupt(f"Experiment {id} is marked to have ended, and has no outcome")
        path = f"/v1/experiments/{id}"
        return f"experiment.{outcome['state']}", {
            "id": id,
            "name": accepted.spec.name,
            "state": outcome["state"],
            "measures": accepted.measures,
            "links": {"self": path, "summary": f"{path}/summary"},
        }
