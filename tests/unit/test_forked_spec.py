"""A fork as a spec: what it says of the epochs that come, and that the past is not touched."""

import re

import pytest
import shelf
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import fork, history, tree
from shared.errors import Invalid
from shared.fork import Fork
from shared.rewriting import Rewriting
from shared.settings import Settings
from shared.spec import ExperimentSpec

BLUR = {"name": "blur", "resolution": 4}
NOISE = {"name": "noise", "start": 8, "end": 10}
LIMITS = Settings(_env_file=None)


def planned(body):
    return tree.make(shelf.paths(body), shelf.Shelf())


def forked(body, **asked):
    """The spec of a fork, accepted as the service accepts it."""
    old, made = ExperimentSpec.model_validate(body), planned(body)
    given = Fork.model_validate(asked)
    run = made.runs[given.run]
    rewriting = Rewriting(given, fork.point_of(old, run).run)
    with rewriting.blaming():
        spec = fork.spec(given, old, run, rewriting, LIMITS)
        history.check(given, spec, made.keys(run), run.seed, shelf.FACTS)
    fork.check_differs(given, made, run, planned(spec.model_dump(exclude_unset=True)))
    return spec


def keys(spec):
    body = spec.model_dump(mode="json", exclude_unset=True) if hasattr(spec, "seeds") else spec
    return [path.keys for path in shelf.paths(body)]


def refused(body, **asked):
    with pytest.raises(Invalid) as refusal:
        forked(body, **asked)
    [fault] = refusal.value.faults
    return fault


BODY = shelf.removal(0, 4, 8, seeds=[3, 5], fisher={"every": 5, "epochs": [21], "samples": 16})
"""Runs 0 and 1 end after 15 epochs, 2 and 3 after 19, 4 and 5 after 23; odd runs have seed 5."""


def by_hand(**changes):
    return shelf.body(sweep={}, seeds=[5]) | changes


# --- windows ---


@pytest.mark.parametrize(
    ("set", "deficits", "training"),
    [
        ({"deficits": []}, [BLUR | {"start": 0, "end": 6}], {"epochs_after_deficit": 15}),
        ({"deficit": None}, [BLUR | {"start": 0, "end": 6}], {"epochs_after_deficit": 15}),
        ({"deficit.end": 12}, [BLUR | {"start": 0, "end": 12}], {"epochs_after_deficit": 15}),
        (
            {"deficits": [NOISE]},
            [BLUR | {"start": 0, "end": 6}, NOISE],
            {"epochs_after_deficit": 15},
        ),
        ({"deficit": NOISE}, [BLUR | {"start": 0, "end": 6}, NOISE], {"epochs_after_deficit": 15}),
        (
            {"deficits": [BLUR | {"start": 6, "length": 4}, NOISE], "training.epochs": 30},
            [BLUR | {"start": 0, "end": 10}, NOISE],
            {"epochs": 30},
        ),
        (
            {"deficits": [BLUR | {"start": 0, "end": 9}]},
            [BLUR | {"start": 0, "end": 9}],
            {"epochs_after_deficit": 15},
        ),
        ({"deficits.0.end": 7}, [BLUR | {"start": 0, "end": 7}], {"epochs_after_deficit": 15}),
        ({"training.epochs_after_deficit": 2}, [BLUR | {"end": 8}], {"epochs": 10}),
    ],
)
def test_a_fork_by_windows_has_the_keys_of_the_spec_written_by_hand(set, deficits, training):
    spec = forked(BODY, run=5, epoch=6, set=set)
    assert keys(spec) == keys(by_hand(deficit=None, deficits=deficits, training=training))
    assert spec.training.changes == []
    assert keys(spec)[0][:7] == planned(BODY).keys(planned(BODY).runs[5])[:7]


def test_a_window_that_goes_on_at_the_epoch_is_one_window():
    spec = forked(BODY, run=5, epoch=6, set={"deficits": [BLUR | {"start": 6, "end": 9}]})
    assert [(w.start, w.end) for w in spec.deficits] == [(0, 9)]
    again = forked(BODY, run=5, epoch=8, set={"deficits": [BLUR | {"start": 8, "end": 9}]})
    assert keys(again) == keys(spec)


