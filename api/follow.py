"""Following an experiment in a terminal, or in a log, until it has ended."""

import sys
import time

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from api import words
from api.client import Json, Service

ENDED_BADLY = 1
INTERRUPTED = 130
"""As a shell names a program that SIGINT ended."""
ENDED = ("succeeded", "failed", "cancelled")
POLL_SECONDS = 1.0


def to_the_end(service: Service, id: str) -> None:
    """Show how far an experiment is until it has ended; exits with 1 where it ended badly."""
    try:
        with _progress() as progress:
            found = _follow(service, id, progress)
    except KeyboardInterrupt:
        click.echo(f"\n{id} goes on without us. See it again: hubel watch {id}; "
                   f"end it: hubel cancel {id}", err=True)  # fmt: skip
        sys.exit(INTERRUPTED)
    click.echo(words.status(found), err=True)
    if found["state"] != "succeeded":
        sys.exit(ENDED_BADLY)


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[what]}"),
        TextColumn("{task.fields[left]}"),
    )
    return Progress(*columns, console=Console(stderr=True))


def _follow(service: Service, id: str, progress: Progress) -> Json:
    bar = progress.add_task("", total=None, what="epochs", left="")
    told = -1
    while True:
        found = service.try_status(id)
        if found is None:
            progress.update(bar, left="no answer; asking again")
        else:
            _show(progress, bar, found)
            if not progress.console.is_terminal and (tenth := _tenths(found)) > told:
                told = tenth
                click.echo(words.line(found), err=True)
            if found["state"] in ENDED:
                return found
        time.sleep(POLL_SECONDS)


def _tenths(found: Json) -> int:
    """How much is done, for a log that wants a line now and then."""
    _, count = words.counted(found)
    return 10 * count["done"] // max(1, count["planned"])


def _show(progress: Progress, bar: TaskID, found: Json) -> None:
    what, count = words.counted(found)
    left = found.get("time_left_seconds")
    progress.update(
        bar,
        description=found["state"],
        completed=count["done"],
        total=count["planned"] or None,
        what=what,
        left="" if left is None or found["state"] in ENDED else f"{words.duration(left)} left",
    )
