"""`hubel fsck`: what the service finds when it checks its store, as words or as JSON lines."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import click

from api.client import NO_ANSWER, Json, Service, fail

DAMAGED = 1
"""Exit status: something is damaged and not repaired (yet)."""
COLLECTED = ("garbage", "orphan")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
BYTES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip


class Quantity(click.ParamType):
    """A whole number and a unit, in the smallest unit."""

    def __init__(self, name: str, units: dict[str, int], example: str) -> None:
        self.name, self.units, self.example = name, units, example

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,15})\s*([A-Za-z]*)", value)
        unit = {u.upper(): size for u, size in self.units.items()}
        if not found or found[2].upper() not in unit:
            self.fail(f"{value[:40]!r} is not a number with a unit, say {self.example}", param, ctx)
        return int(found[1]) * unit[found[2].upper()]


@click.command()
@click.option("--repair", is_flag=True,
              help="Mend what can be; workers make again what they can.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Do not read what blobs and data sets hold.")
@click.option(
    "--collect",
    is_flag=True,
    help="Then remove checkpoints that nothing needs, and what nothing names.",
)
@click.option("--older-than", type=Quantity("time", SECONDS, "30d"), default="30d",
              show_default=True,
              help="With --collect: nothing younger is removed, nor what is younger than an hour.",
              )  # fmt: skip
@click.option("--max-bytes", type=Quantity("size", BYTES, "500GB"),
              help="With --collect: only until the checkpoints fit.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="With --collect: only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="As the service gives it, line by line.")
@click.make_pass_decorator(Service)
def fsck(
    service: Service, repair: bool, quick: bool, collect: bool, older_than: int,
    max_bytes: int | None, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Check that all that is stored is whole; mend it, and make room.

    Exit status 1: something is damaged and not repaired, or a worker has yet to repair it.
    """
    if not collect and (max_bytes is not None or dry_run):
        raise click.UsageError("--max-bytes and --dry-run go with --collect")
    checked = _run(service, "check", {"repair": repair, "quick": quick}, as_json)
    if collect:
        asked: Json = {"older_than": older_than, "dry_run": dry_run}
        if max_bytes is not None:
            asked["max_bytes"] = max_bytes
        _run(service, "collect", asked, as_json)
    if checked["unrepaired"]:
        sys.exit(DAMAGED)


def _run(service: Service, what: str, parameters: Json, as_json: bool) -> Json:
    """Says every line; the summary."""
    for found in service.lines(f"/v1/store/{what}", parameters):
        if found["type"] == "error" and not as_json:
            fail(f"The {what} ended early: {found['detail']}", NO_ANSWER)
        for line in [json.dumps(found)] if as_json else _words(what, found):
            click.echo(line)
        if found["type"] == "error":
            sys.exit(NO_ANSWER)
        if found["type"] == "summary":
            break
    else:
        fail(f"{service.url} broke off in the middle of the {what}", NO_ANSWER)
    return found


def _words(what: str, found: Json) -> Iterator[str]:
    if found["type"] == "finding":
        done = "" if found["action"] == "none" else f" -> {found['action']}"
        yield f"{found['kind']} {found['object']}{done}"
        yield f"    found {found['found']}; expected {found['expected']}"
    elif found["type"] == "summary":
        yield _summary(what, found)


def _summary(what: str, found: Json) -> str:
    if what == "collect":
        gone = sum(found["kinds"].get(kind, 0) for kind in COLLECTED)
        size = sum(found["found_bytes"].get(kind, 0) for kind in COLLECTED)
        return f"{'would remove' if found['dry_run'] else 'removed'} {gone} objects, {size} bytes"
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found["kinds"].items()))
    done = ", ".join(
        f"{count} {action}"
        for action, count in sorted(found["actions"].items())
        if action != "none"
    )
    words = f"{found['objects']} objects, {found['bytes']} bytes read: {kinds or 'all is whole'}"
    if found["unsigned"]:
        words += f"; {found['unsigned']} JSON objects from before they carried a digest"
    return f"{words} ({done})" if done else words
