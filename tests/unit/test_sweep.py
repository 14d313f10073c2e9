"""Sweeps and variants: what multiplies, and what is refused by name."""

import pytest
from pydantic import ValidationError

from shared.errors import Invalid
from shared.spec import ExperimentSpec
from shared.sweep import points, run_count


def spec(**changes):
    body = {
        "training": {"epochs_after_deficit": 5},
        "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
    }
    return ExperimentSpec.model_validate(body | changes)


def test_axes_variants_and_seeds_multiply():
    asked = spec(
        sweep={"deficit.end": [0, 5], "training.batch_size": [32, 64, 128]},
        variants={"blur": {}, "flip": {"deficit": {"name": "vertical_flip", "end": 0}}},
        seeds=[0, 1, 2],
    )
    assert len(points(asked)) == 12
    assert run_count(asked) == 36


def test_a_variant_is_set_before_the_sweep_so_that_its_window_is_swept_too():
    asked = spec(
        sweep={"deficit.end": [5]},
        variants={"flip": {"deficit": {"name": "vertical_flip", "start": 0, "end": 0}}},
    )
    (point,) = points(asked)
    assert point.run.deficit.name == "vertical_flip"
    assert point.run.deficit.end == 5


def test_a_path_into_a_part_that_was_left_out_starts_from_its_default():
    (point,) = points(spec(sweep={"training.optimizer.learning_rate": [0.2]}))
    assert point.run.training.optimizer.name == "sgd"
    assert point.run.training.optimizer.learning_rate == 0.2
    assert point.run.training.optimizer.momentum == 0.9


def test_windows_of_a_list_are_swept_by_their_place():
    windows = [{"name": "blur", "end": 1}, {"name": "noise", "start": 1, "end": 2}]
    asked = spec(deficit=None, deficits=windows, sweep={"deficits.1.end": [3, 4]})
    assert [p.run.windows[1].end for p in points(asked)] == [3, 4]


def test_a_moving_window_keeps_its_length():
    asked = spec(
        deficit={"name": "blur", "start": 0, "length": 4}, sweep={"deficit.start": [0, 10]}
    )
    windows = [point.run.windows[0].epochs for point in points(asked)]
    assert windows == [range(4), range(10, 14)]


def test_another_name_brings_its_own_defaults():
    asked = spec(sweep={"training.optimizer.name": ["sgd", "adam"]})
    sgd, adam = [point.run.training.optimizer for point in points(asked)]
    assert (sgd.momentum, sgd.learning_rate) == (0.9, 0.05)
    assert (adam.beta1, adam.learning_rate) == (0.9, 0.001)
    constant, _ = points(spec(sweep={"training.schedule.name": ["constant", "exponential"]}))
    assert constant.run.training.schedule.model_dump() == {"name": "constant"}


def test_what_was_given_stays_and_is_refused_where_it_does_not_fit():
    training = {"epochs": 5, "optimizer": {"name": "sgd", "momentum": 0.5}}
    asked = spec(training=training, sweep={"training.optimizer.name": ["sgd", "adam"]})
    fault = refused(asked)
    assert fault.pointer == "/sweep/training.optimizer.name"
    assert 'training.optimizer.name = "adam": training.optimizer.momentum' in fault.message
    assert "there is no such field" in fault.message


def refused(asked):
    with pytest.raises(Invalid) as refusal:
        points(asked)
    return refusal.value.faults[0]


@pytest.mark.parametrize(
    ("path", "values", "twice"),
    [
        ("deficit.end", [0, 1, 1, 1], "1"),
        ("model.width", [0.05, 5e-2], "0.05"),
        ("model.width", [1, 1.0], "1.0"),
        ("deficit", [{"name": "blur", "end": 1}, {"end": 1, "name": "blur"}], "blur"),
        ("deficit", [None, None], "null"),
    ],
)
def test_a_value_that_stands_twice_on_an_axis_is_refused(path, values, twice):
    fault = refused(spec(sweep={path: values}))
    assert fault.pointer == f"/sweep/{path}"
    assert twice in fault.message
    assert "twice" in fault.message


def test_true_is_not_one():
    fault = refused(spec(sweep={"training.augmentation.shift": [1, True]}))
    assert "twice" not in fault.message
    assert "valid integer" in fault.message


@pytest.mark.parametrize(
    "sweep",
    [
        {"deficit": [{"name": "blur", "end": 3}, {"name": "blur", "start": 0, "length": 3}]},
        {"training": [{"epochs": 5}, {"epochs_after_deficit": 5}]},
        {"deficit.end": [1, 2], "deficit": [{"name": "noise", "end": 1}]},
    ],
)
def test_two_spellings_of_one_run_are_not_two_points(sweep):
    fault = refused(spec(sweep=sweep))
    assert fault.pointer == "/sweep"
    assert "are the same run" in fault.message


