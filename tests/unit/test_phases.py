"""Phases of learning: against curves whose peak, half-life and plateau are known in closed form."""

import json
import math

import numpy as np
import pytest
from results_by_hand import blurred, experiment_of, measurement

from shared.phases import of_trace, phases, plateau

RISING = {epoch: 0.1 + 0.8 * (1 - math.exp(-epoch / 12)) for epoch in range(1, 161)}
BLUR = [{"name": "blur", "resolution": 8}]


def test_the_peak_and_the_half_decay_of_a_known_curve():
    # t exp(-t / 20) has its peak 20 / e at 20, and half of it where w = t / 20 solves
    # w exp(1 - w) = 1/2: w = 2.6783469900166606 (Lambert W).
    epochs = list(range(161))
    found = of_trace(epochs, [t * math.exp(-t / 20) for t in epochs], RISING)
    assert (found["peak_epoch"], found["peaked"]) == (20, True)
    assert found["peak_trace"] == pytest.approx(20 / math.e)
    assert found["half_decay_epoch"] == pytest.approx(20 * 2.6783469900166606, abs=0.01)
    assert found["peak_over_final"] == pytest.approx(20 / math.e / (160 * math.exp(-8)))


def test_half_decay_is_read_between_measured_epochs():
    found = of_trace([0, 10, 20, 40], [1.0, 8.0, 6.0, 2.0], {})
    assert (found["half_decay_epoch"], found["peak_over_final"]) == (30.0, 4.0)
    assert found["plateau_epoch"] is None


def test_a_trace_that_never_falls_to_half_has_no_half_decay():
    found = of_trace([0, 10, 20], [1.0, 8.0, 4.1], {})
    assert (found["half_decay_epoch"], found["peaked"]) == (None, True)


def test_a_trace_that_still_rises_at_the_end_has_not_peaked():
    found = of_trace([0, 10, 20], [1.0, 2.0, 3.0], {})
    assert (found["peaked"], found["peak_epoch"], found["half_decay_epoch"]) == (False, 20, None)
    flat = of_trace([0, 10], [2.0, 2.0], {})
    assert (flat["peaked"], flat["peak_over_final"]) == (False, 1.0)


def test_what_is_not_finite_is_left_out():
    found = of_trace([0, 1, 2, 3], [1.0, math.inf, 4.0, math.nan], {1: math.nan})
    assert (found["peak_epoch"], found["plateau_epoch"]) == (2, None)
    nothing = of_trace([0], [math.nan], {})
    assert (nothing["peak_epoch"], nothing["peaked"]) == (None, False)
    assert of_trace([0, 1], [0.0, 0.0], {})["peak_over_final"] is None


def test_accuracy_that_saturates_is_on_its_plateau_after_three_time_constants():
    # (1 - exp(-t / 12)) is within 1/20 of the rise from epoch 1 where
    # exp(-t / 12) = exp(-1 / 12) / 20: t = 1 + 12 ln 20 = 36.9.
    assert plateau(RISING) == 37


def test_noise_moves_the_plateau_by_little():
    draw = np.random.default_rng(5)
    found = []
    for _ in range(200):
        noise = 0.015 * draw.standard_normal(len(RISING))
        bad = int(draw.integers(60, 150))
        noisy = {e: a + noise[e - 1] - 0.3 * (e == bad) for e, a in RISING.items()}
        found.append(plateau(noisy))
    assert abs(np.median(found) - 37) <= 4
    assert max(found) < 60


def test_four_bad_epochs_do_not_end_a_plateau_and_five_do():
    bad = {n: RISING | {100 + i: 0.3 for i in range(n)} for n in (4, 5)}
    assert plateau(bad[4]) == 37
    # All five are among the nine epochs around 100, ..., and around 104.
    assert plateau(bad[5]) == 105


def test_accuracy_that_leaves_its_level_at_the_end_has_no_plateau():
    assert plateau(RISING | dict.fromkeys(range(156, 161), 0.5)) is None


def test_accuracy_that_falls_or_is_missing_has_no_plateau():
    assert plateau({1: 0.9, 2: 0.8, 3: 0.7}) is None
    assert plateau({}) is None
    assert plateau({1: 0.5}) is None


def test_a_short_run_is_not_smoothed_away():
    assert plateau({1: 0.1, 2: 0.5, 3: 0.87, 4: 0.9}) == 3
    assert plateau({epoch: min(epoch, 8) / 10 for epoch in range(1, 15)}) == 8


# --- of an experiment ---


def life(seed, traces, images=(), **more):
    taken = {(e, "p"): measurement(e, trace, images) for e, trace in traces.items()}
    return {"accuracies": list(RISING.values())[:40], "seed": seed, "measured": taken, **more}


def test_a_point_is_summed_up_over_its_seeds():
    one, two = {0: 1.0, 10: 8.0, 20: 2.0, 40: 1.0}, {0: 1.0, 10: 4.0, 20: 6.0, 40: 5.0}
    (found,) = phases(experiment_of(life(0, one), life(1, two)))
    assert (found["n"], found["peaked"], found["series"]) == (2, 2, "exact, train, clean")
    assert found["peak_epoch"]["mean"] == 15
    assert found["peak_trace"]["mean"] == 7
    assert found["half_decay_epoch"]["n"] == 1
    assert found["half_decay_epoch"]["mean"] == pytest.approx(10 + 10 * 4 / 6)
    expected = plateau({e: RISING[e] for e in range(1, 41)})
    assert found["plateau_epoch"]["mean"] == expected
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    json.dumps(found, allow_nan=False)


def test_what_a_run_is_shown_may_change_along_one_line():
    taken = {
        (0, "blurred"): measurement(0, 1.0, BLUR),
        (10, "blurred"): measurement(10, 5.0, BLUR),
        (20, "clean"): measurement(20, 2.0),
    }
    run = {"accuracies": [0.5] * 20, "measured": taken, "windows": [blurred(0, 10)]}
    (found,) = phases(experiment_of(run))
    assert found["series"] == "exact, train, current"
    assert found["half_decay_epoch"]["mean"] == pytest.approx(10 + 10 * 2.5 / 3)


def test_two_stimuli_at_one_epoch_are_two_lines_and_so_are_two_methods():
    taken = {}
    for epoch, trace in {0: 1.0, 10: 3.0, 20: 2.0}.items():
        taken[epoch, "clean"] = measurement(epoch, trace)
        taken[epoch, "blur"] = measurement(epoch, 2 * trace, BLUR)
        taken[epoch, "test"] = measurement(epoch, 3 * trace, split="test", samples=20)
    found = phases(experiment_of({"accuracies": [0.5] * 20, "measured": taken}))
    assert {one["series"]: one["peak_trace"]["mean"] for one in found} == {
        "exact, train, clean, samples 10": 3,
        "exact, train, blur(resolution=8), samples 10": 6,
        "exact, test, clean, samples 20": 9,
    }


def test_the_empirical_fisher_and_traces_that_are_not_numbers_are_left_out():
    wrong = {(0, "e"): measurement(0, 1.0, estimator="empirical")}
    lost = {(0, "p"): measurement(0, "NaN"), (10, "p"): measurement(10, 2.0)}
    assert phases(experiment_of({"accuracies": [0.5] * 20, "measured": wrong})) == []
    (found,) = phases(experiment_of({"accuracies": [0.5] * 20, "measured": lost | wrong}))
    assert (found["peak_epoch"]["mean"], found["peaked"]) == (10, 0)
    assert found["half_decay_epoch"] is None
