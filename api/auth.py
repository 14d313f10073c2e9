"""Who asks? The Authorization header of a request -> the principal behind it."""

import asyncio
import hmac
import time
from datetime import UTC, datetime

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from api import loopback
from shared.errors import Forbidden, NotFound, StoreUnavailable, TooMany, Unauthorized
from shared.live import Live
from shared.settings import Settings
from shared.tokens import ADMIN, FORM, LOCAL, READER, Principal, Scope, Token, Tokens, digest

FRESH_SECONDS = 2.0
"""A token is believed for this long without a look at the store: so long a revocation may take."""
KEPT = 4096
LOOKS_AT_ONCE = 4
"""Whoever invents tokens by the thousand keeps the store this busy, and no thread of the app's."""
MINUTE = 60

NEEDED = (
    "Send 'Authorization: Bearer hubel_...'; the command line takes it from HUBEL_TOKEN. Whoever"
    " runs the service makes one with 'hubel token create'"
)


class Gate:
    """One a process. The store is asked about a token at most every FRESH_SECONDS."""

    def __init__(self, settings: Settings, tokens: Tokens, live: Live) -> None:
        self.tokens, self.live = tokens, live
        self.required = settings.tokens_required
        given = {ADMIN: settings.admin_token, READER: settings.read_token}
        self._set = {who: digest(t.get_secret_value()) for who, t in given.items() if t}
        self._seen: dict[str, tuple[float, Token | None]] = {}
        self._asking: dict[str, asyncio.Task[Token | None]] = {}
        self._limiter = CapacityLimiter(LOOKS_AT_ONCE)

    async def admit(self, request: Request) -> Principal:
        """Unauthorized, or TooMany for a token that asks more often than it may."""
        authorization = request.headers.get("authorization")
        if authorization is None:
            return self._unnamed(request)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(f"The Authorization header is not of the form 'Bearer'. {NEEDED}")
        principal = await self._named(token.strip())
        if principal.requests_per_minute is not None:
            await to_thread.run_sync(self._count, principal)
        return principal

    async def still_admits(self, principal: Principal) -> bool:
        """Of who was admitted a while ago: False once its token was revoked or has expired. An
        outage of the store ends nothing."""
        if principal in (LOCAL, ADMIN, READER):
            return True
        try:
            token = await self._look(principal.id)
        except StoreUnavailable:
            return True
        return token is not None and token.state == "live"

    async def admit_still(self, principal: Principal) -> None:
        """Unauthorized where it is admitted no more."""
        if not await self.still_admits(principal):
            raise Unauthorized(f"This token ended while the request was under way. {NEEDED}")

    def forget(self, id: str) -> None:
        """Look again before this token is believed."""
        self._seen.pop(id, None)

    def _unnamed(self, request: Request) -> Principal:
        if self.required:
            raise Unauthorized(f"This service wants a token. {NEEDED}")
        if reason := loopback.refusal(request):
            raise Unauthorized(f"{reason}. {NEEDED}")
        return LOCAL

    async def _named(self, text: str) -> Principal:
        found = digest(text)
        for principal, ours in self._set.items():
            if hmac.compare_digest(found, ours):
                return principal
        match = FORM.fullmatch(text)
        token = await self._look(match[1]) if match else None
        if token is None or not hmac.compare_digest(found, token.hash):
            raise Unauthorized(f"This token is not known here. {NEEDED}")
        if token.state != "live":
            since = token.revoked or token.expires or datetime.now(UTC)
            raise Unauthorized(f"This token was {token.state} at {since:%FT%TZ}. {NEEDED}")
        return token.principal

    async def _look(self, id: str) -> Token | None:
        at, token = self._seen.get(id, (float("-inf"), None))
        if time.monotonic() - at < FRESH_SECONDS:
            return token
        if id not in self._asking:
            self._asking[id] = asyncio.create_task(self._ask(id))
            self._asking[id].add_done_callback(lambda _: self._asking.pop(id))
        return await asyncio.shield(self._asking[id])

    async def _ask(self, id: str) -> Token | None:
        at = time.monotonic()
        try:
            token = await to_thread.run_sync(self.tokens.find, id, limiter=self._limiter)
        except NotFound:
            token = None
        if len(self._seen) >= KEPT:
            self._seen.clear()
        self._seen[id] = (at, token)
        return token

    def _count(self, principal: Principal) -> None:
        """By the clock's minute. While Redis is away nobody counts."""
        now, allowed = time.time(), principal.requests_per_minute
        count = self.live.count_request(principal.id, int(now // MINUTE))
        if allowed is not None and count > allowed:
            error = TooMany(
                f"The token '{principal.name}' may ask {allowed} times a minute, and this is the"
                f" request number {count} of this one"
            )
            error.retry_after = int(MINUTE - now % MINUTE) + 1
            raise error


def check(principal: Principal, scope: Scope) -> None:
    """Forbidden unless the principal has the scope."""
    if not principal.may(scope):
        raise Forbidden(
            f"This needs a token with the scope '{scope}'; '{principal.name}' has"
            f" '{principal.scope}'"
        )
