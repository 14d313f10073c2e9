"""Calls over HTTP that outlast a service that restarts, and are never carried out twice."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx

from api import connection
from api.sdk.errors import ServiceError, no_answer, refused, strange

PATIENCE = 60.0
"""Seconds that a call may wait where the service says when to ask again."""
PAUSES = (0.5, 1.0, 2.0)
"""Between tries where nobody says so."""
ASK_AGAIN = (409, 429, 503)
"""With Retry-After."""
GATEWAY = (502, 504)
"""What a proxy says of a service that restarts."""
UPLOAD = httpx.Timeout(600, connect=5)
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

Json = dict[str, Any]
T = TypeVar("T")


class Http:
    """One address and one token. Threads may share it."""

    def __init__(self, url: str, token: str | None) -> None:
        if (address := connection.address(url)) is None:
            raise ValueError(f"the address is {url[:80]!r}: the form is http://HOST:PORT")
        if token and not connection.is_token(token):
            raise ValueError("the token is none: it holds spaces or the like")
        self._client = connection.opened(address, token)
        self.url = str(httpx.URL(address).copy_with(userinfo=b"")).rstrip("/")

    def get(self, path: str, patience: float = PATIENCE, **query: Any) -> Any:
        return self.read(self.call("GET", path, patience, params=_given(query)))

    def post(self, path: str, body: Any = None, key: str | None = None, **query: Any) -> Any:
        """With an Idempotency-Key, so that a second try finds what the first has made."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        parts = {} if body is None else {"json": body}
        return self.read(self.call("POST", path, headers=headers, params=_given(query), **parts))

    def call(
        self, method: str, path: str, patience: float = PATIENCE, once: bool = False, **parts: Any
    ) -> httpx.Response:
        """`once`: it must not be sent again unless it was refused."""
        return self._patiently(lambda: self._answer(method, path, parts), patience, once)

    def remove(self, path: str) -> None:
        """What a first try has removed, whose answer was lost, a second one does not find."""
        lost = False

        def ask() -> None:
            nonlocal lost
            try:
                self._answer("DELETE", path, {})
            except ServiceError as error:
                if not (lost and error.status == 404):
                    lost = lost or error.status in GATEWAY
                    raise
            except httpx.RequestError as error:
                lost = lost or not isinstance(error, NOT_SENT)
                raise

        self._patiently(ask, PATIENCE, False)

    def put(self, path: str, file: Path) -> Any:
        def send() -> httpx.Response:
            with file.open("rb") as content:
                return self._answer("PUT", path, {"content": content, "timeout": UPLOAD})

        return self.read(self._patiently(send, PATIENCE, False))

    def read(self, response: httpx.Response) -> Any:
        try:
            found = response.json()
        except ValueError:
            raise strange(self.url) from None
        if not isinstance(found, dict | list):
            raise strange(self.url)
        return found

    def pages(self, path: str, list_name: str, **query: Any) -> Iterator[Json]:
        """The pages of a list, as long as somebody takes them."""
        token: str | None = None
        while True:
            page = self.get(path, page_token=token, **query)
            if not isinstance(page, dict) or list_name not in page:
                raise strange(self.url)
            yield page
            token = page.get("next_page_token")
            if token is None:
                return

    def save(self, path: str, target: Path, **query: Any) -> Path:
        """The bytes of an answer as a file, which is there when it is whole."""

        def fetch() -> Path:
            with self._client.stream("GET", path, params=_given(query)) as response:
                if response.status_code >= 400:
                    response.read()
                    raise refused(response)
                with whole(target) as file:
                    for piece in response.iter_bytes():
                        file.write(piece)
            return target

        return self._patiently(fetch, PATIENCE, False)

    def close(self) -> None:
        self._client.close()

    def _answer(self, method: str, path: str, parts: Json) -> httpx.Response:
        response = self._client.request(method, path, **parts)
        if response.status_code >= 400:
            raise refused(response)
        return response

    def _patiently(self, ask: Callable[[], T], patience: float, once: bool) -> T:
        until = time.monotonic() + patience
        attempt = 0
        while True:
            try:
                return self._try(ask)
            except ServiceError as error:
                pause = _pause(error, attempt, once)
                if pause is None or time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            attempt += 1

    def _try(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except httpx.RequestError as error:
            raise no_answer(self.url, error) from error


def _pause(error: ServiceError, attempt: int, once: bool) -> float | None:
    """Seconds until it is worth trying again; None: it is not."""
    if error.retry_after is not None and error.status in ASK_AGAIN:
        return error.retry_after if not once or error.status == 429 else None
    if once or (error.status is not None and error.status not in GATEWAY):
        return None
    return PAUSES[attempt] if attempt < len(PAUSES) else None


def _given(query: Json) -> Json:
    return {name: value for name, value in query.items() if value not in (None, [], ())}


def word(text: str) -> str:
    """One part of a path, whatever was given."""
    if not connection.is_word(text):
        raise ValueError(f"{text[:80]!r} is no id or name: letters, digits, _ and - only")
    return text


@contextlib.contextmanager
def whole(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when it is complete."""
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
