"""Tokens: who may do what. Each is shown once, and kept as a hash in the object store."""

import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, get_args

from pydantic import AwareDatetime, BaseModel, Field

from shared import names
from shared.errors import Corrupt, Fault, Invalid, NotFound
from shared.part import Part
from shared.precious import Precious
from shared.storage import Storage

Scope = Literal["read", "submit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""In this order: each includes those before it."""

FORM = re.compile(r"hubel_([0-9a-f]{20})_[0-9a-f]{64}")
"""Id and secret; a form that scanners for leaked secrets can look for."""
LONGEST = timedelta(days=3660)


@dataclass(frozen=True)
class Principal:
    """Who asks."""

    id: str
    name: str
    scope: Scope
    """The widest one."""
    requests_per_minute: int | None = None
    device_seconds: float | None = None

    def may(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


LOCAL = Principal("local", "this machine", "admin")
ADMIN = Principal("admin", "HUBEL_ADMIN_TOKEN", "admin")
READER = Principal("reader", "HUBEL_READ_TOKEN", "read")


class NewToken(Part):
    """A token to be made."""

    name: str = Field(min_length=1, max_length=200, description="Who or what will use it.")
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=len(SCOPES),
        description="read: every GET. submit: also experiments, measurements, data sets. admin:"
        " also tokens, deleting data sets, checking the store. Each includes those before it.",
    )
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    device_seconds: Annotated[float, Field(ge=0, le=1e12)] | None = Field(
        None, description="Estimated device seconds that its experiments may come to, in all."
    )
    expires: AwareDatetime | None = Field(None, description="RFC 3339, with an offset.")


class Token(BaseModel):
    """As it is kept. The secret is not."""

    id: str
    name: str
    scope: Scope
    requests_per_minute: int | None
    device_seconds: float | None
    created: datetime
    created_by: str
    expires: datetime | None
    revoked: datetime | None = None
    hash: str

    @property
    def state(self) -> Literal["live", "expired", "revoked"]:
        if self.revoked is not None:
            return "revoked"
        if self.expires is not None and self.expires <= datetime.now(UTC):
            return "expired"
        return "live"

    @property
    def principal(self) -> Principal:
        limits = (self.requests_per_minute, self.device_seconds)
        return Principal(self.id, self.name, self.scope, *limits)


def digest(token: str) -> str:
    """SHA-256 is enough for 256 bits of chance: there is nothing to be guessed."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """The store's. A token and its revocation are written once each, and kept twice."""

    def __init__(self, store: Storage) -> None:
        self.store, self._kept = store, Precious(store)

    def make(self, wanted: NewToken, by: str) -> tuple[Token, str]:
        """The token as it is kept, and the token itself, which nobody can ask for again."""
        id = names.new_token_id()
        text = f"hubel_{id}_{secrets.token_hex(32)}"
        made = Token(
            id=id,
            name=wanted.name,
            scope=max(wanted.scopes, key=SCOPES.index),
            requests_per_minute=wanted.requests_per_minute,
            device_seconds=wanted.device_seconds,
            created=datetime.now(UTC),
            created_by=by,
            expires=_expiry(wanted.expires),
            hash=digest(text),
        )
        self._kept.create(names.token(id), made.model_dump(mode="json", exclude={"revoked"}))
        return made, text

    def find(self, id: str) -> Token:
        try:
            found = self._kept.read(names.token(id))
        except NotFound:
            raise NotFound(f"There is no token {id}") from None
        return Token.model_validate(found | {"revoked": self._revoked(id)})

    def all(self) -> Iterator[Token]:
        """Oldest first."""
        for name in self.store.names(names.TOKENS):
            yield self.find(names.token_of(name))

    def revoke(self, id: str) -> None:
        """For good. Again: no change. Also one of which nobody can read any more what it may do."""
        with contextlib.suppress(Corrupt):
            self.find(id)
        self._kept.create(names.revocation(id), {"at": datetime.now(UTC).isoformat()})

    def _revoked(self, id: str) -> str | None:
        try:
            return str(self._kept.read(names.revocation(id))["at"])
        except NotFound:
            return None


def _expiry(given: datetime | None) -> datetime | None:
    if given is None:
        return None
    now = datetime.now(UTC)
    if not now < given <= now + LONGEST:
        message = f"expires: {given} is not within {LONGEST.days} days from now, {now:%FT%TZ}"
        raise Invalid(message, [Fault("/expires", "expires", message)])
    return given.astimezone(UTC)
