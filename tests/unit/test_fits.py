"""The exponential fit of the trace to sensitivity: against scipy's curve_fit, brute force and
spearmanr."""

import json
import math

import numpy as np
import pytest
from results_by_hand import blurred, experiment_of, measurement
from scipy import optimize, stats

from shared.fits import exponential, fisher_fit


def model(s, a, b, c):
    return a * np.exp(c * s) + b


def sample(n=12, seed=0, noise=0.05, a=3.0, b=1.0, c=0.9):
    draw = np.random.default_rng(seed)
    s = draw.uniform(0.2, 2.4, n)
    return s, model(s, a, b, c) + noise * draw.standard_normal(n)


@pytest.mark.parametrize(
    "truth", [(3.0, 1.0, 0.9), (3.0, 1.0, -1.5), (-2.0, 5.0, 2.0), (-4.0, 1.0, -0.7), (1e3, -50, 3)]
)
def test_an_exact_exponential_is_found_again(truth):
    a, b, c = truth
    s, f = sample(a=a, b=b, c=c, noise=0)
    found = exponential(s, f)
    assert (found["a"], found["b"], found["c"]) == pytest.approx((a, b, c), rel=1e-4)
    assert found["r2"] == pytest.approx(1, abs=1e-12)
    assert found["reason"] is None


