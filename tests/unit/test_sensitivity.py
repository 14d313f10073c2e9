"""The drop of a sliding window and where it peaks: against medians and intervals of scipy."""

import json
import math

import numpy as np
import pytest
from results_by_hand import blurred, experiment_of
from scipy import stats

from shared import score
from shared.critical import peak_sensitivity
from shared.sensitivity import sensitivity

ONSETS = (0, 10, 20, 30)
DRAW = np.random.default_rng(7)
CLEAN = {seed: 0.9 + 0.02 * DRAW.standard_normal(60) for seed in range(4)}
WITH = {
    (onset, seed): 0.9
    - 0.05 * math.exp(-(((onset - 12) / 8) ** 2))
    + 0.01 * DRAW.standard_normal(60)
    for onset in ONSETS
    for seed in range(4)
}


def sliding(clean=CLEAN, with_it=WITH, length=10, epochs=60, unfinished=()):
    lives = [
        {"accuracies": values[-epochs:], "seed": seed, "config": seed, "variant": "clean"}
        for seed, values in clean.items()
    ]
    lives += [
        {
            "accuracies": values[-epochs:],
            "seed": seed,
            "config": seed,
            "variant": "blur",
            "windows": [blurred(onset, onset + length)],
            "point": {"deficit.start": onset},
            "ended": (onset, seed) not in unfinished,
        }
        for (onset, seed), values in with_it.items()
    ]
    return experiment_of(*lives)


def expected(onset, seeds=range(4), n=10):
    return np.array([np.median(CLEAN[s][-n:]) - np.median(WITH[onset, s][-n:]) for s in seeds])


def test_a_drop_is_the_difference_of_the_medians_of_the_last_ten_epochs():
    found = sensitivity(sliding())
    assert [(one["onset"], one["length"], one["n"]) for one in found] == [
        (onset, 10, 4) for onset in ONSETS
    ]
    for one in found:
        drops = expected(one["onset"])
        np.testing.assert_allclose([s["drop"] for s in one["seeds"]], drops, rtol=1e-12)
        interval = stats.t.interval(0.95, 3, drops.mean(), stats.sem(drops))
        np.testing.assert_allclose(one["interval"], interval, rtol=1e-9)
        assert (one["variant"], one["base"], one["control"]) == ("blur", "blur", None)
        assert one["median_epochs"] == 10


def test_a_short_run_is_looked_at_in_the_latter_half_of_its_recovery_and_so_is_its_partner():
    # 16 epochs with a window [0, 10): 6 epochs of recovery, of which 3 are looked at.
    results = sliding(with_it={(0, 0): WITH[0, 0], (0, 1): WITH[0, 1]}, epochs=16)
    (found,) = sensitivity(results)
    assert found["median_epochs"] == 3
    np.testing.assert_allclose([s["drop"] for s in found["seeds"]], expected(0, [0, 1], 3))


def test_a_pair_that_is_unfinished_or_diverged_does_not_count():
    broken = WITH[0, 2].copy()
    broken[-1] = math.nan
    results = sliding(with_it=WITH | {(0, 2): broken}, unfinished=[(0, 0), (10, 1)])
    first, second, *_ = sensitivity(results)
    assert [one["seed"] for one in first["seeds"]] == [1, 3]
    assert [one["seed"] for one in second["seeds"]] == [0, 2, 3]
    json.dumps(score.summary(results), allow_nan=False)


def test_only_points_with_exactly_one_window_are_there():
    window, empty = blurred(0, 5), blurred(5, 5)
    lives = [
        {"accuracies": [0.5] * 20, "point": {"deficits": i}, "windows": windows}
        for i, windows in enumerate([[], [empty], [window], [window, blurred(8, 9)]])
    ]
    assert [one["point"] for one in sensitivity(experiment_of(*lives))] == [{"deficits": 2}]


def test_the_peak_is_found_seed_by_seed():
    (found,) = peak_sensitivity(sliding())
    table = np.array([expected(onset) for onset in ONSETS])
    onsets, heights = np.array(ONSETS)[table.argmax(0)], table.max(0)
    assert found["onsets"] == list(ONSETS)
    assert (found["onset"]["n"], found["onset"]["mean"]) == (4, onsets.mean())
    np.testing.assert_allclose(found["height"]["mean"], heights.mean(), rtol=1e-12)
    interval = stats.t.interval(0.95, 3, heights.mean(), stats.sem(heights))
    np.testing.assert_allclose(found["height"]["interval"], interval, rtol=1e-9)


def test_a_seed_without_a_drop_at_some_onset_has_no_peak():
    (found,) = peak_sensitivity(sliding(unfinished=[(30, 0), (0, 3)]))
    assert found["onset"]["n"] == 2
    (nothing,) = peak_sensitivity(sliding(unfinished=[(30, seed) for seed in range(4)]))
    assert (nothing["onset"]["n"], nothing["onset"]["mean"]) == (0, None)
    assert "every onset" in nothing["reason"]


@pytest.mark.parametrize("onsets", [(10,), ()])
def test_one_onset_is_no_sweep(onsets):
    assert (
        peak_sensitivity(sliding(with_it={k: v for k, v in WITH.items() if k[0] in onsets})) == []
    )
