"""The HTTP service as the command line sees it: whatever does not work ends with a word."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
import httpx

from api import connection, words

REFUSED, NO_ANSWER = 2, 3
"""Exit status."""
SILENCE = httpx.Timeout(40, connect=5)
"""A stream of events beats every 15 s."""
STATUS = ("id", "name", "state", "progress")
"""What the status of an experiment has, whatever else it has."""

Json = dict[str, Any]


class Service:
    """Calls the HTTP interface. What it refuses, and its absence, end the program with a word."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = _address(url)
        self._client = connection.opened(self.url, _checked_token(token))

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self._call("GET", path, params=_given(parameters))

    def post(self, path: str, **parts: Any) -> httpx.Response:
        return self._call("POST", path, **parts)

    def patch(self, path: str, **parts: Any) -> httpx.Response:
        return self._call("PATCH", path, **parts)

    def delete(self, path: str) -> httpx.Response:
        return self._call("DELETE", path)

    def lines(self, path: str, parameters: Json) -> Iterator[Json]:
        """The lines of JSON that a POST is answered with, as they come."""
        try:
            with self._client.stream("POST", path, params=parameters) as response:
                if response.status_code >= 400:
                    response.read()
                    _checked(response)
                for line in response.iter_lines():
                    found = _line(line)
                    if found is None:
                        fail(f"{self.url} answers, but not as this service does", NO_ANSWER)
                    yield found
        except httpx.RequestError as error:
            fail(f"{self.url} broke off: {error or type(error).__name__}", NO_ANSWER)

    def save(self, path: str, file: Path, **parameters: Any) -> int:
        """The bytes of an answer, which are in the file only once all of them are."""
        part = file.with_name(f"{file.name}.part")
        try:
            with self._client.stream("GET", path, params=_given(parameters)) as response:
                if response.status_code >= 400:
                    response.read()
                    _checked(response)
                with part.open("wb") as opened:
                    for piece in response.iter_bytes():
                        opened.write(piece)
            return part.replace(file).stat().st_size
        except httpx.RequestError as error:
            fail(f"{self.url} broke off: {error or type(error).__name__}", NO_ANSWER)
        except OSError as error:
            fail(f"{file} cannot be written: {error.strerror}", REFUSED)
        finally:
            part.unlink(missing_ok=True)

    def read(self, response: httpx.Response, *fields: str) -> Json:
        """The JSON of an answer, which has these fields."""
        found: Any = None
        with contextlib.suppress(ValueError):
            found = response.json()
        if not isinstance(found, dict) or not found.keys() >= set(fields):
            fail(f"{self.url} answers, but not as this service does: does something else listen "
                  "there? The service's address is --url or HUBEL_URL", NO_ANSWER)  # fmt: skip
        return found

    def status(self, id: str) -> Json:
        return self.read(self.get(f"/v1/experiments/{word(id)}"), *STATUS)

    def try_status(self, id: str) -> Json | None:
        """None while the service cannot answer; whoever watches asks again."""
        try:
            response = self._client.get(f"/v1/experiments/{word(id)}")
        except httpx.RequestError:
            return None
        if response.status_code >= 500 or response.status_code == 429:
            return None
        return self.read(_checked(response), *STATUS)

    def events(self, id: str, last: str | None) -> Iterator[tuple[str, str, Any]]:
        """(id, name, data) of each event after the one with the id `last`, points among them. Ends
        where the stream ends, breaks off, or cannot be had now: whoever watches comes again."""
        headers = {} if last is None else {"Last-Event-ID": last}
        path = f"/v1/experiments/{word(id)}/events"
        try:
            with self._client.stream(
                "GET", path, params={"points": "true"}, headers=headers, timeout=SILENCE
            ) as response:
                if response.status_code >= 500 or response.status_code == 429:
                    return
                if response.status_code >= 400:
                    response.read()
                yield from _events(_checked(response).iter_lines())
        except httpx.RequestError:
            return

    def _call(self, method: str, path: str, **parts: Any) -> httpx.Response:
        try:
            return _checked(self._client.request(method, path, **parts))
        except UnicodeEncodeError as error:
            raise click.UsageError(f"{str(error.object)[:80]!r} is not text") from None
        except httpx.RequestError as error:
            fail(f"No answer from {self.url}: {error or type(error).__name__}. "
                  "Is the service up? Its address is --url or HUBEL_URL", NO_ANSWER)  # fmt: skip


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name:  # of a comment there is none
            fields[name] = value
        elif not line:
            if fields.keys() >= {"id", "event", "data"}:
                yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}


def _line(text: str) -> Json | None:
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict) and "type" in found:
            return found
    return None


def _given(parameters: Json) -> Json:
    return {name: value for name, value in parameters.items() if value not in (None, [])}


def _address(url: str) -> str:
    if (found := connection.address(url)) is None:
        raise click.UsageError(
            f"--url is {url[:80]!r}: the form is http://HOST:PORT; also HUBEL_URL"
        )
    return found


def _checked_token(token: str | None) -> str | None:
    if token and not connection.is_token(token):
        raise click.UsageError("--token or HUBEL_TOKEN is no token: it holds spaces or the like")
    return token


def word(text: str) -> str:
    """One part of a path, whatever was typed."""
    if not connection.is_word(text):
        raise click.UsageError(f"{text[:80]!r} is no id or name: letters, digits, _ and - only")
    return text


def _checked(response: httpx.Response) -> httpx.Response:
    if response.status_code >= 400:
        status = REFUSED if response.status_code < 500 else NO_ANSWER
        fail(words.problem(response), status)
    return response


def fail(message: str, status: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(status)
