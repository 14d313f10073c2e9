"""JSON objects that carry their own SHA-256, so that damage to a stored number is seen.

The seal stands first and covers the bytes of the object without it:
`{"sha256":"<hex>","a":1}` is `{"a":1}` sealed. Objects of before there were seals have none.
"""

import hashlib
import json
from typing import Any

_HEAD = b'{"sha256":"'
_DIGITS = 64
_MOST_HIT = 4
"""Bytes in which the head of a seal may differ and still be known as one. Another name of six
letters differs in more."""


def dump(value: dict[str, Any]) -> bytes:
    """ValueError where a number is not finite."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    body = text.encode()
    comma = b"," if value else b""
    return _HEAD + _digest(body) + b'"' + comma + body[1:]


def load(data: bytes) -> dict[str, Any]:
    """The value without its seal. ValueError where it is no JSON object, or not what the seal
    says."""
    if not is_sealed(data):
        return _without_seal(data)
    end = len(_HEAD) + _DIGITS
    body = b"{" + data[end + 1 :].removeprefix(b",")
    if data[end : end + 1] != b'"' or _digest(body) != data[len(_HEAD) : end]:
        raise ValueError(f"its {len(body)} bytes are not those that it was sealed with")
    return dict(json.loads(body))


def _without_seal(data: bytes) -> dict[str, Any]:
    """One that was written before there were seals, not one of which the seal was hit."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"found JSON of {len(data)} bytes that is no object")
    if len(data) > len(_HEAD) and _differing(data) <= _MOST_HIT:
        raise ValueError(f"its seal is damaged: it begins with {data[: len(_HEAD)]!r}")
    return value


def _differing(data: bytes) -> int:
    return sum(found != expected for found, expected in zip(data, _HEAD, strict=False))


def is_sealed(data: bytes) -> bool:
    return data.startswith(_HEAD)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