@pytest.mark.parametrize(
    ("set", "pointer", "words"),
    [
        (
            {"deficits": [NOISE, BLUR | {"start": 5, "end": 7}]},
            "/set/deficits/1/start",
            r"the blur window \[5, 7\) would change the past.* epoch 6",
        ),
        ({"deficits": [BLUR | {"start": 0, "end": 3}]}, "/set/deficits/0/start", "the past"),
        ({"deficit.end": 3}, "/set/deficit.end", "epoch 3 would be trained otherwise"),
        ({"deficit.resolution": 5}, "/set/deficit.resolution", "epoch 0 would be trained"),
        ({"training.epochs": 5}, "/set/training.epochs", "'deficit'"),
        (
            {"training.epochs": 6, "deficits.0.end": 3},
            "/set/deficits.0.end",
            "epoch 3",
        ),
        ({"deficit.end": 7, "deficits.0.end": 9}, "/set/deficits.0.end", "set the same: give one"),
        ({"deficits": [NOISE], "deficit": None}, "/set/deficit", "'deficits' and 'deficit' set"),
        ({"deficits": [NOISE], "deficits.0.end": 9}, "/set/deficits.0.end", "set the same"),
        ({"deficits.0.end": 9, "deficits": []}, "/set/deficits", "set the same"),
        (
            {"training.batch_size": 32, "training": {"epochs": 30}},
            "/set/training",
            "'training.batch_size' and 'training' set the same",
        ),
        (
            {"training.schedule.gamma": 0.9, "training.schedule": {"name": "constant"}},
            "/set/training.schedule",
            "set the same",
        ),
        ({"model.width": 0.2}, "/set/model.width", "from its very beginning"),
        ({"dataset.name": "cifar10"}, "/set/dataset.name", "from its very beginning"),
        ({"dataset.train_samples": 99}, "/set/dataset.train_samples", "very beginning"),
        ({"deficits": [{"name": "blur"}]}, "/set/deficits/0/end", "exactly one of"),
        ({"deficits": 3}, "/set/deficits", "valid array"),
        ({"deficits": [NOISE, NOISE]}, "/set/deficits", "overlap"),
        ({"fisher.every": 3}, "/set/fisher.every", "stand beside 'set'"),
        ({"training.epohcs": 3}, "/set/training.epohcs", "did you mean 'epochs'"),
        ({"deficits.7.end": 3}, "/set/deficits.7.end", "no place in a list of 1"),
        ({}, "/set", "nothing would be other"),
        ({"training.epochs": 23}, "/set", "nothing would be other"),
        ({"training.batch_size": 128}, "/set", "nothing would be other"),
    ],
)
def test_what_a_fork_cannot_set_is_refused_by_its_place(set, pointer, words):
    fault = refused(BODY, run=5, epoch=6, set=set)
    assert fault.pointer == pointer, fault
    assert re.search(words, fault.message), fault


# --- training ---


@pytest.mark.parametrize(
    ("set", "change"),
    [
        (
            {"training.schedule.gamma": 0.9},
            {"schedule": {"name": "exponential", "gamma": 0.9}},
        ),
        ({"training.schedule": {"name": "constant"}}, {"schedule": {"name": "constant"}}),
        (
            {"training.optimizer.learning_rate": 0.01, "training.learning_rate_restart": True},
            {"optimizer": {"learning_rate": 0.01}, "learning_rate_restart": True},
        ),
        ({"training.batch_size": 32}, {"batch_size": 32}),
        ({"training.augmentation.shift": 1}, {"augmentation": {"shift": 1}}),
    ],
)
def test_a_fork_by_training_is_a_change_at_its_epoch(set, change):
    spec = forked(BODY, run=5, epoch=6, set=set)
    training = {"epochs_after_deficit": 15, "changes": [{"at": 6, "set": change}]}
    hand = by_hand(deficit=BLUR | {"end": 8}, training=training)
    assert keys(spec) == keys(hand)
    assert spec.model_dump(mode="json", exclude_unset=True)["training"]["changes"] == (
        [{"at": 6, "set": change | spec_parts(change)}]
    )


def spec_parts(change):
    """Parts stand whole in the fork's spec."""
    whole = {"augmentation": {"shift": 1, "horizontal_flip": True}}
    return {part: value for part, value in whole.items() if part in change}


