"""What of training may be other from an epoch on: its keys, its rates, what is refused, and which
runs may be compared."""

import json

import pytest
import shelf
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared import partners, sweep, tree
from shared.errors import Invalid
from shared.results import Results
from shared.schedule import changes, check_against, config, keys, learning_rate, timeline, under
from shared.spec import ExperimentSpec, RunSpec

CHANGES = {
    "optimizer.learning_rate": {"optimizer": {"learning_rate": 0.01}},
    "optimizer.momentum": {"optimizer": {"momentum": 0.5}},
    "no momentum": {"optimizer": {"momentum": 0.0}},
    "optimizer.weight_decay": {"optimizer": {"weight_decay": 0.01}},
    "schedule.gamma": {"schedule": {"name": "exponential", "gamma": 0.9}},
    "schedule": {"schedule": {"name": "constant"}},
    "batch_size": {"batch_size": 32},
    "augmentation": {"augmentation": {"shift": 1, "horizontal_flip": False}},
    "learning_rate_restart": {"learning_rate_restart": True},
    "optimizer_restart": {"optimizer_restart": True},
}
TOTAL = 12


def run(*asked, windows=((0, 4),), **training):
    training = {"epochs": TOTAL, "changes": [{"at": at, "set": to} for at, to in asked]} | training
    deficits = [{"name": "blur", "resolution": 4, "start": a, "end": b} for a, b in windows]
    return RunSpec.model_validate(
        {"dataset": {"name": "gratings"}, "training": training, "deficits": deficits}
    )


def keys_of(one):
    return keys(config(one, shelf.FACTS, 0), timeline(one))


def rates(one):
    settings, found = config(one, shelf.FACTS, 0), []
    for part in timeline(one):
        for epoch in range(part.start, part.end):
            found.append(learning_rate(under(settings, part), epoch - part.restart))
    return found


# --- keys ---


@given(at=st.integers(1, TOTAL - 1), to=st.sampled_from(list(CHANGES.values())))
def test_a_change_leaves_the_keys_before_it_and_alters_all_later_ones(at, to):
    plain, changed = keys_of(run()), keys_of(run((at, to)))
    assert changed[: at + 1] == plain[: at + 1]
    assert not set(changed[at + 1 :]) & set(plain)


@settings(max_examples=50)
@given(
    asked=st.dictionaries(st.integers(1, TOTAL - 1), st.sampled_from(list(CHANGES)), max_size=4),
    later=st.integers(1, TOTAL - 1),
)
def test_one_more_change_leaves_the_keys_up_to_it(asked, later):
    before = [(at, CHANGES[name]) for at, name in sorted(asked.items()) if at != later]
    one, more = (
        run(*before),
        run(*sorted([*before, (later, {"batch_size": 8})], key=lambda c: c[0])),
    )
    assert keys_of(one)[: later + 1] == keys_of(more)[: later + 1]
    assert not set(keys_of(one)[later + 1 :]) & set(keys_of(more))


def test_the_keys_of_two_changes_are_pinned():
    chain = keys_of(run((5, {"batch_size": 32}), (8, {"schedule": {"name": "constant"}})))
    assert chain[5] == keys_of(run())[5]
    assert chain[TOTAL] == "1ed509abbdcb908ea098550be86679264670319a380ac9443ee1627001c88b4d"


def test_what_is_set_to_what_it_was_is_no_change():
    same = run((3, {"batch_size": 128, "optimizer": {"momentum": 0.9}}), (6, {}))
    assert keys_of(same) == keys_of(run())
    assert changes(same) == []
    steady = {"schedule": {"name": "constant"}}
    restarted = run((3, {"learning_rate_restart": True}), **steady)
    assert keys_of(restarted) == keys_of(run(**steady))


def test_a_change_taken_back_is_not_undone():
    there = run((3, {"batch_size": 32}))
    back = run((3, {"batch_size": 32}), (6, {"batch_size": 128}))
    assert keys_of(back)[:7] == keys_of(there)[:7]
    assert not set(keys_of(back)[7:]) & {*keys_of(there), *keys_of(run())}
    assert [(s.start, s.settings) for s in timeline(back)][2:] == [(4, {"batch_size": 32}), (6, {})]


def test_in_how_many_steps_a_change_is_said_makes_no_difference():
    rate = {"optimizer": {"learning_rate": 0.01}}
    both = {"optimizer": {"learning_rate": 0.01, "momentum": 0.5}}
    assert keys_of(run((3, rate), (6, {"optimizer": {"momentum": 0.5}}))) == keys_of(
        run((3, rate), (6, both))
    )


def test_a_restart_at_the_removal_is_the_same_training_by_either_name():
    for kind in ("learning_rate_restart", "optimizer_restart"):
        assert keys_of(run((4, {kind: True}))) == keys_of(run(**{kind: "at_removal"}))


def test_a_plan_without_changes_says_nothing_of_them():
    made = tree.make(shelf.paths(shelf.removal(0, 10)), shelf.Shelf())
    assert not {"settings", "changed", "changes"} & set(json.dumps(made.model_dump()).split('"'))


