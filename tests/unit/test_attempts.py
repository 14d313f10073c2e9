"""When a piece of work is tried again."""

import time

import pytest

from shared.attempts import Attempt, Failure, History
from shared.settings import Settings
from worker import last_words

SETTINGS = Settings(retry_seconds=8)


def ended(seconds_ago: float) -> History:
    failure = Failure("error", "ValueError", "wrong")
    at = time.time() - seconds_ago
    return History([Attempt(at - 1, "a worker", at, failure)])


def test_a_try_is_paused_for_after_the_one_before() -> None:
    assert ended(3).pause(SETTINGS) == pytest.approx(5, abs=0.5)
    assert ended(9).pause(SETTINGS) < 0


def test_by_a_clock_that_is_behind_nothing_is_put_off() -> None:
    assert ended(-40).pause(SETTINGS) == 0
    assert ended(-0.5).pause(SETTINGS) > 0, "clocks that keep time differ by so much"


def test_a_worker_is_named_alike_when_its_machine_is_named_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lease that a parent takes is the one that its child takes over."""
    before = last_words.supervisor_name(4711)
    monkeypatch.setattr(last_words.socket, "gethostname", lambda: "elsewhere")
    assert last_words.supervisor_name(4711) == before