def test_a_fork_of_a_fork_keeps_its_changes_and_adds_its_own():
    first = forked(BODY, run=5, epoch=6, set={"training.batch_size": 32})
    body = first.model_dump(mode="json", exclude_unset=True)
    second = forked(body, run=0, epoch=9, set={"training.optimizer.momentum": 0.5})
    assert [change.at for change in second.training.changes] == [6, 9]
    assert keys(second)[0][:10] == keys(first)[0][:10]
    earlier = forked(body, run=0, epoch=3, set={"training.optimizer.momentum": 0.5})
    assert [change.at for change in earlier.training.changes] == [3, 6]
    same = forked(body, run=0, epoch=6, set={"training.optimizer.momentum": 0.5})
    assert [change.set.batch_size for change in same.training.changes] == [32]
    assert refused(body, run=0, epoch=8, set={"training.changes": []}).code == "changes-the-past"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training.optimizer", {"name": "adam"}),
        ("training.optimizer.name", "adam"),
        ("training.optimizer.beta1", 0.5),
    ],
)
def test_the_kind_of_optimizer_does_not_change_on_the_way(path, value):
    fault = refused(BODY, run=5, epoch=6, set={path: value})
    assert fault.pointer == f"/set/{path}"
    assert "learning_rate, momentum, weight_decay can" in fault.message


@pytest.mark.parametrize(
    ("set", "hand"),
    [
        ({"deficits": []}, {"deficit": None}),
        ({"training.optimizer.learning_rate": 0.001},
         {"training": {"optimizer": {"name": "sgd", "learning_rate": 0.001}}}),
        ({"training.optimizer": {"name": "adam"}, "training.batch_size": 32},
         {"training": {"optimizer": {"name": "adam"}, "batch_size": 32}}),
        ({"training.schedule.gamma": 0.9, "training.learning_rate_restart": True},
         {"training": {"schedule": {"name": "exponential", "gamma": 0.9}}}),
        ({"model.width": 0.2}, {"model": {"name": "all_cnn", "width": 0.2}}),
    ],
)  # fmt: skip
def test_from_epoch_0_on_whatever_a_spec_allows_may_be_other(set, hand):
    length = 15 if "deficit" in hand else 23
    training = {"epochs_after_deficit": 15} if length == 23 else {"epochs": 15}
    whole = {"deficit": BLUR | {"end": 8}} | hand
    whole["training"] = training | hand.get("training", {})
    spec = forked(BODY, run=5, epoch=0, set=set)
    assert keys(spec) == keys(by_hand(**whole))
    assert len(keys(spec)[0]) == length + 1


def test_what_starts_at_epoch_0_anyway_changes_nothing():
    for restart in ("learning_rate_restart", "optimizer_restart"):
        fault = refused(BODY, run=5, epoch=0, set={f"training.{restart}": True})
        assert "nothing would be other" in fault.message
    twins = forked(BODY, run=5, epoch=0, controls={"constant": 0.01})
    assert keys(twins)[0] == keys(BODY)[5]


def test_a_run_goes_on_beyond_its_end():
    set = {"training.epochs": 30, "training.optimizer.learning_rate": 0.01}
    spec = forked(BODY, run=5, epoch=23, set=set)
    assert keys(spec)[0][:24] == keys(BODY)[5]
    assert len(keys(spec)[0]) == 31
    fault = refused(BODY, run=5, epoch=23, set={"training.batch_size": 32})
    assert "comes after the run's 23 epochs" in fault.message


def test_a_run_that_is_made_shorter_leaves_out_the_changes_that_it_never_comes_to():
    training = BODY["training"] | {"changes": [{"at": 12, "set": {"batch_size": 8}}]}
    fork = {"training.epochs": 12, "training.optimizer.learning_rate": 0.01}
    spec = forked(BODY | {"training": training}, run=5, epoch=9, set=fork)
    assert [change.at for change in spec.training.changes] == [9]


# --- sweeps ---


def test_a_fork_is_a_sweep_of_its_own():
    spec = forked(
        BODY,
        run=5,
        epoch=6,
        sweep={"training.schedule.gamma": [0.9, 0.8], "deficit.end": [6, 10]},
        variants={"small": {"training.batch_size": 32}, "large": {"training.batch_size": 256}},
        seeds=[5, 7],
    )
    chains = keys(spec)
    assert len(chains) == 16
    assert all(chain[:7] == keys(BODY)[5][:7] for chain in chains[::2])
    assert len({chain[-1] for chain in chains}) == 16
    assert list(spec.sweep) == ["training.changes.0.set.schedule.gamma", "deficit.end"]


