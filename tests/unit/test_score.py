"""Which accuracies a score takes, and which run is its partner: against counts by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from results_by_hand import (
    blurred,
    epoch_row,
    experiment_of,
    measured,
    plan_of,
    results_of,
    run_plan,
    segment,
)
from shelf import Shelf, body, paths

from api.figures import curves
from shared import partners, score, tree

PROBE = {
    "kind": "accuracy", "split": "test", "stimulus": [], "probe_set": "fixed", "samples": 64,
    "batchnorm_statistics": "reestimated", "statistics_stimulus": [], "statistics_samples": 128,
}  # fmt: skip


def reestimated(accuracies, epochs, missing=()):
    return {
        (epoch, "bn"): None if epoch in missing else measured(PROBE, epoch, accuracy=value)
        for epoch, value in zip(epochs, accuracies, strict=True)
    }


def test_reestimated_statistics_are_scored_where_all_scored_epochs_are_to_be_measured():
    life = {
        "accuracies": [0.1] * 20,
        "measured": reestimated([0.5, 0.6, 0.7, 0.8, 0.9], range(16, 21)),
    }
    results = experiment_of(life)
    (run,) = results.plan.runs
    assert score.last_accuracies(results, run, 3) == [0.7, 0.8, 0.9]
    assert score.final_score(results, run) == pytest.approx(0.7, abs=1e-15)
    words = "mean test accuracy of the last 5 epochs, BatchNorm statistics re-estimated"
    assert score.summary(results)["score"] == words
    # Of six epochs one is not to be measured: two kinds of number are never mixed.
    assert score.last_accuracies(results, run, 6) == [0.1] * 6


def test_there_is_no_reestimated_score_until_all_of_it_is_measured():
    accuracies, epochs = [0.5, 0.6, 0.7, 0.8, 0.9], range(16, 21)
    life = {"accuracies": [0.1] * 20, "measured": reestimated(accuracies, epochs, missing=[18])}
    results = experiment_of(life)
    assert score.final_score(results, results.plan.runs[0]) is None
    assert score.last_accuracies(results, results.plan.runs[0], 2) == [0.8, 0.9]
    assert score.summary(results)["points"][0]["n"] == 0


def test_a_reestimated_score_that_is_not_a_number_is_left_out_of_the_mean():
    broken = reestimated([0.5, "NaN", 0.7, 0.8, 0.9], range(16, 21))
    results = experiment_of(
        {"accuracies": [0.1] * 20, "measured": broken},
        {"accuracies": [0.1] * 20, "measured": reestimated([0.5] * 5, range(16, 21)), "seed": 1},
    )
    assert math.isnan(score.final_score(results, results.plan.runs[0]))
    (point,) = score.summary(results)["points"]
    assert (point["n"], point["mean"]) == (1, 0.5)


def test_a_run_that_has_not_ended_has_no_last_accuracies():
    results = experiment_of({"accuracies": [0.1] * 20, "ended": False})
    assert score.last_accuracies(results, results.plan.runs[0], 5) is None
    assert score.score_words(results.plan.runs, results.plan).endswith("last 5 epochs")


def test_partners_found_at_once_are_those_found_one_by_one():
    draw = np.random.default_rng(3)
    lives = []
    for _ in range(120):
        start, length = int(draw.integers(0, 4)), int(draw.integers(0, 3))
        epochs = int(draw.integers(8, 11))
        lives.append(
            {
                "accuracies": [0.5] * epochs,
                "variant": str(draw.choice(["a", "b"])),
                "config": int(draw.integers(0, 2)),
                "windows": [blurred(start, start + length)],
                "point": {"deficit.start": start, "model.width": int(draw.integers(1, 3))},
            }
        )
    results = experiment_of(*lives)
    one_by_one = {
        run.index: clean.index
        for run in results.plan.runs
        if partners.span(run) and (clean := partners.without_deficit(results, run)) is not None
    }
    at_once = {index: clean.index for index, clean in partners.partners(results).items()}
    assert at_once == one_by_one
    assert 20 < len(at_once) < 120


def test_the_summary_asks_the_store_for_each_scored_epoch_once():
    """For the scores and for the numerics classes: twice each, however much is made of them."""
    runs, segments, rows = [], [], {}
    for i in range(12):
        end = 10 * (i % 4)
        segments += [segment(f"a{i}", 0, 30), segment(f"b{i}", 30, 40)]
        runs.append(run_plan(i, [2 * i, 2 * i + 1], 40, seed=i // 4, config=i // 4,
                             windows=[blurred(0, end)], point={"deficit.end": end}))  # fmt: skip
        rows[f"a{i}"] = [epoch_row(e) for e in range(1, 31)]
        rows[f"b{i}"] = [epoch_row(e) for e in range(31, 41)]
    results, asked = results_of(plan_of(segments, runs), rows), []
    trained = results.trained
    watched = replace(results, trained=lambda s: asked.append(s.key) or trained(s))
    score.summary(watched)
    assert sorted(asked) == sorted([f"a{i}" for i in range(12)] + 2 * [f"b{i}" for i in range(12)])


# --- deficits beside windows on a regulariser ---


def learnt(asked, accuracy):
    """A real plan, and what `accuracy(run)` says its runs end at."""
    plan = tree.make(paths(asked), Shelf())
    ends = {run.segments[-1]: accuracy(run) for run in plan.runs}
    epochs = {
        s.key: [epoch_row(e, test_accuracy=ends.get(i, 0.1)) for e in range(s.start + 1, s.end + 1)]
        for i, s in enumerate(plan.segments)
    }
    return results_of(plan, epochs)


def removed(run):
    return run.windows[0]["end"]


def test_a_window_on_a_regulariser_beside_a_deficit_is_part_of_the_setting():
    windows = [
        {"name": "blur", "resolution": 4, "start": 0, "end": 0},
        {"name": "weight_decay", "value": 0.0, "start": 0, "end": 60},
    ]
    asked = body(
        deficit=None,
        deficits=windows,
        training={"epochs": 100},
        sweep={"deficits.0.end": [0, 20, 40, 80]},
    )
    results = learnt(asked, lambda run: 0.9 - removed(run) / 1000)
    found = score.summary(results)
    drops = [point["drop"] and round(point["drop"]["mean"], 9) for point in found["points"]]
    assert drops == [None, 0.02, 0.04, 0.08]
    (curve,) = found["critical_period"]
    assert [point["epoch"] for point in curve["points"]] == [20, 40, 80]
    assert curves.layout(results.plan).positions == {0: 0, 1: 20, 2: 40, 3: 80}


def test_a_window_on_a_regulariser_by_itself_is_what_is_removed():
    window = {"name": "weight_decay", "value": 0.0, "start": 0, "end": 0}
    asked = body(deficit=window, sweep={"deficit.end": [0, 20, 40]})
    (curve,) = score.summary(learnt(asked, lambda run: 0.9 - removed(run) / 1000))[
        "critical_period"
    ]
    assert [round(point["loss"]["mean"], 9) for point in curve["points"]] == [0.02, 0.04]


def test_the_learning_rate_restarts_where_the_deficit_ends_and_not_where_weight_decay_does():
    windows = [
        {"name": "blur", "resolution": 4, "start": 0, "end": 20},
        {"name": "weight_decay", "value": 0.0, "start": 0, "end": 40},
    ]
    training = {"epochs": 60, "learning_rate_restart": "at_removal"}
    (path,) = paths(body(deficit=None, deficits=windows, training=training))
    assert {stretch.start: stretch.restart for stretch in path.stretches} == {0: 0, 20: 20, 40: 20}


@pytest.mark.parametrize("starts", [[0, 10, 20], [20, 10, 0], [10, 0, 20]])
@pytest.mark.parametrize("lengths", [[0, 10], [10, 0]])
def test_a_partner_does_not_depend_on_the_order_of_an_axis(starts, lengths):
    asked = body(
        deficit={"name": "blur", "resolution": 4, "start": 0, "length": 0},
        training={"epochs_after_deficit": 20},
        sweep={"deficit.start": starts, "deficit.length": lengths},
    )
    results = learnt(asked, lambda run: 0.9 + run.epochs / 10_000)
    clean = partners.partners(results)
    found = {run.windows[0]["start"]: clean[run.index] for run in results.plan.runs
             if run.index in clean}  # fmt: skip
    assert {start: run.epochs for start, run in found.items()} == {0: 20, 10: 30, 20: 40}
    for run in results.plan.runs:
        if run.index in clean:
            assert partners.without_deficit(results, run) == clean[run.index]
