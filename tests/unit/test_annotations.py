from datetime import UTC, datetime, timedelta

import shelf
from results_by_hand import plan_of, run_plan

from shared import tree
from shared.annotations import annotations
from shared.rows import Clock

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
CLOCK = Clock(BEGUN, BEGUN + timedelta(minutes=10), epochs=10)


def blur(start, end):
    return {"start": start, "end": end, "length": None, "name": "blur", "resolution": 4}


def test_a_window_that_many_runs_have_is_one_mark_in_the_experiments_own_time():
    runs = [run_plan(i, [], 10, seed=i, windows=[blur(0, 4)]) for i in range(22)]
    (mark,) = annotations(plan_of([], runs), runs, CLOCK)
    named = ", ".join(map(str, range(20)))
    assert mark == {
        "time": "2026-01-01T00:00:00.000Z",
        "timeEnd": "2026-01-01T00:04:00.000Z",
        "title": "blur(resolution=4)",
        "text": f"epochs 0 to 4, runs {named} and 2 more",
        "tags": "blur",
    }


def test_windows_that_differ_are_marks_of_their_own_and_an_empty_one_is_none():
    flip = {"start": 2, "end": 6, "length": None, "name": "vertical_flip"}
    runs = [
        run_plan(0, [], 10, windows=[blur(0, 0)]),
        run_plan(1, [], 10, windows=[blur(2, 6), flip]),
        run_plan(2, [], 10, windows=[blur(0, 6)]),
    ]
    found = [(mark["title"], mark["text"]) for mark in annotations(plan_of([], runs), runs, CLOCK)]
    assert found == [
        ("blur(resolution=4)", "epochs 0 to 6, run 2"),
        ("blur(resolution=4)", "epochs 2 to 6, run 1"),
        ("vertical_flip", "epochs 2 to 6, run 1"),
    ]


def test_a_change_of_the_training_is_a_moment():
    change = {
        "at": 5,
        "settings": {"batch_size": 32, "schedule": {"name": "constant"}},
        "optimizer_restart": True,
    }
    runs = [run_plan(i, [], 10, seed=i, changes=[change]) for i in range(2)]
    assert annotations(plan_of([], runs), runs, CLOCK) == [
        {
            "time": "2026-01-01T00:05:00.000Z",
            "timeEnd": "2026-01-01T00:05:00.000Z",
            "title": 'batch_size=32, schedule.name="constant", optimizer_restart',
            "text": "from epoch 5 on, runs 0, 1",
            "tags": "change",
        }
    ]


def test_a_restart_at_a_removal_is_marked_as_one():
    restarting = {"epochs_after_deficit": 5, "learning_rate_restart": "at_removal"}
    made = tree.make(shelf.paths(shelf.removal(0, 3, training=restarting)), shelf.Shelf())
    assert [made.changes(run) for run in made.runs] == [
        [],
        [{"at": 3, "learning_rate_restart": True}],
    ]
    marks = annotations(made, made.runs, CLOCK)
    assert [(one["title"], one["text"]) for one in marks] == [
        ("blur(resolution=4)", "epochs 0 to 3, run 1"),
        ("learning_rate_restart", "from epoch 3 on, run 1"),
    ]


def test_a_restart_that_was_asked_for_twice_is_one_change():
    asked = [{"at": 3, "set": {"optimizer_restart": True}}]
    training = {"epochs": 8, "optimizer_restart": "at_removal", "changes": asked}
    made = tree.make(shelf.paths(shelf.removal(3, training=training)), shelf.Shelf())
    assert made.changes(made.runs[0]) == [{"at": 3, "optimizer_restart": True}]
