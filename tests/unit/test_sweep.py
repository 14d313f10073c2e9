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


@pytest.mark.parametrize(
    ("sweep", "found"),
    [
        ({"seeds": [[0], [1]]}, "cannot be swept"),
        ({"fisher.every": [1]}, "cannot be swept"),
        ({"training.batchsize": [1]}, "batchsize"),
        ({"training.batch_size.x": [1]}, "names no field"),
        ({"deficits.3.end": [1]}, "names no field"),
        ({"model.width": [-1]}, "greater than 0"),
        ({"deficit.start": [3]}, "before 'start'"),
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
