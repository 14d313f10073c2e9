"""What `--set path=value` says, as the fields of a request's body."""

import json
from collections.abc import Sequence
from typing import Any

import click

Json = dict[str, Any]

NAMED = ("preset", "scale")
"""Which preset is meant, and not part of its spec."""
WHOLE = {"sweep": 1, "variants": 2}
"""After so many parts, the rest of a path is one name: it is a path of the spec itself."""


def read(settings: Sequence[str]) -> Json:
    """Of "training.batch_size=32" and the like one object. What is no JSON is text."""
    out: Json = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not all(parts := _parts(path)):
            raise click.UsageError(f"--set {setting[:80]!r}: the form is path.in.the.spec=value")
        if parts[0] in NAMED:
            raise click.UsageError(f"--set {setting[:80]!r}: this is what --{parts[0]} is for")
        _put(out, parts, _value(text), path)
    return out


def flat(settings: Sequence[str]) -> Json:
    """Of the same, the paths as they are."""
    pairs = (setting.partition("=") for setting in settings)
    read(settings)
    return {path: _value(text) for path, _, text in pairs}


def _parts(path: str) -> list[str]:
    return path.split(".", WHOLE.get(path.split(".")[0], -1))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _put(out: Json, parts: list[str], value: Any, path: str) -> None:
    for part in parts[:-1]:
        out = out.setdefault(part, {})
        if not isinstance(out, dict):
            raise click.UsageError(f"--set {path[:80]}: an earlier --set gives {part!r} a value")
    out[parts[-1]] = value