def test_a_plan_with_changes_is_read_as_it_was_written():
    asked = [{"at": 5, "set": {"batch_size": 32, "optimizer_restart": True}}]
    made = tree.make(
        shelf.paths(shelf.body(training={"epochs": 9, "changes": asked})), shelf.Shelf()
    )
    assert type(made).model_validate_json(made.model_dump_json()) == made
    assert made.runs[0].changes == [
        {"at": 5, "settings": {"batch_size": 32}, "optimizer_restart": True}
    ]
    assert [(s.start, s.end) for s in made.segments] == [(0, 5), (5, 9)]


# --- rates ---


def test_a_new_schedule_is_counted_from_where_the_old_one_was():
    found = rates(run((5, CHANGES["schedule.gamma"])))
    assert found[:5] == [0.05 * 0.97**e for e in range(5)]
    assert found[5:] == [0.05 * 0.9**e for e in range(5, TOTAL)]


def test_with_a_restart_it_is_counted_from_the_change():
    to = {"optimizer": {"learning_rate": 0.01}, "learning_rate_restart": True}
    assert rates(run((5, to)))[5:] == [0.01 * 0.97**e for e in range(TOTAL - 5)]


def test_a_restart_under_a_constant_rate_counts_for_a_schedule_that_comes_later():
    asked = ((3, {"learning_rate_restart": True}), (6, CHANGES["schedule.gamma"]))
    found = rates(run(*asked, schedule={"name": "constant"}))
    assert found == [0.05] * 6 + [0.05 * 0.9 ** (e - 3) for e in range(6, TOTAL)]


# --- what is refused ---


@pytest.mark.parametrize(
    ("asked", "training", "words"),
    [
        ([(TOTAL, {"batch_size": 8})], {}, "at epoch 12 comes after the run's 12 epochs"),
        ([(0, {"batch_size": 8})], {}, "greater than or equal to 1"),
        ([(5, {}), (5, {})], {}, "epoch 5 comes after epoch 5: give them in order"),
        ([(5, {"optimizer": {"name": "adam"}})], {}, "Extra inputs"),
        ([(5, {"optimizer": {"beta1": 0.8}})], {"optimizer": {"name": "adam"}}, "Extra inputs"),
        ([(5, {"precision": "float32"})], {}, "Extra inputs"),
        ([(5, {"batch_size": 1})], {}, "greater than or equal to 2"),
        (
            [(5, {"optimizer": {"momentum": 0.5}})],
            {"optimizer": {"name": "adam"}},
            "of sgd; this optimizer is adam",
        ),
    ],
)
def test_what_cannot_change_is_refused(asked, training, words):
    with pytest.raises(ValidationError, match=words):
        run(*asked, **training)


def test_a_shift_that_the_images_do_not_allow_is_refused_by_its_place():
    with pytest.raises(Invalid) as refusal:
        check_against(run((5, {"augmentation": {"shift": 16}})), shelf.FACTS)
    assert refusal.value.faults[0].pointer == "/training/changes/0/set/augmentation/shift"


def test_a_twin_of_a_constant_rate_does_not_stand_beside_a_change_of_the_rate():
    def spec(to):
        asked = {"epochs": 9, "changes": [{"at": 5, "set": to}]}
        body = shelf.body(training=asked, controls={"constant": 0.01})
        return ExperimentSpec.model_validate(body)

    with pytest.raises(Invalid, match="no twin of a constant rate"):
        sweep.points(spec(CHANGES["schedule.gamma"]))
    assert len(sweep.points(spec({"batch_size": 32}))) == 2


def test_a_change_can_be_swept():
    asked = {"epochs": 9, "changes": [{"at": 5, "set": {}}]}
    axis = {"training.changes.0.set.optimizer.learning_rate": [0.01, 0.02]}
    made = shelf.paths(shelf.body(training=asked, sweep=axis))
    assert [path.changes[0]["settings"]["optimizer"]["learning_rate"] for path in made] == [
        0.01, 0.02
    ]  # fmt: skip
    assert made[0].keys[:6] == made[1].keys[:6]
    with pytest.raises(Invalid, match="are the same run"):
        shelf.paths(
            shelf.body(training=asked, sweep={"training.changes.0.set.batch_size": [None, 128]})
        )


# --- what may be compared ---


def test_a_run_is_compared_with_the_clean_run_that_has_the_same_changes():
    change = [{"at": 5, "set": {"batch_size": 32}}]
    body = shelf.body(
        training={"epochs": 9},
        sweep={"deficit.end": [0, 4]},
        variants={"as before": {}, "small batches": {"training.changes": change}},
    )
    made = tree.make(shelf.paths(body), shelf.Shelf())
    results = Results(made, "", lambda _: None, lambda *_: None)
    found = {index: other.index for index, other in partners.partners(results).items()}
    assert found == {1: 0, 3: 2}
    alone = made.model_copy(update={"runs": [made.runs[0], made.runs[3]]})
    assert partners.partners(Results(alone, "", lambda _: None, lambda *_: None)) == {}
