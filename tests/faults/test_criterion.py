"""When a run of `make faults` may say that it has shown what it is there to show."""

import pytest

from tests.faults.criterion import shortcomings
from tests.faults.table import PRODUCTION, Table


def played(kinds=12, faults=190, at_production_values=10):
    """So many kinds, so many faults spread over them, and so many more at production values."""
    table = Table()
    for index in range(kinds):
        table.add(f"kind {index}", faults // kinds + (index < faults % kinds), [], 1)
    for index in range(at_production_values):
        table.add(f"kind {index}{PRODUCTION}", 1, [], 60)
    return table


def test_a_full_run_with_enough_of_everything_falls_short_of_nothing():
    assert shortcomings(played(), 30, may_skip=False) == []


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (played(faults=189), "199 faults were injected, expected 200 at least"),
        (played(kinds=11), "11 kinds of fault were injected, expected 12 at least"),
        (
            played(faults=191, at_production_values=9),
            "9 faults at production values were injected, expected 10 at least",
        ),
    ],
)
def test_a_full_run_with_too_few_fails_and_a_shorter_one_does_not(table, said):
    assert shortcomings(table, 30, may_skip=False) == [said]
    assert shortcomings(table, 29, may_skip=False) == []


def test_a_kind_at_production_values_is_the_same_kind():
    assert played().kinds == 12


@pytest.mark.parametrize("kind", ["Redis away", f"Redis away{PRODUCTION}"])
@pytest.mark.parametrize("minutes", [5, 30])
def test_a_kind_that_was_missed_in_every_round_fails_a_run_of_any_length(kind, minutes):
    table = played()
    table.miss(kind)
    table.miss(kind)
    assert shortcomings(table, minutes, may_skip=False) == [f"{kind}: missed in every round"]
    table.add(kind, 1, [], 8)
    assert shortcomings(table, minutes, may_skip=False) == []


def test_a_skipped_kind_is_in_the_table_and_fails_a_run_that_may_not_skip():
    table = played()
    table.skipped["disk full"] = "nothing can be mounted"
    assert "disk full" in str(table)
    assert table.kinds == 12
    assert shortcomings(table, 5, may_skip=True) == []
    assert shortcomings(table, 5, may_skip=False) == ["disk full: skipped, nothing can be mounted"]


def test_a_run_that_injected_nothing_fails():
    assert shortcomings(Table(), 0, may_skip=True) == ["nothing was injected"]
