"""What the scale bench says is what its simulated workers wrote down."""

import json
from pathlib import Path

import pytest

from tests.bench import scale_events, scale_table
from tests.bench.scale_system import Work

BENCH = Path(scale_table.__file__).parent


@pytest.fixture
def story(tmp_path):
    """A worker that trains a segment and its child, another that waits and has the last one."""
    (tmp_path / "a").write_text(
        "1.0 free a \n3.0 taken a root\n7.0 done a root\n7.5 free a \n8.5 taken a child\n"
        "9.0 free a \n"
    )
    (tmp_path / "b").write_text("2.0 free b \n9.0 taken b other\n9.5 error b it broke\n")
    return scale_events.read([tmp_path / "a", tmp_path / "b"])


def test_the_document_is_made_of_the_numbers_beside_it():
    found = json.loads((BENCH / "SCALE.json").read_text())
    assert (BENCH / "SCALE.md").read_text() == scale_table.markdown(found)


def test_work_waits_from_when_its_parent_was_stored_or_its_experiment_accepted(story):
    works = {"root": Work(None, 2.5), "child": Work("root", 2.5), "other": Work("nobody's", 2.5)}
    assert scale_events.waits(story, works, story.done, 0, 100) == [0.5, 1.5]
    assert scale_events.waits(story, works, story.done, 4, 100) == [1.5]


def test_a_worker_is_idle_between_two_segments_and_after_its_last(story):
    ended, seconds = scale_events.idle(story, 2, 12)
    assert sorted(ended) == [1.0, 2.0, 7.0]
    assert seconds == (3 - 2) + (8.5 - 7.5) + (12 - 9) + (9 - 2)
    assert story.errors == ["it broke"]


def test_percentiles_are_values_that_were_measured():
    assert scale_events.summary([3.0, 1.0, 2.0]) == {"n": 3, "p50": 2.0, "p99": 3.0, "most": 3.0}
    assert scale_events.summary([]) == {"n": 0}
