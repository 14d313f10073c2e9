"""What was told at a webhook, what is still to be told, and how each try went.

A mark says that a message is due: it is written before an experiment leaves the active ones, and
removed once the record of the message says how its last try went. Whoever dies in between leaves
the mark, and the message is sent again, under the same id.
"""

import json
import logging
import random
import secrets
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from pydantic import BaseModel

from api import meters
from api.courier import Answer, Courier
from api.webhooks import Webhook, Webhooks
from shared import moments, names
from shared.errors import Corrupt, NotFound
from shared.storage import Storage

log = logging.getLogger(__name__)

PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
"""Seconds after a first, second, ... try that went wrong: eight tries in 28 to 33 hours."""
JITTER = 0.2
"""Up to this part of a pause more, so that what failed together does not come back together."""
MOST_AGE = 2 * 86_400.0
"""A message that waited so long behind others is not tried again."""
AT_ONCE = 100
"""Messages of one webhook in one pass."""
UNREADABLE_SECONDS = 300.0
"""After so long it is seen whether a check of the store has mended what is to be told."""
TEST = "webhook.test"

State = Literal["waiting", "delivered", "failed"]


class Try(BaseModel):
    at: str
    seconds: float
    status: int | None
    reason: str


class Delivery(BaseModel):
    """The record of a message to one webhook."""

    id: str
    """Of the message, as in object names."""
    type: str
    experiment: str | None
    state: State = "waiting"
    due: int | None
    """Of the next try, in milliseconds since 1970."""
    tries: list[Try] = []

    def after(self, answer: Answer, began: float) -> "Delivery":
        """With one more try, which began then, in seconds since 1970."""
        now = time.time()
        tried = Try(
            at=moments.at(began),
            seconds=round(now - began, 3),
            status=answer.status,
            reason=answer.reason,
        )
        tries = [*self.tries, tried]
        state: State = "delivered" if answer.is_good else "failed"
        due = None
        if not answer.is_good and not answer.is_gone and self._goes_on(len(tries), now):
            pause = PAUSES[len(tries) - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311
            state, due = "waiting", round((now + pause) * 1000)
        return self.model_copy(update={"state": state, "due": due, "tries": tries})

    def _goes_on(self, tries: int, now: float) -> bool:
        return self.type != TEST and tries <= len(PAUSES) and not is_old(self.id, now)


def first(message: str, type: str, due: int) -> Delivery:
    """Of which nothing was tried."""
    return Delivery(id=message, type=type, experiment=names.told_of(message), due=due)


def is_old(message: str, now: float) -> bool:
    return now - names.message_time(message) / 1000 > MOST_AGE


class Deliveries:
    """The store's."""

    def __init__(self, store: Storage, webhooks: Webhooks, courier: Courier) -> None:
        self.store, self.webhooks, self.courier = store, webhooks, courier

    def due(self, webhook: str) -> list[str]:
        """Marks of what is to be told now, earliest first; at most AT_ONCE."""
        now = time.time() * 1000
        found = self.store.names(names.all_due(webhook), limit=AT_ONCE)
        return [mark for mark in found if names.due_of(mark)[0] <= now]

    def find(self, webhook: str, message: str) -> Delivery | None:
        name = names.delivery(webhook, message)
        try:
            return Delivery.model_validate(self.store.read_json(name))
        except NotFound:
            return None
        except Corrupt as error:
            log.error("%s; the message is told anew", error.detail)
            return None

    def attempt(self, webhook: Webhook, delivery: Delivery, data: dict[str, Any]) -> Delivery:
        """Send it, and note how that went."""
        event = {"type": delivery.type, "timestamp": _moment(delivery.id), "data": data}
        body = json.dumps(event, separators=(",", ":"))
        began, secret = time.time(), webhook.secret.get_secret_value()
        answer = self.courier.send(webhook.url, secret, shown_id(delivery.id), body)
        if answer.is_gone:
            self.webhooks.disable(webhook.id, "its receiver answered 410")
        after = delivery.after(answer, began)
        self.note(webhook.id, after)
        meters.WEBHOOK_TRIES.labels("delivered" if answer.is_good else "failed").inc()
        return after

    def test(self, webhook: Webhook) -> Delivery:
        """One try, now, of a message about nothing."""
        now = round(time.time() * 1000)
        message = names.message(now, secrets.token_hex(12))
        delivery = Delivery(id=message, type=TEST, experiment=None, due=now)
        return self.attempt(webhook, delivery, {"webhook": webhook.id})

    def give_up(self, webhook: str, mark: str, delivery: Delivery, reason: str) -> None:
        tried = Try(at=moments.now(), seconds=0, status=None, reason=f"not sent: {reason}")
        end = {"state": "failed", "due": None, "tries": [*delivery.tries, tried]}
        self.note(webhook, delivery.model_copy(update=end))
        self.store.remove(mark)

    def note(self, webhook: str, delivery: Delivery) -> None:
        name = names.delivery(webhook, delivery.id)
        self.store.write_json(name, delivery.model_dump(mode="json"))

    def put_off(self, webhook: str, mark: str, delivery: Delivery) -> None:
        """What is noted decides when it is due, if it still is."""
        if delivery.due is not None:
            self.store.write(names.due(webhook, delivery.due, delivery.id), b"")
        self.store.remove(mark)

    def look_later(self, webhook: str, message: str, mark: str) -> None:
        at = round((time.time() + UNREADABLE_SECONDS) * 1000)
        self.store.write(names.due(webhook, at, message), b"")
        self.store.remove(mark)

    def forget(self, webhook: str, message: str, mark: str) -> None:
        self.store.remove(names.delivery(webhook, message))
        self.store.remove(mark)

    def newest(self, webhook: str, after: str | None) -> Iterator[str]:
        """Names of records; `after` is the name of one."""
        return self.store.names(names.deliveries(webhook), after)

    def shown(self, record: str) -> dict[str, Any]:
        return shown(Delivery.model_validate(self.store.read_json(record)))

    def sweep(self, webhook: str, most: int) -> bool:
        """Remove some of what is left of a deleted webhook. True once there is nothing."""
        left = most
        for prefix in (names.all_due(webhook), names.deliveries(webhook)):
            for name in list(islice(self.store.names(prefix), left)):
                self.store.remove(name)
                left -= 1
        return left > 0


def _moment(message: str) -> str:
    return moments.at(names.message_time(message) / 1000)


def shown_id(message: str) -> str:
    """In answers, and in the header webhook-id."""
    return f"msg_{message}"


def shown(delivery: Delivery) -> dict[str, Any]:
    about = delivery.model_dump(exclude={"due"})
    next_try = None if delivery.due is None else moments.at(delivery.due / 1000)
    return about | {"id": shown_id(delivery.id), "next_try": next_try}
