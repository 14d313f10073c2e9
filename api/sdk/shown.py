"""How experiments and plans look in a notebook."""

from collections.abc import Iterable
from html import escape
from typing import Any

from api import words
from api.lifecycle import ENDED

Json = dict[str, Any]


def one(found: Json, url: str) -> str:
    """State, progress and a link to the page of the experiment."""
    left = found.get("time_left_seconds")
    rest = f", {words.duration(left)} left" if left and found["state"] not in ENDED else ""
    lines = [f"{_link(found, url)} <b>{escape(found['state'])}</b>", f"{_bar(found)}{rest}"]
    for failure in found.get("failures", [])[:10]:
        run = "" if failure.get("run") is None else f"run {failure['run']}: "
        lines.append(escape(words.plain(f"{run}{failure['reason']}")))
    return "<br>".join(lines)


def table(found: Iterable[Json], url: str) -> str:
    rows = [
        f"<tr><td>{_link(one, url)}</td><td>{escape(one['state'])}</td><td>{_bar(one)}</td>"
        f"<td>{escape(one.get('created') or '')}</td><td>{_tags(one)}</td></tr>"
        for one in found
    ]
    head = "".join(f"<th>{word}</th>" for word in ("", "state", "progress", "created", "tags"))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _link(found: Json, url: str) -> str:
    address = f"{url}/experiments/{found['id']}"
    return f'<a href="{escape(address)}">{escape(words.plain(found["name"]) or found["id"])}</a>'


def _bar(found: Json) -> str:
    what, count = words.counted(found)
    done, planned = count["done"], count["planned"]
    if found["state"] == "succeeded" and not planned:
        return '<progress max="1" value="1"></progress> all of it was stored already'
    return (
        f'<progress max="{max(1, planned)}" value="{done}"></progress> {done} of {planned} {what}'
    )


def _tags(found: Json) -> str:
    return escape(", ".join(f"{k}: {v}" for k, v in found.get("tags", {}).items()))
