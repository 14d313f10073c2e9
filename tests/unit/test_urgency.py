"""What to train first, and how long some workers then take: against answers known by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_by_hand import plan_of, segment
from shelf import Shelf, body, paths, removal

from shared import cost, tree, urgency
from shared.makespan import makespan, precedence, schedule


def chain(plan, *parents):
    """Segments of one epoch each; each parent is an index, or None for a root."""
    for i, parent in enumerate(parents):
        part = plan.segments[i]
        part.start = 0 if parent is None else plan.segments[parent].end
        part.end = part.start + 1
        part.parent = "" if parent is None else plan.segments[parent].key
    return plan


def tree_of(*parents):
    return chain(plan_of([segment(f"s{i}", 0, 1) for i in range(len(parents))], []), *parents)


def lasts(*given, **more):
    return makespan(schedule(*given, **more))


def test_a_removal_sweep_trains_the_trunk_first_and_then_the_latest_removal():
    made = tree.make(paths(removal(0, 10, 20)), Shelf())
    left = urgency.remaining(made)
    epoch = cost.device_seconds(made.configs[0], 1)
    # The last run is 20 epochs of trunk and 15 after it; the first 15 from the start.
    longest = {run.epochs: left[run.segments[0]] / epoch for run in made.runs}
    assert longest == pytest.approx({15: 15, 25: 35, 35: 35})
    last = made.runs[2].segments
    assert [left[i] / epoch for i in last] == pytest.approx(
        [35 - made.segments[i].start for i in last]
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=5, unique=True), st.integers(1, 40))
def test_what_is_left_from_a_segment_is_its_own_cost_and_the_most_of_what_follows(ends, after):
    spec = body(sweep={"deficit.end": ends}, training={"epochs_after_deficit": after})
    made = tree.make(paths(spec), Shelf())
    left = urgency.remaining(made)
    for i, part in enumerate(made.segments):
        own = cost.device_seconds(made.configs[part.config], part.planned)
        following = [left[j] for j in made.children(i)]
        assert all(left[i] >= own + one - 1e-9 for one in following)
        assert left[i] == pytest.approx(own + max(following, default=0.0))
    assert max(left) == pytest.approx(
        max(cost.device_seconds(made.configs[run.config], run.epochs) for run in made.runs)
    )


def test_what_is_stored_costs_nothing_and_still_leads_to_what_is_left():
    shelf = Shelf()
    shelf.carry_out(tree.make(paths(removal(0, 10)), shelf))
    made = tree.make(paths(removal(0, 10, 20)), shelf)
    left, epoch = urgency.remaining(made), cost.device_seconds(made.configs[0], 1)
    trunk = made.runs[2].segments[0]
    assert made.segments[trunk].stored
    assert left[trunk] == pytest.approx(25 * epoch)


def test_a_long_path_that_starts_late_is_what_first_come_first_served_pays_for():
    #  0, 1, 2, 3 alone, and a path of four: 4, 5, 6, 7
    made = tree_of(None, None, None, None, None, 4, 5, 6)
    order, seconds = precedence(made), [1.0] * 8
    left = urgency.longest_paths(made, seconds)
    assert left[4:] == [4, 3, 2, 1]
    assert lasts(order, seconds, 2, left) == max(sum(seconds) / 2, max(left)) == 4
    assert lasts(order, seconds, 2) == 6
    assert lasts(order, seconds, 1) == lasts(order, seconds, 1, left) == 8
    assert lasts(order, seconds, 8) == 4


def test_what_is_begun_takes_what_is_left_of_it_and_what_waits_for_a_failure_is_never_done():
    made = tree_of(None, 0, 0, None)
    order = precedence(made)
    seconds = [10.0, 4.0, 6.0, 3.0]
    left = urgency.longest_paths(made, seconds)
    assert lasts(order, seconds, 2, left, todo=[1, 2, 3], done=[0]) == 7
    assert lasts(order, seconds, 2, left, begun={0: 1.5}) == 7.5
    assert lasts(order, seconds, 2, left, todo=[1, 2, 3]) == 3  # 0 has failed


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_list_scheduling_is_never_worse_than_twice_the_bound(data):
    count = data.draw(st.integers(2, 12))
    parents = [None, *(data.draw(st.none() | st.integers(0, i - 1)) for i in range(1, count))]
    made, workers = tree_of(*parents), data.draw(st.integers(1, 4))
    seconds = [data.draw(st.floats(0.1, 5)) for _ in parents]
    left = urgency.longest_paths(made, seconds)
    least = max(sum(seconds) / workers, max(left))
    for order in (left, None):
        found = lasts(precedence(made), seconds, workers, order)
        assert least - 1e-9 <= found <= (2 - 1 / workers) * least + 1e-9  # Graham 1966
