"""Keys and timelines: what is named, and that nothing else is."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Invalid
from shared.schedule import Facts, check_against, config, keys, learning_rate, timeline
from shared.spec import RunSpec

FACTS = Facts("gratings", "d" * 64, (16, 16, 1), 8, 2000, 1000, (0.5,), (0.25,))


def run_spec(**changes):
    body = {
        "dataset": {"name": "gratings"},
        "training": {"epochs": 30},
        "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 10},
    }
    return RunSpec.model_validate(body | changes)


def keys_of(run, seed=0):
    return keys(config(run, FACTS, seed), timeline(run))


def test_the_key_of_training_version_1_is_pinned():
    chain = keys_of(run_spec())
    assert chain[0] == "47bee041620550b2dfb6b1968e063d8bfc44d6993bd355d7f8e0dc0836c1cb55"
    assert chain[30] == "7d9355b17916cc2fde7f158ae898ec1c3e7e7773de7f16ceb385aa8aabaf6f8e"


def test_defaults_written_out_and_defaults_left_out_give_one_key():
    spelled = run_spec(
        dataset={"name": "gratings", "train_samples": 2000},
        training={
            "epochs": 30,
            "batch_size": 128,
            "optimizer": {"name": "sgd", "learning_rate": 0.05},
            "schedule": {"name": "exponential", "gamma": 0.97},
        },
    )
    assert keys_of(spelled) == keys_of(run_spec())


def test_one_and_one_point_zero_are_one_value():
    whole = run_spec(model={"name": "all_cnn", "width": 1})
    point = run_spec(model={"name": "all_cnn", "width": 1.0})
    assert keys_of(whole) == keys_of(point)


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"epochs": 30, "batch_size": 64}},
        {"training": {"epochs": 30, "optimizer": {"name": "sgd", "momentum": 0.0}}},
        {"training": {"epochs": 30, "schedule": {"name": "constant"}}},
        {"training": {"epochs": 30, "augmentation": {"shift": 2}}},
        {"model": {"name": "all_cnn", "width": 0.5}},
        {"dataset": {"name": "gratings", "train_samples": 1999}},
    ],
)
def test_whatever_shapes_training_changes_every_key(changes):
    assert not set(keys_of(run_spec(**changes))) & set(keys_of(run_spec()))


def test_seeds_share_nothing():
    assert not set(keys_of(run_spec(), 0)) & set(keys_of(run_spec(), 1))


def test_two_removals_share_the_keys_up_to_the_earlier_one():
    early = keys_of(run_spec())
    late = keys_of(run_spec(deficit={"name": "blur", "resolution": 4, "end": 20}))
    assert early[:11] == late[:11]
    assert not set(early[11:]) & set(late[11:])


def test_a_restart_shares_the_keys_up_to_the_removal():
    plain = keys_of(run_spec())
    restarted = keys_of(run_spec(training={"epochs": 30, "learning_rate_restart": "at_removal"}))
    assert plain[:11] == restarted[:11]
    assert not set(plain[11:]) & set(restarted[11:])


def test_a_restart_without_a_deficit_is_no_intervention():
    nothing = {"name": "blur", "start": 0, "end": 0}
    restarted = run_spec(
        deficit=nothing, training={"epochs": 30, "learning_rate_restart": "at_removal"}
    )
    assert keys_of(restarted) == keys_of(run_spec(deficit=nothing))


def test_an_empty_window_is_no_deficit_whatever_its_kind():
    blur = run_spec(deficit={"name": "blur", "start": 5, "end": 5})
    flip = run_spec(deficit={"name": "vertical_flip", "start": 0, "length": 0})
    assert keys_of(blur) == keys_of(flip)


@given(st.lists(st.integers(1, 29), max_size=6, unique=True))
def test_keys_do_not_depend_on_where_the_timeline_is_cut(cuts):
    run = run_spec()
    whole = timeline(run)
    edges = sorted({0, 30, *(s.start for s in whole), *cuts})
    pieces = [
        next(s for s in whole if s.start <= a < s.end).model_copy(update={"start": a, "end": b})
        for a, b in pairwise(edges)
    ]
    assert keys(config(run, FACTS, 0), pieces) == keys_of(run)


def test_overlapping_windows_show_both_deficits_where_they_overlap():
    run = RunSpec.model_validate(
        {
            "training": {"epochs": 10},
            "deficits": [
                {"name": "blur", "start": 0, "end": 6},
                {"name": "vertical_flip", "start": 4, "end": 8},
            ],
        }
    )
    shown = [(s.start, s.end, [d["name"] for d in s.stimulus]) for s in timeline(run)]
    assert shown == [
        (0, 4, ["blur"]),
        (4, 6, ["blur", "vertical_flip"]),
        (6, 8, ["vertical_flip"]),
        (8, 10, []),
    ]


def test_the_rate_of_the_paper_falls_by_three_percent_an_epoch():
    settings = config(run_spec(), FACTS, 0)
    assert learning_rate(settings, 0) == 0.05
    assert learning_rate(settings, 40) == pytest.approx(0.05 * 0.97**40, rel=1e-15)


def test_a_constant_rate_stays():
    run = run_spec(training={"epochs": 30, "schedule": {"name": "constant"}})
    assert learning_rate(config(run, FACTS, 0), 29) == 0.05


def test_after_a_restart_the_schedule_counts_from_the_removal():
    run = run_spec(training={"epochs": 30, "learning_rate_restart": "at_removal"})
    assert [(s.start, s.end, s.restart) for s in timeline(run)] == [(0, 10, 0), (10, 30, 10)]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"dataset": {"name": "gratings", "train_samples": 2001}}, "2000"),
        ({"dataset": {"name": "gratings", "test_samples": 5000}}, "1000"),
        ({"dataset": {"name": "gratings", "train_samples": 1}}, "BatchNorm"),
        ({"deficit": {"name": "blur", "resolution": 16, "end": 3}}, "16"),
        ({"training": {"epochs": 30, "augmentation": {"shift": 16}}}, "16"),
    ],
)
def test_what_the_data_set_cannot_give_is_refused(changes, word):
    with pytest.raises(Invalid, match=word):
        check_against(run_spec(**changes), FACTS)


COLOURED = Facts("photos", "d" * 64, (16, 12, 3), 8, 2000, 1000, (0.5,) * 3, (0.25,) * 3)
ONE_CLASS = Facts("dots", "d" * 64, (16, 16, 1), 1, 2000, 1000, (0.5,), (0.25,))


@pytest.mark.parametrize(
    ("window", "field", "code", "words", "facts"),
    [
        ({"name": "occlusion", "size": 16}, "size", "too-large", "16 pixels.*smaller", FACTS),
        ({"name": "occlusion", "size": 12}, "size", "too-large", "images of 12", COLOURED),
        ({"name": "greyscale"}, "name", "no-colour", "3 channels; 'gratings' has 1", FACTS),
        ({"name": "augmentation", "shift": 16}, "shift", "too-far", "shift of 16", FACTS),
        ({"name": "augmentation", "shift": 12}, "shift", "too-far", "images of 12", COLOURED),
        (
            {"name": "partial_data", "fraction": 0.0005},
            *("fraction", "too-few", "0.0005 of 2000 training images is 1", FACTS),
        ),
        (
            {"name": "label_noise", "fraction": 0.0001},
            *("fraction", "too-few", "0.0001 of 2000 training images is none", FACTS),
        ),
        ({"name": "label_noise"}, "name", "one-class", "'dots' has 1 class", ONE_CLASS),
        ({"name": "label_permutation"}, "name", "one-class", "'dots' has 1 class", ONE_CLASS),
    ],
)
def test_a_window_that_the_data_set_cannot_have_is_refused_by_its_place(
    window, field, code, words, facts
):
    noise = {"name": "noise", "end": 1}
    for changes, place in (
        ({"deficit": window | {"end": 1}}, "/deficit"),
        ({"deficit": None, "deficits": [noise, window | {"end": 1}]}, "/deficits/1"),
    ):
        with pytest.raises(Invalid, match=words) as refusal:
            check_against(run_spec(**changes), facts)
        (fault,) = refusal.value.faults
        assert (fault.pointer, fault.code) == (f"{place}/{field}", code)


@pytest.mark.parametrize(
    "window",
    [
        {"name": "occlusion", "size": 11},
        {"name": "greyscale"},
        {"name": "augmentation", "shift": 11},
        {"name": "partial_data", "fraction": 0.001},
        {"name": "label_noise", "fraction": 0.0005},
        {"name": "label_permutation", "of": "images"},
        {"name": "oriented_filter"},
        {"name": "weight_decay"},
    ],
)
def test_what_the_data_set_can_have_is_let_through(window):
    check_against(run_spec(deficit=window | {"end": 1}), COLOURED)


def test_every_fault_is_said_at_once():
    windows = [{"name": "greyscale", "end": 1}, {"name": "occlusion", "size": 99, "end": 1}]
    with pytest.raises(Invalid) as refusal:
        check_against(run_spec(deficit=None, deficits=windows), FACTS)
    assert [fault.pointer for fault in refusal.value.faults] == [
        "/deficits/0/name",
        "/deficits/1/size",
    ]


def test_a_blur_in_a_list_of_windows_is_refused_by_its_place():
    noise, blur = {"name": "noise", "end": 1}, {"name": "blur", "end": 1, "resolution": 16}
    for changes, pointer in (
        ({"deficit": blur}, "/deficit/resolution"),
        ({"deficit": None, "deficits": [noise, blur]}, "/deficits/1/resolution"),
    ):
        with pytest.raises(Invalid) as refusal:
            check_against(run_spec(**changes), FACTS)
        assert [fault.pointer for fault in refusal.value.faults] == [pointer]
