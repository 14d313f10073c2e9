"""Measurement jobs: nothing is trained for them, and nothing is measured twice."""

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from shelf import Shelf, body, paths, removal

from shared import job, tree
from shared.errors import Invalid
from shared.measurements import LaterMeasurements
from shared.settings import Settings
from shared.spec import ExperimentSpec

SIGNS = {"beside": []}
"""One measurement at each epoch."""


def later(shelf, spec_body, plan, limits=None, **asked):
    return job.plan_for(
        LaterMeasurements.model_validate(asked),
        ExperimentSpec.model_validate(spec_body),
        plan,
        shelf,
        Settings(**(limits or {})),
    )


def trained(spec_body, at_most=None, scope=lambda run: ""):
    """The store and the plan of an experiment that was carried out, or a part of it."""
    shelf = Shelf()
    plan = tree.make(paths(spec_body, scope), shelf)
    shelf.carry_out(plan, at_most)
    return shelf, plan


def test_without_epochs_every_kept_checkpoint_is_measured_and_nothing_replayed():
    spec = removal(0, 10, 20)
    shelf, plan = trained(spec)
    made = later(shelf, spec, plan, fisher=SIGNS)
    assert made.epochs.model_dump() == {
        "alone": 75, "shared": 65, "stored": 65, "new": 0, "replayed": 0
    }  # fmt: skip
    ends = [sorted({epoch for epoch, _, _ in run.probes}) for run in made.runs]
    assert ends == [[0, 15], [0, 10, 20, 25], [0, 10, 20, 35]]
    assert all(s.stored for s in made.segments)


def test_epochs_between_checkpoints_are_replayed_from_the_nearest_one():
    spec = removal(20)
    shelf, plan = trained(spec)
    made = later(shelf, spec, plan, fisher=SIGNS | {"epochs": [7, 25]})
    assert (made.epochs.new, made.epochs.replayed) == (0, 7 + 5)
    assert shelf.carry_out(made) == 12


def test_what_is_measured_already_is_not_measured_again():
    spec = removal(0, 10, fisher={"epochs": [0, 10]})
    shelf, plan = trained(spec)
    same = later(shelf, spec, plan, fisher={"epochs": [0, 10]})
    assert not any(s.probes for s in same.segments)
    assert job.counts(same)["new"] == 0
    assert job.counts(same)["stored"] == job.counts(same)["asked"] > 0
    more = later(shelf, spec, plan, fisher={"epochs": [0, 10], "split": ["train", "test"]})
    assert job.counts(more)["new"] == job.counts(same)["asked"]


def test_a_job_measures_the_runs_that_it_names_under_their_own_numbers():
    spec = removal(0, 10, 20)
    shelf, plan = trained(spec)
    made = later(shelf, spec, plan, fisher=SIGNS, runs=[2, 1, 2])
    assert [run.index for run in made.runs] == [1, 2]
    assert [run.point for run in made.runs] == [run.point for run in plan.runs[1:]]


def test_of_an_experiment_under_way_that_part_is_measured_which_is_stored():
    spec = body(training={"epochs": 60})
    shelf, plan = trained(spec, at_most=0)
    shelf.carry_out(plan.model_copy(update={"segments": plan.segments[:2]}))
    made = later(shelf, spec, plan, fisher=SIGNS | {"every": 15})
    assert (made.runs[0].epochs, [e for e, _, _ in made.runs[0].probes]) == (40, [0, 15, 30])


def test_a_planned_stop_is_measured_up_to_where_it_stopped():
    spec = body(training={"epochs": 60})
    shelf, plan = trained(spec, at_most=1)
    made = later(shelf, spec, plan, fisher=SIGNS)
    assert [epoch for epoch, _, _ in made.runs[0].probes] == [0, 10]


def test_a_run_that_has_not_begun_is_measured_in_its_initial_state_alone():
    spec = removal(0, 10)
    shelf, plan = trained(spec, at_most=0)
    made = later(shelf, spec, plan, fisher=SIGNS | {"images": "clean"})
    (segment,) = made.segments
    assert (segment.start, segment.end, segment.keys) == (0, 0, [])
    assert [run.epochs for run in made.runs] == [0, 0]
    assert [run.segments for run in made.runs] == [[0], [0]]
    assert shelf.carry_out(made) == 0
    again = later(shelf, spec, plan, fisher=SIGNS | {"images": "clean"})
    assert again.segments == []
    assert job.counts(again) == {"asked": 1, "stored": 1, "new": 0}


def test_an_epoch_beyond_what_is_stored_is_refused_with_where_that_ends():
    spec = body(training={"epochs": 60})
    shelf, plan = trained(spec, at_most=1)
    with pytest.raises(Invalid, match="stored up to epoch 10") as refusal:
        later(shelf, spec, plan, second_order={"epochs": [3, 11, 60]})
    assert [f.pointer for f in refusal.value.faults] == [
        "/second_order/epochs/1", "/second_order/epochs/2"
    ]  # fmt: skip


