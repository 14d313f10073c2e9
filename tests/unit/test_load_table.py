"""What the load bench's document says is what was measured, and what went wrong is not left out."""

import json
from pathlib import Path

import pytest

from tests.bench import load_table

BENCH = Path(load_table.__file__).parent


@pytest.fixture
def found():
    return json.loads((BENCH / "LOAD.json").read_text())


def test_the_document_is_made_of_the_numbers_beside_it(found):
    assert (BENCH / "LOAD.md").read_text() == load_table.markdown(found)


def test_answers_other_than_2xx_are_errors_but_for_equal_posts_asked_to_come_again(found):
    assert load_table.errors(found) == {}
    found["found"]["Hubel"]["paced"][1]["statuses"] |= {"503": 3, "ConnectionResetError": 1}
    found["found"]["Hubel"]["submit"][0]["statuses"]["409"] = 1
    found["same"]["no key"]["statuses"][0] |= {"409": 7, "500": 2}
    expected = {"Hubel: paced": 4, "Hubel: submit": 1, "equal POSTs, no key": 2}
    assert load_table.errors(found) == expected
    (row,) = (r for r in load_table.markdown(found).splitlines() if "| paced status | Hubel" in r)
    assert row.endswith("| 4 |")
