"""Waiting for an experiment, through outages of the service, and seeing how far it is."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from api import words
from api.lifecycle import ENDED
from api.sdk import shown
from api.sdk.errors import ServiceError

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two looks: what is stored already ends at once."""
MISSING = (None, 429, 500, 502, 503, 504)
"""Statuses of a service that is away for a while, or has too much to do."""

Json = dict[str, Any]
Show = Callable[[Json], None]


def to_the_end(ask: Callable[[], Json], url: str, progress: bool, timeout: float | None) -> Json:
    """The last status. `ask` gives the present one, or raises ServiceError."""
    until = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    with _display(url) if progress else contextlib.nullcontext(_nothing) as show:
        for found in _statuses(ask):
            if found is not None:
                show(found)
                if found["state"] in ENDED:
                    return found
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"It has not ended after {timeout:g} s, and goes on")
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)
    raise AssertionError("statuses come without end")


def _statuses(ask: Callable[[], Json]) -> Iterator[Json | None]:
    """None while the service is away, of which the first is told."""
    is_away = False
    while True:
        try:
            yield ask()
            is_away = False
        except ServiceError as error:
            if error.status not in MISSING:
                raise
            if not is_away:
                print(f"{error}\nAsking again until it answers.", file=sys.stderr, flush=True)
            is_away = True
            yield None


def _nothing(_: Json) -> None:
    pass


@contextlib.contextmanager
def _display(url: str) -> Iterator[Show]:
    """In a notebook, in a terminal, or in a log."""
    console = Console(stderr=True)
    if Console().is_jupyter:
        yield _in_notebook(url)
    elif console.is_terminal:
        with _bar(console) as progress:
            yield _in_terminal(progress)
    else:
        yield _in_log()


def _in_notebook(url: str) -> Show:
    # rich's own display in a notebook needs ipywidgets, and shows nothing without.
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)
    return lambda found: handle.update(HTML(shown.one(found, url)))


def _bar(console: Console) -> Progress:
    texts = [TextColumn(f"{{task.fields[{name}]}}") for name in ("what", "left")]
    columns = (TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn(), *texts)
    return Progress(*columns, console=console)


def _in_terminal(progress: Progress) -> Show:
    bar = progress.add_task("", total=None, what="epochs", left="")

    def show(found: Json) -> None:
        what, count = words.counted(found)
        left = found.get("time_left_seconds")
        rest = f"{words.duration(left)} left" if left else ""
        total = count["planned"] or None
        state, done = found["state"], count["done"]
        progress.update(bar, description=state, completed=done, total=total, what=what, left=rest)

    return show


def _in_log() -> Show:
    """A line whenever another tenth is done."""
    told: list[tuple[str, int]] = []

    def show(found: Json) -> None:
        _, count = words.counted(found)
        now = (found["state"], 10 * count["done"] // max(1, count["planned"]))
        if not told or told[-1] != now:
            told.append(now)
            print(f"{found['id']} {words.line(found)}", file=sys.stderr, flush=True)

    return show