def test_an_epoch_that_one_run_reaches_is_measured_there():
    spec = removal(0, 20)
    shelf, plan = trained(spec)
    made = later(shelf, spec, plan, fisher=SIGNS | {"epochs": [35]})
    assert [[e for e, _, _ in run.probes] for run in made.runs] == [[], [35]]


def test_a_run_that_is_not_there_is_refused_by_its_place():
    spec = removal(0, 10)
    shelf, plan = trained(spec)
    with pytest.raises(Invalid, match="there is no run 2: the last one is 1") as refusal:
        later(shelf, spec, plan, fisher={}, runs=[0, 2])
    assert refusal.value.faults[0].pointer == "/runs/1"


@pytest.mark.parametrize(
    ("limits", "word", "pointer"),
    [
        ({"max_runs": 1}, "HUBEL_MAX_RUNS", "/runs"),
        ({"max_epochs": 6}, "HUBEL_MAX_EPOCHS", ""),
        ({"max_device_hours": 1e-9}, "HUBEL_MAX_DEVICE_HOURS", ""),
    ],
)
def test_the_limits_of_planning_hold_for_jobs(limits, word, pointer):
    spec = removal(0, 20)
    shelf, plan = trained(spec)
    with pytest.raises(Invalid, match=word) as refusal:
        later(shelf, spec, plan, limits, fisher={"epochs": [7]})
    assert refusal.value.faults[0].pointer == pointer


def test_runs_without_reuse_are_measured_where_their_own_states_are():
    spec = removal(0, 10)
    shelf, plan = trained(spec, scope=lambda run: f"experiments/x/alone/{run}/")
    made = later(shelf, spec, plan, fisher=SIGNS | {"epochs": [0, 5]})
    assert (made.epochs.stored, made.epochs.new, made.epochs.replayed) == (40, 0, 10)
    assert {s.scope for s in made.segments} == {f"experiments/x/alone/{run}/" for run in (0, 1)}
    shelf.carry_out(made)
    assert job.counts(later(shelf, spec, plan, fisher=SIGNS | {"epochs": [0, 5]}))["new"] == 0


def test_a_data_set_put_again_under_its_name_changes_nothing_for_a_job():
    spec = removal(10, dataset={"name": "gratings", "train_samples": 500})
    shelf, plan = trained(spec)
    made = later(shelf, spec, plan, fisher=SIGNS | {"samples": 600})
    assert {probe["samples"] for probe in made.probes.values()} == {500}
    assert made.configs == plan.configs


requests = st.fixed_dictionaries(
    {},
    optional={
        "fisher": st.fixed_dictionaries(
            {"beside": st.sampled_from([[], ["gradient"]])},
            optional={
                "every": st.integers(1, 30),
                "images": st.sampled_from(["clean", "deficit", ["current", "clean"]]),
                "split": st.sampled_from(["test", ["train", "test"]]),
            },
        ),
        "second_order": st.fixed_dictionaries({}, optional={"epochs": st.just([0])}),
    },
).filter(bool)

experiments = st.fixed_dictionaries(
    {
        "training": st.integers(1, 45).map(lambda n: {"epochs_after_deficit": n}),
        "seeds": st.sampled_from([[0], [0, 1]]),
        "sweep": st.lists(st.integers(0, 50), min_size=1, max_size=3, unique=True).map(
            lambda ends: {"deficit.end": ends}
        ),
        "fisher": st.sampled_from([None, {"every": 7, "beside": []}]),
    }
)


@examples(max_examples=150, deadline=None)
@given(
    experiments,
    st.one_of(st.none(), st.integers(0, 6)),
    st.booleans(),
    st.lists(requests, min_size=1, max_size=3),
)
def test_a_job_trains_nothing_new_and_measures_each_thing_in_one_place(spec, part, reuse, asked):
    spec_body = body(**spec)
    shelf, plan = trained(spec_body, part, lambda run: "" if reuse else f"alone/{run}/")
    stored = dict(shelf.manifests)
    for one in asked:
        made = later(shelf, spec_body, plan, **one)
        assert made.epochs.new == 0
        assert made.epochs.stored == made.epochs.shared
        placed = [(s.scope, s.state(e), d) for s in made.segments for e, d in s.probes]
        assert len(set(placed)) == len(placed)
        wanted = {
            (plan.scope(plan.runs[run.index]), key, digest)
            for run in made.runs
            for _, key, digest in run.probes
        }
        assert set(placed) == wanted - shelf.measurements
        assert shelf.carry_out(made) == made.epochs.replayed
        assert wanted <= shelf.measurements
    assert shelf.manifests == stored
