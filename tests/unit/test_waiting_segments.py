"""What looks at two runs is measured by a segment of its own, which waits for both."""

import pytest
from shelf import Shelf, body, paths, removal

from api.tracker import Tracker
from shared import job, linear_path, tree
from shared.attempts import Attempts
from shared.errors import Invalid
from shared.measurements import LaterMeasurements, LinearPath
from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.work import work_name

LINE = LinearPath(points=3, samples=16)


def planned(spec, shelf, scope=lambda run: ""):
    return tree.make(linear_path.added(paths(spec, scope), LINE), shelf)


def waiting(made):
    return [segment for segment in made.segments if segment.only_measures]


def test_each_run_with_a_deficit_waits_for_the_run_without_and_trains_as_before():
    shelf, spec = Shelf(), removal(0, 10, 20)
    made, plain = planned(spec, shelf), tree.make(paths(spec), shelf)
    assert made.epochs == plain.epochs
    assert [s.key for s in made.segments if not s.only_measures] == [s.key for s in plain.segments]
    clean, *late = made.runs
    final = made.segments[clean.segments[-1]]
    assert len(waiting(made)) == 2
    for run in late:
        *_, trained, measuring = (made.segments[i] for i in run.segments)
        assert (measuring.key, measuring.start, measuring.end) == (trained.key, *2 * [trained.end])
        assert measuring.needs == [(final.scope, final.key)]
        assert len(measuring.probes) == 1
        assert made.keys(run) == plain.keys(plain.runs[run.index])
    assert shelf.carry_out(made) == plain.epochs.new
    again = planned(spec, shelf)
    assert waiting(again) == []
    for plan in (made, again):  # whoever mends a state mends the line that begins in it
        ends = [segment for segment in plan.segments if segment.key == late[0].probes[-1][1]]
        asked = [one for segment in ends for one in plan.probed(segment)]
        assert asked == [(late[0].epochs, late[0].probes[-1][2])]


def test_a_plan_without_lines_is_written_as_before():
    made = tree.make(paths(removal(0, 10)), Shelf())
    assert all("needs" not in segment for segment in made.model_dump()["segments"])


def test_a_run_whose_partner_has_failed_is_trained_and_says_why_it_is_not_whole():
    made = planned(removal(0, 10), Shelf())
    tracker = Tracker("e", made)
    clean, late = made.runs
    broken = clean.segments[-1]
    *trained, measuring = late.segments
    tracker.done |= {*trained, *clean.segments[:-1]} - {broken}
    tracker.failed[broken] = {"kind": "error", "reason": "broken"}
    assert tracker.finished()
    own, waiting_for_it = tracker.failures()
    assert (own["run"], own["reason"]) == (clean.index, "broken")
    assert (waiting_for_it["run"], waiting_for_it["epoch"]) == (late.index, late.epochs)
    assert waiting_for_it["reason"] == "run 0, which it is compared with, failed: broken"
    del tracker.failed[broken]
    assert tracker.ready() == [broken]
    tracker.done.add(broken)
    assert tracker.ready() == [measuring]


def test_a_line_is_work_of_its_own_beside_the_training_up_to_its_state():
    made = planned(removal(0, 10), Shelf())
    names = [work_name(segment) for segment in made.segments]
    assert len(set(names)) == len(names)
    prefixes = {Attempts.of_segment(None, "1" * 24, segment).prefix for segment in made.segments}
    assert len(prefixes) == len(names)


def test_a_line_that_no_two_runs_are_the_ends_of_is_refused():
    with pytest.raises(Invalid, match="there is no line"):
        linear_path.check(LINE, linear_path.added(paths(removal(10, 20)), LINE))


def test_both_states_wake_the_segment_that_waits_for_them():
    made = planned(removal(0, 10), Shelf())
    clean, late = made.runs
    *_, trained, measuring = late.segments
    assert measuring in made.children(trained)
    assert measuring in made.children(clean.segments[-1])
    assert list(made.children(measuring)) == []


def test_runs_without_reuse_wait_for_partners_of_their_own_names():
    made = planned(removal(0, 10), Shelf(), scope=lambda run: f"alone/{run}/")
    assert [segment.needs[0][0] for segment in waiting(made)] == ["alone/0/"]


def later(shelf, spec, plan, **asked):
    return job.plan_for(
        LaterMeasurements.model_validate(asked),
        ExperimentSpec.model_validate(spec),
        plan,
        shelf,
        Settings(),
    )


def test_a_line_asked_for_later_brings_the_partner_along_and_measures_nothing_else_of_it():
    shelf, spec = Shelf(), removal(0, 10, 20)
    plan = tree.make(paths(spec), shelf)
    shelf.carry_out(plan)
    asked = {"linear_path": {"points": 5}, "filters": {}, "runs": [2]}
    made = later(shelf, spec, plan, **asked)
    assert [run.index for run in made.runs] == [0, 2]
    assert [bool(run.probes) for run in made.runs] == [False, True]
    assert (len(waiting(made)), made.epochs.new, made.epochs.replayed) == (1, 0, 0)
    shelf.carry_out(made)
    assert job.counts(later(shelf, spec, plan, **asked))["new"] == 0


def test_where_no_run_ended_without_a_deficit_a_line_is_refused():
    shelf, spec = Shelf(), removal(0, 10)
    plan = tree.make(paths(spec), shelf)
    shelf.carry_out(plan, at_most=1)
    with pytest.raises(Invalid) as refused:
        later(shelf, spec, plan, linear_path={})
    assert [fault.pointer for fault in refused.value.faults] == ["/linear_path"]
    alone = body(sweep={}, deficit=None)
    plan = tree.make(paths(alone), shelf)
    shelf.carry_out(plan)
    with pytest.raises(Invalid, match="partner"):
        later(shelf, alone, plan, linear_path={})
