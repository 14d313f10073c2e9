"""Plans: what is shared, what is stored, and that what is trained is what was planned."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelf import GRID, Shelf, body, paths, removal

from shared import plan, tree


def test_a_removal_sweep_trains_its_trunk_once():
    made = tree.make(paths(removal(0, 10, 20)), Shelf())
    # alone 15 + 25 + 35; shared: the trunk of 20, and 3 times 15
    assert made.epochs.model_dump() == {
        "alone": 75, "shared": 65, "stored": 0, "new": 65, "replayed": 0
    }  # fmt: skip


def test_the_papers_removal_sweep_costs_what_the_fact_sheet_counts():
    spec = body(
        training={"epochs_after_deficit": 160}, sweep={"deficit.end": list(range(0, 141, 20))}
    )
    assert tree.make(paths(spec), Shelf()).epochs.shared == 140 + 8 * 160


def test_the_papers_sliding_window_costs_what_the_fact_sheet_counts():
    spec = body(
        deficit={"name": "blur", "resolution": 4, "start": 0, "length": 40},
        training={"epochs_after_deficit": 160},
        sweep={"deficit.start": list(range(0, 141, 20))},
    )
    assert tree.make(paths(spec), Shelf()).epochs.shared == 140 + 8 * 200


def test_a_sliding_window_and_a_removal_sweep_share_across_experiments():
    shelf = Shelf()
    shelf.carry_out(tree.make(paths(removal(0, 20, training={"epochs": 60})), shelf))
    sliding = body(
        deficit={"name": "blur", "resolution": 4, "start": 0, "length": 20},
        training={"epochs": 60},
        sweep={"deficit.start": [0, 20, 40]},
    )
    made = tree.make(paths(sliding), shelf)
    # onset 0 is the removal at 20; onsets 20 and 40 leave the stored clean run at grid points.
    assert made.epochs.model_dump() == {
        "alone": 180, "shared": 160, "stored": 100, "new": 60, "replayed": 0
    }  # fmt: skip


def test_the_same_experiment_again_costs_nothing():
    shelf = Shelf()
    wanted = paths(removal(0, 10, 20))
    shelf.carry_out(tree.make(wanted, shelf))
    again = tree.make(wanted, shelf)
    assert (again.epochs.new, again.epochs.replayed) == (0, 0)
    assert shelf.carry_out(again) == 0


def test_a_second_experiment_pays_only_for_what_is_new():
    shelf = Shelf()
    shelf.carry_out(tree.make(paths(removal(0, 10, 20)), shelf))
    made = tree.make(paths(removal(0, 10, 20, 40)), shelf)
    assert (made.epochs.new, made.epochs.replayed) == (20 + 15, 0)
    assert shelf.carry_out(made) == 35


def test_a_fork_inside_a_stored_segment_replays_up_to_the_fork():
    shelf = Shelf()
    shelf.carry_out(tree.make(paths(removal(20)), shelf))
    made = tree.make(paths(removal(12)), shelf)
    assert (made.epochs.stored, made.epochs.new, made.epochs.replayed) == (12, 15, 12)
    assert shelf.carry_out(made) == 27


def test_requested_checkpoints_make_replays_needless():
    shelf = Shelf()
    shelf.carry_out(tree.make(paths(removal(20, checkpoints={"epochs": [12]})), shelf))
    made = tree.make(paths(removal(12)), shelf)
    assert made.epochs.replayed == 0


def test_checkpoints_asked_for_later_are_trained_to_and_kept():
    shelf = Shelf()
    shelf.carry_out(tree.make(paths(removal(20)), shelf))
    wanted = paths(removal(20, checkpoints={"epochs": [3, 12]}))
    made = tree.make(wanted, shelf)
    assert (made.epochs.stored, made.epochs.new, made.epochs.replayed) == (35, 0, 12)
    assert shelf.carry_out(made) == 12
    again = tree.make(wanted, shelf)
    assert (again.epochs.new, again.epochs.replayed) == (0, 0)
    assert [s.end for s in again.segments] == [3, 12, 20, 35]


def test_checkpoints_inside_many_stored_segments_are_planned_in_one_walk():
    shelf = Shelf()
    run = body(training={"epochs": 60 * GRID})
    shelf.carry_out(tree.make(paths(run), shelf))
    kept = [*range(5, 60 * GRID, GRID)]
    made = tree.make(paths(run | {"checkpoints": {"epochs": kept}}), shelf)
    assert (made.epochs.new, made.epochs.replayed) == (0, 60 * 5)
    assert shelf.carry_out(made) == 60 * 5


def test_a_new_run_costs_one_question_however_much_it_measures():
    shelf = Shelf()
    wanted = paths(body(training={"epochs": 200}, seeds=list(range(50)), fisher={"every": 1}))
    tree.make(wanted, shelf)
    assert shelf.asked == 50


def test_a_stored_run_is_not_asked_for_each_of_its_measurements():
    shelf = Shelf()
    wanted = paths(body(training={"epochs": 200}, fisher={"every": 1}))
    shelf.carry_out(tree.make(wanted, shelf))
    shelf.asked = 0
    assert not any(s.probes for s in tree.make(wanted, shelf).segments)
    assert shelf.asked == 1 + 200 // GRID


def test_however_much_is_asked_of_a_state_the_store_is_asked_once():
    shelf = Shelf()
    shelf.carry_out(tree.make(paths(removal(20)), shelf))
    shelf.asked = 0
    later = {"epochs": [20, 35], "images": ["clean", "deficit"], "split": ["train", "test"]}
    assert (
        sum(len(s.probes) for s in tree.make(paths(removal(20, fisher=later)), shelf).segments)
        == 16
    )
    assert shelf.asked == 3 + 2  # two segments, and whether there is any; two states


def test_a_probe_asked_for_later_replays_to_its_epoch_and_no_further():
    shelf = Shelf()
    shelf.carry_out(tree.make(paths(removal(20)), shelf))
    made = tree.make(paths(removal(20, fisher={"epochs": [7]})), shelf)
    assert (made.epochs.new, made.epochs.replayed) == (0, 7)
    assert shelf.carry_out(made) == 7
    assert tree.make(paths(removal(20, fisher={"epochs": [7]})), shelf).epochs.replayed == 0


def test_a_probe_at_a_kept_checkpoint_replays_nothing():
    shelf = Shelf()
    shelf.carry_out(tree.make(paths(removal(20)), shelf))
    made = tree.make(paths(removal(20, fisher={"epochs": [0, 20, 35], "beside": []})), shelf)
    assert made.epochs.replayed == 0
    assert sum(len(s.probes) for s in made.segments) == 3


def test_what_runs_share_is_measured_by_one_segment():
    clean = {"epochs": [0, 10], "images": "clean", "beside": []}
    made = tree.make(paths(removal(0, 10, 20, fisher=clean)), Shelf())
    # All runs share their initial state, though not their first segments; two share that at 10.
    assert sorted(e for s in made.segments for e, _ in s.probes) == [0, 10, 10]


def test_with_reuse_off_every_run_is_trained_alone():
    shelf = Shelf()
    wanted = paths(removal(0, 10, 20))
    shelf.carry_out(tree.make(wanted, shelf))
    made = tree.make(paths(removal(0, 10, 20), lambda run: f"alone/{run}/"), shelf)
    assert made.epochs.new == made.epochs.alone == 75
    assert shelf.carry_out(made) == 75


def test_segments_are_never_longer_than_the_grid():
    made = tree.make(paths(body(training={"epochs": 100})), Shelf())
    assert [(s.start, s.end) for s in made.segments] == [(e, e + GRID) for e in range(0, 100, GRID)]


def test_measuring_does_not_change_what_is_trained():
    plain = tree.make(paths(removal(0, 10)), Shelf())
    measured = tree.make(paths(removal(0, 10, fisher={"every": 3})), Shelf())
    assert [s.key for s in plain.segments] == [s.key for s in measured.segments]


def test_a_plan_survives_json():
    made = tree.make(paths(removal(0, 10, fisher={"every": 5})), Shelf())
    assert plan.Plan.model_validate_json(made.model_dump_json()) == made


experiments = st.fixed_dictionaries(
    {
        "training": st.integers(1, 45).map(lambda n: {"epochs_after_deficit": n}),
        "seeds": st.sampled_from([[0], [0, 1]]),
        "sweep": st.lists(st.integers(0, 50), min_size=1, max_size=4, unique=True).map(
            lambda ends: {"deficit.end": ends}
        ),
        "checkpoints": st.lists(st.integers(0, 60), max_size=3).map(lambda e: {"epochs": e}),
        "fisher": st.one_of(
            st.none(),
            st.lists(st.integers(0, 60), min_size=1, max_size=3).map(lambda e: {"epochs": e}),
        ),
        "reuse": st.sampled_from([True, True, True, False]),
    }
)


def within(asked):
    """With epochs after the end of every run, which are refused, moved to that end."""
    end = max(asked["sweep"]["deficit.end"]) + asked["training"]["epochs_after_deficit"]
    measured = {part: asked[part] for part in ("checkpoints", "fisher") if asked[part]}
    clipped = {k: {"epochs": [min(e, end) for e in v["epochs"]]} for k, v in measured.items()}
    return asked | clipped


@settings(max_examples=200, deadline=None)
@given(st.lists(experiments, min_size=1, max_size=5))
def test_what_is_trained_is_what_was_planned_whatever_came_before(sequence):
    shelf = Shelf()
    for number, asked in enumerate(sequence):
        shared = asked["reuse"]
        wanted = paths(
            body(**within(asked)),
            lambda run, n=number, shared=shared: "" if shared else f"alone/{n}/{run}/",
        )
        made = tree.make(wanted, shelf)
        epochs = made.epochs
        assert epochs.stored + epochs.new == epochs.shared <= epochs.alone
        assert shelf.carry_out(made) == epochs.new + epochs.replayed
        for path, run in zip(wanted, made.runs, strict=True):
            assert_whole(path, made, run)
            scope = made.segments[run.segments[0]].scope
            for epoch in path.checkpoints:
                is_state = 0 < epoch <= path.epochs
                assert not is_state or shelf.manifest(scope, path.keys[epoch]), "no checkpoint"
            for epoch, key, digest in run.probes:
                assert digest in shelf.probed(scope, key), f"epoch {epoch} was not measured"


def assert_whole(path, made, run):
    """The run's segments are stored, end to end, and every state has its own name."""
    reached = 0
    for segment in (made.segments[i] for i in run.segments):
        assert segment.start == reached
        assert segment.parent == path.keys[segment.start]
        assert segment.keys == path.keys[segment.start + 1 : segment.end + 1]
        assert segment.stretches[0].start == segment.start
        assert segment.stretches[-1].end == segment.end
        reached = segment.end
    assert reached == path.epochs


