"""Critical periods as numbers: against scipy's paired t test and interpolation by numpy."""

import json

import numpy as np
import pytest
from results_by_hand import blurred, experiment_of
from scipy import stats

from shared import score
from shared.critical import critical_period

REMOVALS = (0, 20, 40, 60, 80)
MEANS = dict(zip(REMOVALS, (0.0, 0.0, 0.01, 0.05, 0.08), strict=True))
DRAW = np.random.default_rng(11)
SEEDS = 5
LOSS = {
    (end, seed): MEANS[end] + 0.003 * DRAW.standard_normal() for end in REMOVALS[1:]
    for seed in range(SEEDS)
} | {(0, seed): 0.0 for seed in range(SEEDS)}  # fmt: skip


def removal(losses=LOSS, start=0, unfinished=(), **more):
    """Each run is as good as 0.9, a shift by seed, and less its loss in all of its epochs."""
    lives = [
        {
            "accuracies": [0.9 + 0.01 * seed - loss] * (end + 20),
            "seed": seed,
            "config": seed,
            "windows": [blurred(start, end)],
            "point": {"deficit.end": end},
            "ended": (end, seed) not in unfinished,
            **more,
        }
        for (end, seed), loss in losses.items()
    ]
    return experiment_of(*lives)


def losses_at(end, losses=LOSS):
    return np.array([loss for (at, _), loss in losses.items() if at == end])


def test_the_first_penalty_is_the_first_loss_that_a_t_test_finds():
    (found,) = critical_period(removal())
    p = {end: stats.ttest_1samp(losses_at(end), 0) for end in REMOVALS[1:]}
    penalised = [end for end in p if p[end].pvalue < 0.05 and p[end].statistic > 0]
    assert penalised == [40, 60, 80]
    assert (found["first_penalty"], found["longest_without_penalty"]) == (40, 20)
    assert [point["epoch"] for point in found["points"]] == [20, 40, 60, 80]
    for point in found["points"]:
        sample = losses_at(point["epoch"])
        interval = stats.t.interval(0.95, SEEDS - 1, sample.mean(), stats.sem(sample))
        np.testing.assert_allclose(point["loss"]["interval"], interval, atol=1e-12)
    assert found["largest_loss"] == found["points"][-1]["loss"]
    assert found["reason"] is None


def test_a_penalty_from_the_first_removal_leaves_nothing_without():
    (found,) = critical_period(removal({k: v for k, v in LOSS.items() if k[0] != 20}))
    assert (found["first_penalty"], found["longest_without_penalty"]) == (40, 0)


def test_half_of_the_loss_is_lost_where_each_seeds_line_crosses_it():
    (found,) = critical_period(removal())
    fine = np.linspace(0, 80, 800_001)
    crossings = []
    for seed in range(SEEDS):
        line = np.interp(fine, REMOVALS, [LOSS[end, seed] for end in REMOVALS])
        crossings.append(fine[np.argmax(line >= LOSS[80, seed] / 2)])
    assert found["half_loss_epoch"]["n"] == SEEDS
    assert found["half_loss_epoch"]["mean"] == pytest.approx(np.mean(crossings), abs=2e-4)
    assert found["half_loss_epoch"]["standard_deviation"] == pytest.approx(
        np.std(crossings, ddof=1), abs=2e-4
    )


def test_one_seed_has_no_penalty_but_a_half_loss_without_an_interval():
    (found,) = critical_period(removal({k: v for k, v in LOSS.items() if k[1] == 0}))
    assert (found["first_penalty"], found["longest_without_penalty"]) == (None, None)
    assert "one seed" in found["reason"]
    assert (found["half_loss_epoch"]["n"], found["half_loss_epoch"]["interval"]) == (1, None)
    assert 40 < found["half_loss_epoch"]["mean"] < 80


def test_a_deficit_without_effect_has_no_critical_period_and_no_half_loss():
    draw = np.random.default_rng(2)
    flat = {key: 0.01 * draw.standard_normal() * (key[0] > 0) for key in LOSS}
    (found,) = critical_period(removal(flat))
    assert all(abs(stats.ttest_1samp(losses_at(e, flat), 0).statistic) < 2.7 for e in REMOVALS[1:])
    assert (found["first_penalty"], found["longest_without_penalty"]) == (None, 80)
    assert found["half_loss_epoch"] is None
    assert "no removal epoch has a loss" in found["reason"]
    assert "no half of it" in found["reason"]


def test_a_seed_that_lost_nothing_in_the_end_has_no_half_loss_and_this_is_said():
    losses = {
        (end, seed): 0.0 if end == 0 else 0.03 + 0.001 * seed
        for end in (0, 20, 40) for seed in range(5)
    } | {(40, 2): -0.001}  # fmt: skip
    (found,) = critical_period(removal(losses))
    assert found["half_loss_epoch"]["n"] == 4
    assert found["half_loss_epoch"]["mean"] == pytest.approx(10)
    assert "without 1 seeds" in found["reason"]


def test_before_anything_has_finished_there_is_a_curve_without_numbers():
    (found,) = critical_period(removal(unfinished=LOSS))
    assert [point["loss"]["n"] for point in found["points"]] == [0, 0, 0, 0]
    assert found["largest_loss"]["mean"] is None
    assert "finished" in found["reason"]
    (late,) = critical_period(removal(unfinished=[(80, seed) for seed in range(SEEDS)]))
    assert (late["first_penalty"], late["half_loss_epoch"]) == (40, None)
    assert "latest removal" in late["reason"]


def test_curves_are_told_apart_by_where_they_begin_and_by_the_rest_of_the_sweep():
    lives = [
        {
            "accuracies": [0.9] * 40,
            "variant": "twin" if twin else "base",
            "base": "base",
            "control": "restart" if twin else None,
            "windows": [blurred(start, start + length)],
            "point": {"deficit.start": start, "deficit.length": length, "model.n": n},
        }
        for twin in (False, True)
        for start in (0, 5)
        for length in (0, 5, 10)
        for n in (1, 2)
    ]
    found = critical_period(experiment_of(*lives))
    assert [(c["variant"], c["control"], c["onset"], c["point"]) for c in found] == [
        (name, control, start, {"model.n": n})
        for name, control in (("base", None), ("twin", "restart"))
        for start in (0, 5)
        for n in (1, 2)
    ]
    assert all(c["base"] == "base" for c in found)
    assert [point["epoch"] for point in found[-1]["points"]] == [10, 15]


def test_a_window_that_only_slides_is_no_removal_sweep():
    lives = [
        {"accuracies": [0.9] * 40, "windows": [blurred(start, start + 5)],
         "point": {"deficit.start": start}}
        for start in (0, 5, 10)
    ]  # fmt: skip
    assert critical_period(experiment_of(*lives)) == []


def test_the_summary_holds_it_all_and_is_json():
    found = score.summary(removal())
    assert found["critical_period"] == critical_period(removal())
    assert len(found["sensitivity"]) == 4
    assert (found["peak_sensitivity"], found["controls"]) == ([], [])
    json.dumps(found, allow_nan=False)
