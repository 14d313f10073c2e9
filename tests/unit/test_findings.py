"""The demo's sentence follows from the numbers, signs included."""

import pytest

from deploy.findings import finding


def summary(**drops):
    names = {"blur": "blur", "flip": "vertical flip", "restart": "blur, learning rate restarted"}
    return {
        "points": [
            {"variant": names[name], "point": {"deficit.end": 20}, "drop": drop}
            for name, drop in drops.items()
        ]
    }


def drop(mean, low, high):
    return {"mean": mean, "interval": [low, high]}


LOSS, NONE, GAIN = drop(0.45, 0.42, 0.48), drop(-0.03, -0.17, 0.12), drop(-0.039, -0.067, -0.011)


def test_a_loss_that_a_fresh_rate_undoes_is_called_a_decayed_rate():
    said = finding(summary(blur=LOSS, flip=NONE, restart=GAIN))
    assert "costs 45.0 points of accuracy (95 % interval 42.0 to 48.0, paired by seed)" in said
    assert "no loss beyond its interval (-3.0 points, 95 % interval -17.0 to 12.0" in said
    assert "gains 3.9 points (95 % interval 1.1 to 6.7, paired by seed)" in said
    assert "the whole loss comes from a learning rate that has decayed" in said


def test_a_loss_that_stays_is_said_as_a_share():
    said = finding(summary(blur=LOSS, flip=NONE, restart=drop(0.09, 0.05, 0.13)))
    assert said.endswith("20 % of the loss survives a fresh learning rate.")


def test_without_a_loss_no_critical_period_is_claimed():
    said = finding(summary(blur=NONE, flip=NONE, restart=NONE))
    assert said.endswith("no critical period is shown here.")


@pytest.mark.parametrize("missing", [None, {"mean": 0.1, "interval": None}])
def test_too_few_seeds_say_nothing(missing):
    assert finding(summary(blur=LOSS, flip=missing, restart=GAIN)).startswith("Too few runs")
