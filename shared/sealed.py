"""JSON objects that carry their own SHA-256, so that damage to a stored number is seen.

The seal stands first and covers the bytes of the object without it:
`{"sha256":"<hex>","a":1}` is `{"a":1}` sealed. Objects of before there were seals have none.
"""

import hashlib
import json
from typing import Any

_HEAD = b'{"sha256":"'
_DIGITS = 64


def dump(value: dict[str, Any]) -> bytes:
    """ValueError where a number is not finite."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    body = text.encode()
    comma = b"," if value else b""
    return _HEAD + _digest(body) + b'"' + comma + body[1:]


def load(data: bytes) -> Any:
    """The value without its seal. ValueError where it is not JSON, or not what the seal says."""
    if not is_sealed(data):
        return json.loads(data)
    sealed = data[len(_HEAD) : len(_HEAD) + _DIGITS]
    body = b"{" + data[len(_HEAD) + _DIGITS + 1 :].removeprefix(b",")
    if _digest(body) != sealed:
        raise ValueError(f"its {len(body)} bytes are not those that it was sealed with")
    return json.loads(body)


def is_sealed(data: bytes) -> bool:
    return data.startswith(_HEAD)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
