"""A worker whose clock is an hour off, by libfaketime."""

import time
from importlib.metadata import distribution
from pathlib import Path

from tests.faults.round import Round, stopped
from tests.faults.rule import AFTER, Rule

TRIED_SECONDS = 60
"""Within which it should have tried something: it imports torch first."""


def hour_ahead(round: Round) -> None:
    _with_clock(round, "+1h")


def hour_behind(round: Round) -> None:
    _with_clock(round, "-1h")


def _with_clock(round: Round, shift: str) -> None:
    """Beside healthy workers. The store refuses its signatures: it can do nothing, and must not
    make anything fail."""
    env = {"LD_PRELOAD": str(library()), "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    child = round.site.start("worker.main", env)
    tried = Rule("pass", AFTER, method=".*", who="worker.main", times=None)
    try:
        with round.site.store.holding(tried):
            # The healthy ones stand back until this one has taken something.
            with stopped(*round.site.parents, *round.site.children):
                sweep = round.sweep()
                sweep.submit()
                round.await_hit(tried, TRIED_SECONDS)
                round.injected += 1
                time.sleep(1)
            round.await_end(sweep)
    finally:
        child.kill()
        round.site.extra.remove(child)


def library() -> Path:
    for file in distribution("libfaketime").files or []:
        if file.name == "libfaketime.so.1":
            return Path(str(file.locate())).resolve()
    raise FileNotFoundError("libfaketime has no library for this platform")
