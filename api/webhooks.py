"""Webhooks: where the service tells how experiments have ended.

A secret is shown once, and kept in the object store as it is, since every message is signed with
it: whoever reads the store can sign messages too.
"""

import contextlib
import secrets
import threading
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, SecretStr

from api.courier import Courier
from shared import moments, names
from shared.errors import Conflict, Fault, Invalid, NotFound
from shared.part import Part
from shared.precious import Precious
from shared.storage import Storage

Event = Literal["experiment.succeeded", "experiment.failed", "experiment.cancelled"]
EVENTS: tuple[Event, ...] = get_args(Event)
MOST = 20
"""Each costs a write for each experiment that ends, and a question to the store in each pass."""
SECRET_BYTES = 32


class NewWebhook(Part):
    """A webhook to be made."""

    url: str = Field(
        min_length=1,
        max_length=2000,
        description="https://, or http://, of a host with public addresses only; ASCII.",
    )
    events: list[Event] = Field(
        list(EVENTS), min_length=1, max_length=len(EVENTS), description="What is told there."
    )
    description: str = Field("", max_length=200)


class Disabled(BaseModel):
    at: datetime
    reason: str


class Webhook(BaseModel):
    """As it is kept, but for its end."""

    id: str
    url: str
    events: list[Event]
    description: str
    created: datetime
    created_by: str
    secret: SecretStr
    disabled: Disabled | None = None


class Webhooks:
    """The store's. A webhook is written once, and kept twice."""

    def __init__(self, store: Storage, courier: Courier) -> None:
        self.store, self._kept, self._courier = store, Precious(store), courier
        self.news = threading.Event()
        """Something may be due now."""

    def make(self, wanted: NewWebhook, by: str) -> Webhook:
        self._check(wanted.url)
        if len(self.ids()) >= MOST:
            raise Conflict(f"There are {MOST} webhooks, and no more are allowed: delete one first")
        made = Webhook(
            id=names.new_token_id(),
            url=wanted.url,
            events=list(dict.fromkeys(wanted.events)),
            description=wanted.description,
            created=datetime.now(UTC),
            created_by=by,
            secret=SecretStr(f"whsec_{b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"),
        )
        stored = made.model_dump(mode="json", exclude={"disabled"})
        stored["secret"] = made.secret.get_secret_value()
        self._kept.create(names.webhook(made.id), stored)
        return made

    def find(self, id: str) -> Webhook:
        try:
            found = self._kept.read(names.webhook(id))
        except NotFound:
            raise NotFound(f"There is no webhook {id}") from None
        return Webhook.model_validate(found | {"disabled": self._disabled(id)})

    def ids(self) -> list[str]:
        """Oldest first."""
        return [names.webhook_of(name) for name in self.store.names(names.WEBHOOKS)]

    def disable(self, id: str, reason: str) -> None:
        """For good."""
        end = {"at": moments.now(), "reason": reason}
        self.store.create_json(names.webhook_disabled(id), end)

    def delete(self, id: str) -> None:
        """The secret at once; what was told there goes bit by bit. Also one that is damaged."""
        if not self.store.exists(names.webhook(id)):
            raise NotFound(f"There is no webhook {id}")
        self.store.write_json(names.webhook_deleted(id), {"at": moments.now()})
        self.store.remove(names.copy(names.webhook(id)))
        self.store.remove(names.webhook(id))
        self.news.set()

    def deleted(self) -> Iterator[tuple[str, float]]:
        """Of which something may be left, and since when, in seconds since 1970."""
        for entry in self.store.entries(names.DELETED_WEBHOOKS):
            yield names.webhook_of(entry.name), entry.modified

    def tell(self, id: str, outcome: dict[str, Any], again: bool = False) -> None:
        """That an experiment has ended is due at every webhook that there is; which of them want to
        know is seen later. `again`: for whoever may have died over it; then by the clock."""
        at = round(datetime.fromisoformat(outcome["finished"]).timestamp() * 1000)
        for webhook in self.ids():
            if again and names.webhook_created(webhook) > at:
                continue
            self.store.write(names.due(webhook, at, names.message(at, id)), b"")
            self.news.set()

    def _check(self, url: str) -> None:
        try:
            self._courier.destination(url)
        except Invalid as error:
            message = f"url: {error.detail}"
            raise Invalid(message, [Fault("/url", "url", message)]) from None

    def _disabled(self, id: str) -> Any:
        with contextlib.suppress(NotFound):
            return self.store.read_json(names.webhook_disabled(id))
        return None
