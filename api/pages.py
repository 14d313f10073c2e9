"""Page tokens: where the next page starts, good for the same filters only."""

import base64
import json
from typing import Any
from urllib.parse import urlencode

from shared.errors import BadRequest, Fault
from shared.schedule import digest


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


def refused(why: str) -> BadRequest:
    message = f"The page_token {why}"
    return BadRequest(message, [Fault("/query/page_token", "page-token", message)])


def _name(filters: dict[str, Any]) -> str:
    return digest(filters)[:16]
