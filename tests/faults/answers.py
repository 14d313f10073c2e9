"""Answers of the store that are lost, torn, or other than what is stored, one at a time."""

from tests.faults.round import Round
from tests.faults.rule import AFTER, BEFORE, Rule

SPREAD = 60  # requests among which the first one that is hit is drawn


def bit_flips(round: Round) -> None:
    """On the way back, anywhere in anything that is read."""
    round.through(*_some(round, "flip", "GET", 12))


def bit_flips_in_blobs(round: Round) -> None:
    round.through(Rule("flip", AFTER, "GET", "blobs/.*", argument=_share(round),
                       nth=round.random.randint(1, 3)))  # fmt: skip


def bit_flips_in_records(round: Round) -> None:
    """In what has no digest of its own in its name."""
    kinds = ("segments/.*", "measurements/.*", "experiments/.*", "datasets/.*")
    round.through(*[
        Rule("flip", AFTER, "GET", kind, argument=_share(round), nth=round.random.randint(1, 8),
             times=3)
        for kind in kinds
    ])  # fmt: skip


def cuts_in_answers(round: Round) -> None:
    round.through(*_some(round, "cut", "GET", 10))


def cuts_in_uploads(round: Round) -> None:
    """The store gets half of a body."""
    round.through(*_some(round, "cut", "PUT", 6, BEFORE))


def lost_answers(round: Round) -> None:
    """Written, and nobody is told."""
    round.through(*_some(round, "drop", "PUT|DELETE", 8))


def errors_after_writing(round: Round) -> None:
    """Written, and said to have failed."""
    round.through(*_some(round, "answer", "PUT|DELETE", 8, argument=500))


def single_errors(round: Round) -> None:
    rules = _some(round, "answer", "GET|PUT|HEAD|DELETE", 12, BEFORE, argument=503)
    round.through(*rules)


def _some(round: Round, action: str, method: str, count: int, phase=AFTER, argument=None):
    """Rules that hit `count` requests, in bursts of up to four, which outlast a retry."""
    rules = []
    while count > 0:
        burst = min(count, round.random.randint(1, 4))
        value = _share(round) if argument is None else argument
        nth = round.random.randint(1, SPREAD if method == "GET" else SPREAD // 3)
        rules.append(Rule(action, phase, method, nth=nth, times=burst, argument=value))
        count -= burst
    return rules


def _share(round: Round) -> float:
    return round.random.random()
