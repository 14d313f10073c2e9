"""Page tokens: where the next page starts, good for the same filters only."""

import base64
import json
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlencode

from shared.errors import BadRequest, Fault
from shared.schedule import digest

T = TypeVar("T")


def token(after: Any, filters: dict[str, Any]) -> str:
    text = json.dumps([_name(filters), after], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def after(token: str | None, filters: dict[str, Any]) -> Any:
    """What the token was made of; None for the first page."""
    if token is None or token == "":
        return None
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        name, position = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise refused("is not one that was given out here") from None
    if name != _name(filters):
        raise refused("belongs to other filters: start again without it")
    return position


def address(path: str, parameters: dict[str, Any], token: str | None) -> str | None:
    """Of the next page; None after the last one."""
    if token is None:
        return None
    given = {name: value for name, value in parameters.items() if value not in (None, [])}
    return f"{path}?{urlencode(given | {'page_token': token}, doseq=True)}"


def count(token: str | None, filters: dict[str, Any]) -> int:
    """For a token that was made of how much came before."""
    found = after(token, filters) or 0
    if type(found) is not int or not 0 <= found < 2**53:
        raise refused("is not one that was given out here")
    return found


def listed(
    what: str, path: str, found: Iterable[T], size: int, given: str | None, show: Callable[[T], Any]
) -> dict[str, Any]:
    """One page of a list that grows at its end only, if at all."""
    filters = {"list": path}
    first = count(given, filters)
    page = list(islice(found, first, first + size + 1))
    following = token(first + size, filters) if len(page) > size else None
    return {
        what: [show(one) for one in page[:size]],
        "next": address(path, {"page_size": size}, following),
        "next_page_token": following,
    }


def refused(why: str) -> BadRequest:
    message = f"The page_token {why}"
    return BadRequest(message, [Fault("/query/page_token", "page-token", message)])


def _name(filters: dict[str, Any]) -> str:
    return digest(filters)[:16]