def test_restarts_can_be_swept():
    spec = forked(BODY, run=5, epoch=6, sweep={"training.learning_rate_restart": [False, True]})
    assert keys(spec)[0] == keys(BODY)[5]
    assert keys(spec)[1][:7] == keys(BODY)[5][:7]
    assert keys(spec)[1][7] != keys(BODY)[5][7]


@pytest.mark.parametrize(
    ("asked", "pointer", "code"),
    [
        ({"sweep": {"deficit.end": [8, 3]}}, "/sweep/deficit.end", "changes-the-past"),
        ({"sweep": {"deficits": [[], [NOISE | {"start": 1}]]}},
         "/sweep/deficits/1/0/start", "changes-the-past"),
        ({"sweep": {"training.batch_size": [32, 0]}},
         "/sweep/training.batch_size", "greater_than_equal"),
        ({"sweep": {"training.batch_size": [32, 32]}}, "/sweep/training.batch_size", "repeated"),
        ({"variants": {"a": {"model.width": 0.2}}}, "/variants/a", "changes-the-past"),
        ({"variants": {"a": {"training.batch_size": "x"}}}, "/variants/a/training.batch_size",
         "int_type"),
        ({"controls": {"constant": 0.01}}, "/controls", "changes-the-past"),
        ({"fisher": {"epochs": [24], "samples": 16}}, "/fisher/epochs/0", "after-the-end"),
        ({"seeds": [1], "sweep": {"seeds": [1]}}, "/sweep/seeds", "not-of-a-run"),
        ({"sweep": {"deficit.end": [9, 10], "deficits.0.end": [11, 12]}},
         "/sweep/deficits.0.end", "said-twice"),
        ({"variants": {"a": {"deficit": None, "deficits": []}}}, "/variants/a/deficits",
         "said-twice"),
    ],
)  # fmt: skip
def test_what_is_refused_of_its_sweep_is_said_by_its_place(asked, pointer, code):
    fault = refused(BODY, run=5, epoch=6, **asked)
    assert (fault.pointer, fault.code) == (pointer, code), fault


# --- measurements, names ---


def test_what_is_left_out_is_as_in_the_experiment_without_epochs_that_are_gone():
    kept = forked(
        BODY | {"name": "old", "tags": {"lab": "a"}}, run=5, epoch=6, set={"deficits": []}
    )
    assert (kept.seeds, kept.name, kept.tags) == ([5], "old, run 5 from epoch 6", {"lab": "a"})
    assert (kept.fisher.every, kept.fisher.epochs) == (5, [21])
    shorter = forked(BODY, run=5, epoch=6, set={"training.epochs": 20})
    assert (shorter.fisher.every, shorter.fisher.epochs) == (5, [])
    without = forked(BODY, run=5, epoch=6, set={"deficits": []}, fisher=None)
    assert without.fisher is None


def test_the_same_training_is_a_fork_where_something_else_is_measured_or_kept():
    for asked in (
        {"fisher": {"every": 1, "samples": 16}},
        {"filters": {"epochs": [3]}},
        {"checkpoints": {"epochs": [7]}},
        {"seeds": [9, 10]},
    ):
        assert forked(BODY, run=5, epoch=6, **asked)
    assert refused(BODY, run=5, epoch=6, fisher={"every": 5, "samples": 16}).code == (
        "nothing-changes"
    )


@settings(max_examples=30, deadline=None)
@given(
    epoch=st.integers(1, 23),
    set=st.sampled_from(
        [
            {"deficits": [], "training.epochs": 40},
            {"training.batch_size": 32, "training.epochs": 40},
            {"training.learning_rate_restart": True, "training.epochs": 40},
            {"deficits": [{"name": "noise", "start": 25, "end": 27}]},
            {"training.epochs": 40},
        ]
    ),
)
def test_whatever_a_fork_sets_the_states_before_it_keep_their_names(epoch, set):
    spec = forked(BODY, run=5, epoch=epoch, set=set)
    assert keys(spec)[0][: epoch + 1] == keys(BODY)[5][: epoch + 1]
    assert len(keys(spec)[0]) > 24
