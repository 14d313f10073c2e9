"""What an experiment chose of what the paper leaves open."""

import pytest
from shelf import Shelf, body, paths, removal

from shared import tree
from shared.choices import QUESTIONS, choices


def chosen(spec):
    made = tree.make(paths(spec), Shelf())
    return {one["path"]: one["chosen"] for one in choices(made)}


def test_defaults_are_what_is_recommended():
    windows = [
        {"name": "noise", "start": 0, "end": 5},
        {"name": "label_permutation", "start": 0, "end": 5},
    ]
    found = chosen(
        body(
            deficit=None,
            deficits=windows,
            training={"epochs_after_deficit": 160},
            fisher={"epochs": [1]},
        )
    )
    assert found.keys() == {question.path for question in QUESTIONS}
    for question in QUESTIONS:
        if question.recommended is not None:
            assert found[question.path] == [question.recommended]


def test_what_does_not_arise_is_not_said():
    assert "deficits.*.of" not in chosen(removal(0, 10))
    assert "fisher.samples" not in chosen(removal(0, 10))
    assert "training.learning_rate_restart" not in chosen(removal(0))


def test_every_value_among_the_runs_is_said():
    found = chosen(
        body(
            sweep={
                "deficit.end": [0, 10],
                "training.optimizer.momentum": [0.9, 0.0],
                "model.blocks": [9, 8],
            },
            controls={"restart": True},
        )
    )
    assert found["training.optimizer.momentum"] == [0.9, 0.0]
    assert found["model.blocks"] == [9, 8]
    assert found["training.learning_rate_restart"] == ["never", "at_removal"]
    assert found["training.optimizer_restart"] == ["never"]


@pytest.mark.parametrize(
    ("changes", "path", "value"),
    [
        ({"scoring": {"batchnorm_statistics": "reestimated"}}, "scoring.batchnorm_statistics",
         "reestimated"),
        ({"fisher": {"epochs": [1], "images": "clean"}}, "fisher.images", "clean"),
        ({"fisher": {"epochs": [1], "estimator": "label"}}, "fisher.estimator", "label"),
    ],
)  # fmt: skip
def test_what_is_measured_is_said(changes, path, value):
    assert chosen(body(**changes))[path] == [value]