def test_empty_windows_at_several_onsets_and_equal_variants_are_points_of_their_own():
    deficit = {"name": "blur", "start": 0, "length": 0}
    training = {"epochs": 30}
    grid = {"deficit.start": [0, 10], "deficit.length": [0, 10]}
    asked = spec(deficit=deficit, training=training, sweep=grid, variants={"a": {}, "b": {}})
    assert len(points(asked)) == 8


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"variants": {"wide": {"model.width": 9}}}, "/variants/wide/model.width"),
        ({"variants": {"a/b~c": {"model.width": 9}}}, "/variants/a~1b~0c/model.width"),
        ({"variants": {"a/b": {"seeds/~": 1}}}, "/variants/a~1b/seeds~1~0"),
        ({"variants": {"x": {"deficits.1.end": 1}}}, "/variants/x/deficits.1.end"),
        ({"variants": {"short": {"training": {"epochs": 2}, "deficit.end": 3}}},
         "/variants/short/deficit.end"),
        ({"variants": {"x": {"model.width": 9}}, "sweep": {"deficit.end": [0, 1]}},
         "/variants/x/model.width"),
        ({"variants": {"x": {}}, "sweep": {"model.width": [9]}}, "/sweep/model.width"),
        ({"sweep": {"deficit.start": [3]}}, "/sweep/deficit.start"),
        ({"sweep": {"training": [{"epochs": 2}]}, "deficit": {"name": "blur", "end": 3}},
         "/sweep"),
    ],
)  # fmt: skip
def test_a_refusal_points_at_the_setting_that_made_it(changes, pointer):
    assert refused(spec(**changes)).pointer == pointer


def test_a_refusal_speaks_in_our_words():
    message = refused(spec(variants={"x": {}}, sweep={"deficit.start": [3]})).message
    assert message.startswith("at variant 'x', deficit.start = 3: deficit.end: 'end' (0) lies")


@pytest.mark.parametrize("place", ["²", "-1", "00", "1_0", "", "x"])
def test_a_place_in_a_list_is_a_plain_number(place):
    windows = [{"name": "blur", "end": 1}]
    asked = spec(deficit=None, deficits=windows, sweep={f"deficits.{place}.end": [0]})
    assert "no place in a list of 1" in refused(asked).message


@pytest.mark.parametrize("part", ["fisher", "checkpoints"])
def test_an_epoch_that_no_run_reaches_is_refused(part):
    reached = spec(sweep={"deficit.end": [0, 5]}, **{part: {"epochs": [0, 8, 10]}})
    assert len(points(reached)) == 2
    fault = refused(spec(sweep={"deficit.end": [0, 5]}, **{part: {"epochs": [0, 11]}}))
    assert fault.pointer == f"/{part}/epochs/1"
    assert fault.message.startswith(f"{part}.epochs: 11 ")
    assert "10 epochs" in fault.message


