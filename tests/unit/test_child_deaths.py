"""A child that ends itself is counted by itself: its parent finds nothing left to write down."""

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared.attempts import Attempts
from shared.errors import StoreUnavailable
from worker import meters
from worker.tries import HUNG, Tries


class Ended(BaseException):
    pass


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Tries:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    made = object.__new__(Tries)
    made.name, made.open = "here:1:2", {}
    made.words = cast(Any, SimpleNamespace(stacks=lambda: None, tail=lambda: ""))
    made.live = cast(Any, SimpleNamespace(release=lambda *_: None))
    return made


def hang(tries: Tries, fail: Any) -> float:
    """How often it was counted."""
    before = meters.DEATHS["hung"]._value.get()
    with pytest.raises(Ended, match=str(HUNG)):
        tries._hung(cast(Attempts, SimpleNamespace(fail=fail)), "attempt", "work", 20.0)
    return meters.DEATHS["hung"]._value.get() - before


def test_a_child_that_hangs_and_says_so_is_counted(tries: Tries) -> None:
    assert hang(tries, lambda *_: None) == 1


def test_one_that_could_not_say_so_is_left_to_its_parent(tries: Tries) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("away")

    assert hang(tries, fail) == 0