@pytest.mark.parametrize("seed", range(6))
def test_a_noisy_one_is_fitted_as_curve_fit_does_from_the_true_start(seed):
    s, f = sample(seed=seed, noise=0.4)
    found = exponential(s, f)
    (a, b, c), _ = optimize.curve_fit(model, s, f, p0=(3, 1, 0.9), maxfev=100_000, xtol=1e-14)
    assert (found["a"], found["b"], found["c"]) == pytest.approx((a, b, c), rel=1e-4)
    rest = f - model(s, found["a"], found["b"], found["c"])
    assert found["r2"] == pytest.approx(1 - (rest @ rest) / ((f - f.mean()) ** 2).sum(), abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_no_c_of_a_fine_grid_fits_better(seed):
    draw = np.random.default_rng(100 + seed)
    s, f = draw.uniform(0, 3, 8), draw.uniform(1, 5, 8)
    c = np.linspace(1e-3, 150, 20_000)[:, None]
    u = np.concatenate([np.exp(c * (s - s.max())), np.exp(-c * (s - s.min()))])
    u, v = u - u.mean(1, keepdims=True), f - f.mean()
    r2 = (u @ v) ** 2 / ((u * u).sum(1) * (v @ v))
    assert exponential(s, f)["r2"] >= r2.max() - 1e-7


@pytest.mark.parametrize("seed", range(4))
def test_spearman_is_scipys_with_equal_values_too(seed):
    draw = np.random.default_rng(seed)
    s, f = draw.integers(0, 6, 15) / 2, draw.integers(0, 9, 15) / 4
    expected, found = stats.spearmanr(s, f), exponential(s, f)
    assert found["spearman"] == pytest.approx(expected.statistic, rel=1e-12)
    assert found["spearman_p"] == pytest.approx(expected.pvalue, rel=1e-9)


def test_a_perfect_order_has_rank_correlation_one():
    found = exponential([0, 1, 2, 3, 4], [10, 4, 2, 1.5, 1.4])
    assert found["spearman"] == pytest.approx(-1, abs=1e-12)
    assert 0 <= found["spearman_p"] < 1e-12


@pytest.mark.parametrize(
    ("s", "f", "word"),
    [
        ([1, 2, 3], [1, 2, 4], "3 points"),
        ([], [], "0 points"),
        ([1, 2, 3, math.nan], [1, 2, 4, 5], "3 points"),
        ([2, 2, 2, 2], [1, 2, 4, 5], "sensitivity is the same"),
        ([1, 2, 3, 4], [7, 7, 7, 7], "trace is the same"),
        ([1, 2, 3, 4], [3, 5, 7, 9], "straight line"),
        ([1, 2, 3, 4], [3, 3, 3, 9], "a step"),
        ([1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3], [1, 2, 4, 8], "too little"),
    ],
)
def test_what_is_not_determined_has_a_reason_and_is_json(s, f, word):
    found = exponential(s, f)
    assert word in found["reason"]
    assert (found["a"], found["b"], found["c"]) == (None, None, None)
    json.dumps(found, allow_nan=False)


def test_any_numbers_make_json():
    draw = np.random.default_rng(9)
    for _ in range(150):
        n = int(draw.integers(0, 9))
        scale = 10.0 ** draw.integers(-12, 12), 10.0 ** draw.integers(-200, 200)
        found = exponential(scale[0] * draw.standard_normal(n), scale[1] * draw.standard_normal(n))
        json.dumps(found, allow_nan=False)
        assert found["r2"] is None or -1e-9 <= found["r2"] <= 1 + 1e-9


# --- of an experiment ---

ONSETS = (0, 10, 15, 30, 40)
TRACE = {0: 2.0, 10: 9.0, 20: 8.0, 30: 5.0, 40: 3.0, 60: 1.0}


def drop_of(trace):
    """The inverse of trace = 3 exp(0.8 S) - 2, S in percentage points."""
    return math.log((trace + 2) / 3) / 0.8 / 100


def sliding(seeds=(0, 1), onsets=ONSETS, traces=TRACE):
    lives = []
    for seed in seeds:
        taken = {(e, "p"): measurement(e, trace + 0.5 * seed) for e, trace in traces.items()}
        clean = {"accuracies": [0.9] * 60, "variant": "clean", "measured": taken}
        lives.append(clean | {"seed": seed, "config": seed})
        for onset in onsets:
            at = np.interp(onset, list(TRACE), list(TRACE.values()))
            value = 0.9 - drop_of(at + 0.5 * seed)
            lives.append({
                "accuracies": [value] * 60, "variant": "blur", "seed": seed, "config": seed,
                "windows": [blurred(onset, onset + 10)], "point": {"deficit.start": onset},
                "measured": {(e, "p"): measurement(e, 99.0) for e in traces},
            })  # fmt: skip
    return experiment_of(*lives)


def test_the_clean_runs_trace_is_set_against_the_sensitivity_at_the_same_epoch():
    (found,) = fisher_fit(sliding(seeds=[0]))
    assert (found["variant"], found["length"], found["n"]) == ("blur", 10, 5)
    assert (found["a"], found["b"], found["c"]) == pytest.approx((3, -2, 0.8), rel=1e-4)
    assert [point["onset"] for point in found["points"]] == list(ONSETS)
    # 15 lies half way between measured 10 and 20.
    assert [point["trace"] for point in found["points"]] == [2.0, 9.0, 8.5, 5.0, 3.0]
    for point in found["points"]:
        assert point["sensitivity"] == pytest.approx(100 * drop_of(point["trace"]))
        assert point["fitted"] == pytest.approx(point["trace"], rel=1e-5)
        assert (point["n"], point["low"], point["trace_low"]) == (1, None, None)
    json.dumps(found, allow_nan=False)


def test_points_are_means_over_seeds_with_students_intervals():
    (found,) = fisher_fit(sliding())
    for point in found["points"]:
        at = float(np.interp(point["onset"], list(TRACE), list(TRACE.values())))
        traces, drops = [at, at + 0.5], [100 * drop_of(at), 100 * drop_of(at + 0.5)]
        assert (point["n"], point["trace"]) == (2, pytest.approx(np.mean(traces)))
        interval = stats.t.interval(0.95, 1, np.mean(drops), stats.sem(drops))
        assert (point["low"], point["high"]) == pytest.approx(interval, rel=1e-6)
        assert point["trace_low"] == pytest.approx(np.mean(traces) - 12.7062 * 0.25, rel=1e-4)


def test_an_onset_beyond_what_is_measured_is_left_out():
    (found,) = fisher_fit(sliding(traces={e: t for e, t in TRACE.items() if e <= 30}))
    assert [point["onset"] for point in found["points"]] == [0, 10, 15, 30]


def test_without_traces_or_onsets_there_is_nothing_to_fit():
    assert fisher_fit(sliding(traces={})) == []
    assert fisher_fit(sliding(onsets=[10])) == []