@pytest.mark.parametrize(
    ("sweep", "found"),
    [
        ({"seeds": [[0], [1]]}, "cannot be swept"),
        ({"fisher.every": [1]}, "cannot be swept"),
        ({"training.batchsize": [1]}, "batchsize"),
        ({"training.optimiser.momentum": [0.5]}, "did you mean 'optimizer'"),
        ({"training.optimizer.momentun": [0.5]}, "known here: learning_rate, momentum"),
        ({"training.batch_size.x": [1]}, "names no field"),
        ({"model.name.x": [1]}, "'name' has no fields"),
        ({"deficits.3.end": [1]}, "names no field"),
        ({"model.width": [-1]}, "greater than 0"),
        ({"deficit.start": [3]}, "before 'start'"),
        ({"deficits.0.end": [3]}, "no place in a list of 0"),
        ({"training.optimizer.momentum": [1.5]}, "less than 1"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused_and_says_where(sweep, found):
    with pytest.raises(Invalid) as refusal:
        points(spec(sweep=sweep))
    assert found in refusal.value.detail or any(found in f.message for f in refusal.value.faults)
    assert refusal.value.faults


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"training": {}}, "exactly one of 'epochs' and 'epochs_after_deficit'"),
        ({"training": {"epochs": 3, "epochs_after_deficit": 3}}, "exactly one"),
        ({"training": {"epochs": 3}, "deficit": {"name": "blur", "end": 4}}, "ends after the run"),
        ({"deficit": {"name": "blur", "start": 4, "end": 2}}, "lies before"),
        ({"deficit": {"name": "blur"}}, "exactly one of 'end' and 'length'"),
        ({"deficit": {"name": "fog", "end": 2}}, "label_permutation"),
        ({"model": {"name": "all_cnn", "width": -1}}, "greater than 0"),
        ({"model": {"name": "all_cnn", "width": float("nan")}}, "finite"),
        ({"modle": {}}, "Extra inputs"),
        ({"seeds": []}, "at least 1"),
        ({"seeds": [1, 1]}, "same seed twice"),
        ({"fisher": {}}, "give 'every', 'epochs' or both"),
        ({"sweep": {"deficit.end": []}}, "at least 1"),
        (
            {
                "deficit": None,
                "deficits": [
                    {"name": "blur", "end": 4},
                    {"name": "blur", "start": 2, "end": 5, "resolution": 2},
                ],
            },
            "overlap",
        ),
        ({"training": {"epochs_after_deficit": 0}}, "no epochs"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_and_says_why(changes, found):
    with pytest.raises(ValidationError) as refusal:
        spec(**changes)
    assert found in str(refusal.value)


# --- twins ---


def twins_of(asked):
    return {(p.variant, p.base, p.control) for p in points(asked)}


def test_controls_give_every_curve_its_twins():
    asked = spec(
        sweep={"deficit.end": [0, 5]},
        variants={"blur": {}, "flip": {"deficit": {"name": "vertical_flip", "end": 0}}},
        controls={"restart": True, "constant": 0.01},
        seeds=[0, 1],
    )
    assert twins_of(asked) == {
        (name + called, name, control)
        for name in ("blur", "flip")
        for called, control in (
            ("", None),
            (", rate restarted", "restart"),
            (", constant rate", "constant"),
        )
    }
    assert run_count(asked) == len(points(asked)) * 2 == 2 * 2 * 3 * 2


def test_a_sweep_without_variants_is_called_by_its_schedule_beside_its_twins():
    asked = spec(sweep={"deficit.end": [0, 5]}, controls={"restart": True})
    assert twins_of(asked) == {
        ("annealed", "annealed", None),
        ("rate restarted", "annealed", "restart"),
    }
    alone = spec(sweep={"deficit.end": [0, 5]})
    assert twins_of(alone) == {(None, None, None)}


def test_a_twin_differs_in_its_learning_rate_alone():
    asked = spec(sweep={"deficit.end": [5]}, controls={"restart": True, "constant": 0.01})
    plain, restarted, constant = (point.run for point in points(asked))
    rate = {"learning_rate_restart": "at_removal"}
    assert restarted.training == plain.training.model_copy(update=rate)
    assert (constant.training.schedule.name, constant.training.optimizer.learning_rate) == (
        "constant",
        0.01,
    )
    same = {"schedule", "optimizer"}
    assert constant.training.model_dump(exclude=same) == plain.training.model_dump(exclude=same)
    assert restarted.windows == constant.windows == plain.windows


def test_a_twin_may_not_take_a_variants_name():
    asked = spec(
        sweep={"deficit.end": [0, 5]},
        variants={"a": {}, "a, rate restarted": {"training.batch_size": 32}},
        controls={"restart": True},
    )
    with pytest.raises(Invalid, match="rename the variant") as refused:
        points(asked)
    assert refused.value.faults[0].pointer == "/controls"


def test_a_rate_that_is_none_is_refused_where_it_stands():
    with pytest.raises(ValidationError, match="greater than 0"):
        spec(controls={"constant": 0})


def test_what_is_swept_does_not_undo_a_twin():
    swept = [{"name": "exponential", "gamma": 0.9}, {"name": "exponential", "gamma": 0.8}]
    with pytest.raises(Invalid, match="which sets the rate itself") as refused:
        points(spec(sweep={"training.schedule": swept}, controls={"constant": 0.01}))
    assert refused.value.faults[0].pointer == "/controls"
    optimizers = [{"name": "sgd", "momentum": 0.9}, {"name": "adam"}]
    asked = spec(sweep={"training.optimizer": optimizers}, controls={"constant": 0.01})
    twins = [p.run.training.optimizer for p in points(asked) if p.control]
    assert [(one.name, one.learning_rate) for one in twins] == [("sgd", 0.01), ("adam", 0.01)]


def test_a_variant_does_not_undo_its_twin_whatever_it_names_first():
    setting = {
        "training.optimizer.learning_rate": 0.3,
        "training.optimizer": {"name": "sgd", "learning_rate": 0.2},
    }
    asked = spec(variants={"a": setting}, controls={"constant": 0.01})
    assert [p.run.training.optimizer.learning_rate for p in points(asked)] == [0.2, 0.01]


def test_a_curve_whose_rate_restarts_is_not_called_annealed():
    training = {"epochs_after_deficit": 5, "learning_rate_restart": "at_removal"}
    asked = spec(sweep={"deficit.end": [0, 5]}, training=training, controls={"constant": 0.01})
    assert {p.base for p in points(asked)} == {"as scheduled"}
