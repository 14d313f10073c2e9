"""One try at one message: signed, sent to an address that was looked at, no redirect, in bounded
time. Of the answer nothing but the status is read."""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus

import httpx
from standardwebhooks import Webhook as Signer

from shared.addresses import PORTS, Pinned, public, resolved
from shared.errors import HubelError, Invalid
from shared.meters import version

CONNECT_SECONDS = 5.0
ALL_SECONDS = 15.0
"""From the first connection to the head of the answer, however slowly it drips in."""
ADDRESSES = 4
"""Of one host that are tried."""


@dataclass(frozen=True)
class Answer:
    status: int | None
    """None: there was none."""
    reason: str

    @property
    def is_good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whoever receives wants no more."""
        return self.status == HTTPStatus.GONE


class Courier:
    def __init__(self, private: bool) -> None:
        """`private`: it may go to private addresses too."""
        self.private = private

    def destination(self, url: str) -> Pinned:
        """Invalid for where it may not go, or cannot. Asked before each try: names move."""
        if not url.isascii():
            raise Invalid(f"{url[:80]!r} is not ASCII: write its host as xn--..., the rest as %XX")
        try:
            httpx.URL(url)
        except httpx.InvalidURL as error:
            raise Invalid(f"{url[:80]!r} is not a URL: {error}") from None
        return resolved(url) if self.private else public(url)

    def send(self, url: str, secret: str, message: str, body: str) -> Answer:
        try:
            pinned = self.destination(url)
        except HubelError as error:
            return Answer(None, error.detail)
        now = datetime.now(UTC)
        headers = {
            "host": _host(url, pinned),
            "content-type": "application/json",
            "user-agent": f"Hubel/{version()}",
            "webhook-id": message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Signer(secret).sign(message, now, body),
        }
        try:
            return asyncio.run(self._send(url, pinned, headers, body.encode()))
        except TimeoutError:
            return Answer(None, f"no answer within {ALL_SECONDS:g} s")
        except (httpx.HTTPError, OSError, ValueError) as error:
            return Answer(None, f"no answer: {type(error).__name__} {error}"[:300])

    async def _send(self, url: str, pinned: Pinned, headers: dict[str, str], body: bytes) -> Answer:
        async with asyncio.timeout(ALL_SECONDS), self._client() as client:
            *others, last = pinned.addresses[:ADDRESSES]
            for address in others:
                try:
                    return await _post(client, url, address, pinned, headers, body)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    continue  # at the next address there may be somebody
            return await _post(client, url, last, pinned, headers, body)

    def _client(self) -> httpx.AsyncClient:
        timeout = httpx.Timeout(ALL_SECONDS, connect=CONNECT_SECONDS)
        # Not by the environment's proxy: it would resolve the name by itself.
        return httpx.AsyncClient(verify=self._trusted, timeout=timeout, trust_env=False)

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """SSL_CERT_FILE and SSL_CERT_DIR count, for a lab's own authority."""
        return httpx.create_ssl_context()


async def _post(
    client: httpx.AsyncClient,
    url: str,
    address: str,
    pinned: Pinned,
    headers: dict[str, str],
    body: bytes,
) -> Answer:
    target = httpx.URL(url).copy_with(host=address, port=pinned.port)
    # The certificate has to be of the name, not of the address.
    asked = {"sni_hostname": pinned.host}
    async with client.stream(
        "POST", target, content=body, headers=headers, extensions=asked, follow_redirects=False
    ) as response:
        return _answer(response.status_code)


def _answer(status: int) -> Answer:
    if 300 <= status < 400:
        return Answer(
            status, f"{status}: a redirect, which is not followed: give the URL behind it"
        )
    known = {one.value: one.phrase for one in HTTPStatus}
    return Answer(status, f"{status} {known.get(status, '')}".strip())


def _host(url: str, pinned: Pinned) -> str:
    name = f"[{pinned.host}]" if ":" in pinned.host else pinned.host
    usual = PORTS[httpx.URL(url).scheme] == pinned.port
    return name if usual else f"{name}:{pinned.port}"
