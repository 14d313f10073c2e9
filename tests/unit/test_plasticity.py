"""How far information moves between layers after a removal: against numpy and scipy."""

import json

import numpy as np
import pytest
from results_by_hand import blurred, experiment_of, measurement
from scipy import stats

from shared.plasticity import plasticity, total_variation

NAMES = ("0.conv", "1.conv", "2.linear")
DRAW = np.random.default_rng(4)
TRACES = {
    (seed, epoch): 10 * DRAW.dirichlet((2, 2, 2)) * DRAW.uniform(0.5, 2)
    for seed in range(3)
    for epoch in (0, 10, 20, 30)
}


def layered(epoch, traces):
    layers = dict(zip(NAMES, map(float, traces), strict=True))
    return measurement(epoch, float(np.nansum(traces)), layers=layers)


def removed_at(removal, traces=TRACES, missing=()):
    lives = [
        {
            "accuracies": [0.5] * 30,
            "seed": seed,
            "config": seed,
            "windows": [blurred(0, removal)],
            "point": {"deficit.end": removal},
            "measured": {
                (epoch, "p"): None if (seed, epoch) in missing else layered(epoch, values)
                for (of, epoch), values in traces.items()
                if of == seed
            },
        }
        for seed in range(3)
    ]
    return experiment_of(*lives)


def share(seed, epoch):
    return TRACES[seed, epoch] / TRACES[seed, epoch].sum()


def test_what_moves_is_half_of_the_summed_changes_of_shares():
    (found,) = plasticity(removed_at(10))
    changes = np.array([share(seed, 30) - share(seed, 10) for seed in range(3)])
    moved = np.abs(changes).sum(1) / 2
    assert (found["removal"], found["epoch"], found["end"], found["n"]) == (10, 10, 30, 3)
    assert found["moved"]["mean"] == pytest.approx(moved.mean(), rel=1e-12)
    interval = stats.t.interval(0.95, 2, moved.mean(), stats.sem(moved))
    np.testing.assert_allclose(found["moved"]["interval"], interval, rtol=1e-9)
    assert [layer["name"] for layer in found["layers"]] == list(NAMES)
    for i, layer in enumerate(found["layers"]):
        ends = [share(seed, 30)[i] for seed in range(3)]
        starts = [share(seed, 10)[i] for seed in range(3)]
        assert layer["at_end"]["mean"] == pytest.approx(np.mean(ends), rel=1e-12)
        assert layer["at_removal"]["mean"] == pytest.approx(np.mean(starts), rel=1e-12)
        expected = np.std(changes[:, i], ddof=1)
        assert layer["change"]["standard_deviation"] == pytest.approx(expected, rel=1e-9)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("removal", "epoch"), [(3, 0), (5, 0), (6, 10), (15, 10), (16, 20)])
def test_the_nearest_measured_epoch_stands_for_the_removal_and_the_earlier_of_two(removal, epoch):
    (found,) = plasticity(removed_at(removal))
    assert (found["removal"], found["epoch"]) == (removal, epoch)


def test_a_removal_that_is_measured_as_the_end_is_left_out():
    assert plasticity(removed_at(28)) == []
    assert plasticity(removed_at(0)) == []


def test_a_run_counts_once_both_ends_are_measured_and_finite():
    broken = TRACES | {(1, 10): np.array([1.0, np.nan, 2.0])}
    (found,) = plasticity(removed_at(10, broken, missing=[(0, 30)]))
    assert (found["n"], found["moved"]["interval"]) == (1, None)
    (nothing,) = plasticity(removed_at(10, missing=[(s, 30) for s in range(3)]))
    assert (nothing["n"], nothing["moved"]["mean"], nothing["layers"]) == (0, None, [])
    json.dumps([found, nothing], allow_nan=False)


def test_total_variation_is_the_largest_difference_that_any_set_of_layers_has():
    p, q = share(0, 0), share(1, 0)
    sets = [[bool(i & 1 << k) for k in range(3)] for i in range(8)]
    largest = max(abs(p[chosen].sum() - q[chosen].sum()) for chosen in map(np.array, sets))
    found = total_variation(dict(zip(NAMES, p, strict=True)), dict(zip(NAMES, q, strict=True)))
    assert found == pytest.approx(largest, rel=1e-12)
    assert total_variation({"a": 1.0}, {"b": 1.0}) == 1
