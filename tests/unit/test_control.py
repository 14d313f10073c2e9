"""What is left of a loss under a control: against root finding on a t test, and by simulation."""

import json

import numpy as np
import pytest
from results_by_hand import blurred, epoch_row, experiment_of, results_of
from scipy import optimize, stats
from shelf import Shelf, body, paths

from shared import tree
from shared.control import fieller, surviving

DECAYING = {
    "optimizer": {"learning_rate": 0.05},
    "schedule": {"name": "exponential", "gamma": 0.97},
}
CONSTANT = {"optimizer": {"learning_rate": 0.001}, "schedule": {"name": "constant"}}


def curves(losses, control="restart", configs=(DECAYING, DECAYING)):
    """{seed: (loss, loss of the twin)} at removal 40, each beside a clean run that is as good as
    0.9. Configs are of the curve and of its twin."""
    lives = []
    for seed, pair in losses.items():
        for name, loss, config in zip(("base", "twin"), pair, (0, 1), strict=True):
            for end, value in ((0, 0.9), (40, 0.9 - loss)):
                lives.append(
                    {
                        "accuracies": [value + (0.01 if name == "twin" else 0)] * 60,
                        "seed": seed,
                        "variant": name,
                        "base": "base",
                        "control": control if name == "twin" else None,
                        "config": 2 * seed + config,
                        "windows": [blurred(0, end)],
                        "point": {"deficit.end": end},
                    }
                )
    whole = [config for _ in range(1 + max(losses)) for config in configs]
    return experiment_of(*lives, configs=whole)


LOSSES = {0: (0.060, 0.020), 1: (0.075, 0.032), 2: (0.068, 0.020), 3: (0.052, 0.017)}


def t_of_ratio(r, numerator, denominator):
    return stats.ttest_1samp(np.array(numerator) - r * np.array(denominator), 0).statistic


def by_root_finding(numerator, denominator):
    """The ratios at which a t test of numerator - r * denominator is just significant."""
    n, middle = len(numerator), np.mean(numerator) / np.mean(denominator)
    limit = stats.t.ppf(0.975, n - 1)

    def beyond(r):
        return abs(t_of_ratio(r, numerator, denominator)) - limit

    ends = []
    for sign in (-1, 1):
        far = middle
        while beyond(far) < 0:
            far += sign * 0.01
        ends.append(optimize.brentq(beyond, middle, far, xtol=1e-13))
    return ends


def test_the_interval_is_where_a_t_test_cannot_tell_the_ratio():
    draw = np.random.default_rng(0)
    for n in (2, 3, 5, 12):
        x = 0.08 + 0.003 * draw.standard_normal(n)
        y = 0.4 * x + 0.002 * draw.standard_normal(n)
        np.testing.assert_allclose(fieller(y, x), by_root_finding(y, x), atol=1e-9)


def test_the_interval_covers_the_true_ratio_in_95_of_100_experiments():
    draw, trials, n = np.random.default_rng(1), 4000, 4
    covered = 0
    for _ in range(trials):
        x = 0.08 + 0.01 * draw.standard_normal(n)
        y = 0.03 + 0.5 * (x - 0.08) + 0.006 * draw.standard_normal(n)
        low, high = fieller(y, x)
        covered += low <= 0.03 / 0.08 <= high
    # Standard error of the share covered: sqrt(0.95 * 0.05 / 4000) = 0.0034.
    assert covered / trials == pytest.approx(0.95, abs=0.012)


def test_a_denominator_whose_interval_holds_zero_has_no_interval_of_the_ratio():
    assert fieller([0.1, 0.2, 0.1], [0.05, -0.05, 0.01]) is None
    assert fieller([0.1], [0.2]) is None


def test_a_numerator_in_proportion_has_a_ratio_without_width():
    assert fieller([0.02, 0.021, 0.022], [0.2, 0.21, 0.22]) == pytest.approx([0.1, 0.1], abs=1e-7)


def test_the_share_is_of_the_mean_losses_paired_by_seed():
    (found,) = surviving(curves(LOSSES))
    base, twin = np.array(list(LOSSES.values())).T
    assert (found["base"], found["control"], found["epoch"]) == ("base", "restart", 40)
    assert found["share"] == pytest.approx(twin.mean() / base.mean(), rel=1e-9)
    np.testing.assert_allclose(found["interval"], by_root_finding(twin, base), atol=1e-9)
    assert found["loss"]["mean"] == pytest.approx(base.mean(), rel=1e-9)
    assert found["control_loss"]["mean"] == pytest.approx(twin.mean(), rel=1e-9)
    assert (found["n"], found["reason"]) == (4, None)
    assert "Fieller" in found["interval_kind"]


def test_without_a_loss_there_is_no_share_of_it():
    (found,) = surviving(curves({0: (0.01, 0.02), 1: (-0.012, 0.01), 2: (0.004, 0.0)}))
    assert (found["share"], found["interval"], found["interval_kind"]) == (None, None, None)
    assert "includes 0" in found["reason"]
    (gain,) = surviving(curves({0: (-0.03, 0.02), 1: (-0.031, 0.01), 2: (-0.029, 0.0)}))
    assert gain["share"] is None
    assert "below 0" in gain["reason"]


def test_one_seed_has_a_share_without_an_interval():
    (found,) = surviving(curves({0: (0.06, 0.02)}))
    assert (found["share"], found["interval"]) == (pytest.approx(1 / 3), None)
    assert found["reason"] == "one seed: no interval"


def test_a_seed_that_diverged_in_one_of_its_four_runs_does_not_count():
    (found,) = surviving(curves(LOSSES | {1: (0.075, float("nan"))}))
    assert found["n"] == 3
    (nothing,) = surviving(curves({0: (float("nan"), 0.1)}))
    assert (nothing["n"], nothing["share"]) == (0, None)
    assert "no seed" in nothing["reason"]
    json.dumps([found, nothing], allow_nan=False)


def planned(controls, **training):
    """Real plans, whose segments are what a curve and its twin share; of made-up accuracies."""
    asked = body(
        sweep={"deficit.end": [0, 10]},
        training={"epochs_after_deficit": 15} | training,
        controls=controls,
    )
    plan = tree.make(paths(asked), Shelf())
    lost = {run.segments[-1] for run in plan.runs if run.windows[0]["end"]}
    epochs = {
        s.key: [epoch_row(e, test_accuracy=0.8 if i in lost else 0.9)
                for e in range(s.start + 1, s.end + 1)]
        for i, s in enumerate(plan.segments)
    }  # fmt: skip
    return results_of(plan, epochs)


@pytest.mark.parametrize(
    ("controls", "training", "is_same"),
    [
        ({"restart": True}, {"schedule": {"name": "constant"}}, True),
        ({"constant": 0.05}, {"schedule": {"name": "constant"}}, True),
        ({"constant": 0.01}, {"schedule": {"name": "constant"}}, False),
        ({"restart": True}, {"learning_rate_restart": "at_removal"}, True),
        ({"restart": True}, {}, False),
    ],
)
def test_a_twin_that_is_the_same_training_is_said_to_be_no_control(controls, training, is_same):
    (found,) = surviving(planned(controls, **training))
    assert ("changes nothing" in found["reason"]) is is_same
    assert found["share"] == 1


def test_a_constant_rate_other_than_the_curves_own_is_a_control():
    found = surviving(curves(LOSSES, "constant", (DECAYING, CONSTANT)))
    assert [one["reason"] for one in found] == [None]
