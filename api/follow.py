"""Following an experiment in a terminal, or in a log, until it has ended."""

import sys
import time

import click
from rich.console import Console

from api import run_bars, words
from api.client import Json, Service
from api.lifecycle import ENDED

ENDED_BADLY = 1
INTERRUPTED = 130
"""As a shell names a program that SIGINT ended."""
POLL_SECONDS = 1.0


def to_the_end(service: Service, id: str) -> None:
    """Show how far an experiment is until it has ended; exits with 1 where it ended badly."""
    console = Console(stderr=True)
    try:
        if console.is_terminal:
            found = run_bars.to_the_end(service, id, console)
        else:
            found = _logged(service, id)
    except KeyboardInterrupt:
        click.echo(f"\n{id} goes on without us. See it again: hubel watch {id}; "
                   f"end it: hubel cancel {id}", err=True)  # fmt: skip
        sys.exit(INTERRUPTED)
    click.echo(words.status(found), err=True)
    if found["state"] != "succeeded":
        sys.exit(ENDED_BADLY)


def _logged(service: Service, id: str) -> Json:
    """A line now and then, for a log."""
    told = -1
    while True:
        found = service.try_status(id)
        if found is not None:
            if (tenth := _tenths(found)) > told:
                told = tenth
                click.echo(words.line(found), err=True)
            if found["state"] in ENDED:
                return found
        time.sleep(POLL_SECONDS)


def _tenths(found: Json) -> int:
    """How much is done, for a log that wants a line now and then."""
    _, count = words.counted(found)
    return 10 * count["done"] // max(1, count["planned"])
