"""Answers in order, with several questions to the store under way: each takes a network's time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")

AT_ONCE = 16

_askers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ahead")


def each(ask: Callable[..., Answer], *questions: Sequence[Any]) -> list[Answer]:
    """All answers, in order. In threads of its own: to ask may itself be to ask ahead."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="each") as askers:
        return list(askers.map(ask, *questions))


def answers(
    ask: Callable[[Question], Answer | None], questions: Sequence[Question]
) -> Iterator[tuple[Question, Answer | None]]:
    """Each question with its answer. One is asked first, then twice as many each time while there
    are answers: who finds nothing, and stops, has asked for little."""
    todo, wave = iter(questions), 1
    while asked := list(islice(todo, wave)):
        found = [ask(asked[0])] if wave == 1 else list(_askers.map(ask, asked))
        yield from zip(asked, found, strict=True)
        wave = min(2 * wave, AT_ONCE) if all(one is not None for one in found) else 1
