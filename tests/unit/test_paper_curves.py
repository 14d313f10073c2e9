"""The digitised curves against numbers copied from the readings and against sums made by hand."""

import json
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from shared.paper_curves import CURVES

ROOT = Path(__file__).parents[2]


def test_every_panel_that_was_read_is_there():
    assert set(CURVES) == {
        "fig1a", "fig1a_clean", "fig1c", "fig1c_clean", "fig1d", "fig2right_n1", "fig2right_n2",
        "fig2right_n3", "fig3left", "fig3centre", "fig3right",
    }  # fmt: skip


def test_the_removal_sweep_is_as_it_was_read():
    curve = CURVES["fig1a"]
    assert curve.x == (0, 20, 40, 60, 80, 100, 120, 140)
    assert curve.y == (90.7, 90.2, 89.4, 87.5, 85.1, 83.3, 82.2, 81.25)
    assert (curve.y_unit, curve.reading_error, curve.fits) == ("%", 0.1, "critical_period")


@pytest.mark.parametrize(
    ("id", "n", "sum_x", "sum_y"),
    [
        ("fig1a", 8, 560, 689.65),
        ("fig1a_clean", 11, 620, 969.10),
        ("fig1c", 8, 560, 11.12),
        ("fig1c_clean", 10, 660, 10.25),
        ("fig1d", 2, 136, 1.07),
        ("fig2right_n1", 8, 1120, -1.1),
        ("fig2right_n2", 8, 1120, -12.4),
        ("fig2right_n3", 8, 1120, -39.0),
        ("fig3left", 10, 900, 867.9),
        ("fig3centre", 13, 3120, -18.84),
        ("fig3right", 11, 2200, 959.8),
    ],
)
def test_the_sums_of_each_curve_are_those_of_the_readings(id, n, sum_x, sum_y):
    curve = CURVES[id]
    assert (len(curve.x), len(curve.y), sum(curve.x)) == (n, n, sum_x)
    assert sum(curve.y) == pytest.approx(sum_y, abs=1e-9)
    assert all(before < after for before, after in pairwise(curve.x))


def test_the_reading_error_is_that_of_the_panel_and_unknown_where_no_one_gave_one():
    errors = {id: curve.reading_error for id, curve in CURVES.items()}
    assert {id for id, error in errors.items() if error is None} == {"fig1d", "fig3centre"}
    assert {id for id, error in errors.items() if error == 0.15} == {"fig3left"}
    assert set(errors.values()) == {None, 0.1, 0.15}


def test_a_curve_in_ticks_says_so_and_lies_over_no_figure():
    curve = CURVES["fig3centre"]
    assert "ticks" in curve.y_unit
    assert "below 0.33 points" in curve.note
    assert curve.fits is None


def test_of_the_kittens_there_are_the_two_points_that_were_read():
    curve = CURVES["fig1d"]
    assert (curve.x, curve.y) == ((28, 108), (0.97, 0.1))
    assert curve.x_unit == "age at onset in days"
    assert curve.preset is None
    assert "Olson & Freeman 1980" in curve.source


def test_every_source_names_its_version():
    for id, curve in CURVES.items():
        assert "1711.08856" in curve.source, id
        assert ("v1" in curve.source) == (id != "fig1d")


def test_what_a_scaled_sweep_is_compared_by_is_the_latest_epoch_of_the_panel():
    for id, curve in CURVES.items():
        if id == "fig1d":
            assert curve.longest is None
        elif id.endswith("_clean"):
            assert curve.longest == 140
        else:
            assert curve.longest == max(curve.x)


def test_the_numbers_are_in_the_package():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "*.json" in data["package-data"]["shared"]
    code = "import json; from shared.paper_curves import CURVES; print(json.dumps(list(CURVES)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(done.stdout) == list(CURVES)
