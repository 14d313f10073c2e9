"""Questions asked several at a time: answers stay in order, and a miss ends the rush."""

import threading

from shared.ahead import AT_ONCE, answers


def asking(there, asked):
    def ask(n):
        asked.append(n)
        return n * n if n in there else None

    return ask


def test_answers_come_in_the_order_of_the_questions():
    asked = []
    found = list(answers(asking(range(100), asked), range(100)))
    assert found == [(n, n * n) for n in range(100)]
    assert sorted(asked) == list(range(100))


def test_who_finds_nothing_and_stops_has_asked_once():
    asked = []
    for _, found in answers(asking((), asked), range(100)):
        assert found is None
        break
    assert asked == [0]


def test_after_a_miss_questions_are_asked_one_by_one_again():
    asked = []
    for n, found in answers(asking(range(3), asked), range(100)):
        if found is None and n > 6:
            break
    assert max(asked) == 7  # 0; 1, 2; 3 to 6, where it began to fail; 7


def test_many_are_under_way_at_once():
    together = threading.Barrier(4, timeout=10)

    def ask(n):
        if 3 <= n < 7:
            together.wait()
        return n + 1

    assert len(list(answers(ask, range(4 * AT_ONCE)))) == 4 * AT_ONCE
