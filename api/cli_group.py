"""How the command line ends where the terminal, a pipe or a disk ends first: quietly."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from api.client import REFUSED
from api.follow import INTERRUPTED

NOBODY_READS = 141
"""As a shell names a program that SIGPIPE ended."""


class Commands(click.Group):
    def make_context(self, *args: Any, **more: Any) -> click.Context:
        with _ending():
            return super().make_context(*args, **more)

    def invoke(self, context: click.Context) -> Any:
        with _ending():
            return super().invoke(context)


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    if isinstance(sys.stdout, io.TextIOWrapper):  # what it cannot show shall not end the program
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
    except KeyboardInterrupt:
        click.echo(err=True)
        sys.exit(INTERRUPTED)
    except OSError as error:
        _stop_writing()
        if error.errno == errno.EPIPE:
            sys.exit(NOBODY_READS)
        with contextlib.suppress(OSError):
            click.echo(f"The output cannot be written: {error.strerror}", err=True)
        sys.exit(REFUSED)


def _stop_writing() -> None:
    """Python would write what is left, and fail again, on its way out."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