def test_probes_on_current_clean_and_deficit_images_are_told_apart():
    images = ["current", "clean", "deficit"]
    spec = removal(10, fisher={"epochs": [5, 20], "images": images, "beside": []})
    made = tree.make(paths(spec), Shelf())
    shown = {
        (epoch, tuple(d["name"] for d in made.probes[digest]["stimulus"]))
        for epoch, _, digest in made.runs[0].probes
    }
    # At 5 the current images are the deficit's, at 20 they are clean: two measurements each.
    assert shown == {(5, ("blur",)), (5, ()), (20, ("blur",)), (20, ())}
    assert len(made.runs[0].probes) == 4


@pytest.mark.parametrize("ends", [[5, 10], [10, 5]])
def test_the_order_of_the_sweep_does_not_change_the_work(ends):
    made = tree.make(paths(removal(*ends)), Shelf())
    assert {s.key for s in made.segments} == {
        s.key for s in tree.make(paths(removal(5, 10)), Shelf()).segments
    }


def test_deficit_images_are_those_that_the_run_is_shown_at_some_time():
    windows = [
        {"name": "blur", "resolution": 4, "start": 0, "end": 5},
        {"name": "vertical_flip", "start": 3, "end": 8},
        {"name": "noise", "start": 10, "end": 12},
        {"name": "weight_decay", "value": 0.0, "start": 0, "end": 12},
        {"name": "contrast", "factor": 0.5, "start": 0, "end": 0},
    ]
    fisher = {"epochs": [1], "images": "deficit", "beside": []}
    (path,) = paths(body(deficit=None, deficits=windows, fisher=fisher))
    named = [[one["name"] for one in probe["stimulus"]] for _, probe, _ in path.probes]
    assert named == [["blur"], ["blur", "vertical_flip"], ["vertical_flip"], ["noise"],
                     ["contrast"]]  # fmt: skip


def test_deficit_images_of_a_run_without_a_deficit_are_clean():
    fisher = {"epochs": [1], "images": "deficit", "beside": []}
    (path,) = paths(body(deficit=None, fisher=fisher))
    assert [probe["stimulus"] for _, probe, _ in path.probes] == [[]]
