"""Accuracy against sparsity as a table and as a figure, of results written by hand."""

import pytest
from results_by_hand import experiment_of, measured

from api.figures import pruning as figure
from shared.errors import Conflict
from shared.prune import Prune
from shared.pruned import pruned
from shared.score import scored_epochs, spread

LEFT = {0.5: 5, 0.9: 1}


def asked(sparsity, criterion, **more):
    return {"at": 4, "sparsity": sparsity, "criterion": criterion, "granularity": "weights",
            "ranking": "global", "steps": 1, "every": 1, "scored_at": None, "labels": "model",
            "samples": 8} | more  # fmt: skip


def life(sparsity, criterion, seed, after, before=0.3, variant=None, **more):
    """Four dense epochs that end at 0.9, then four of fine-tuning that end at `after`."""
    found = {}
    if sparsity:
        layer = {"name": "0", "weights": 10, "weights_left": LEFT[sparsity], "channels": 2,
                 "channels_left": 2}  # fmt: skip
        one = measured({"kind": "pruned"}, 4, running={"accuracy": before, "loss": 1.5},
                       reestimated={"accuracy": before + 0.1, "loss": 1.2},
                       layers=[layer], weights=10, weights_left=LEFT[sparsity], channels=2,
                       channels_left=2, samples=8)  # fmt: skip
        found = {(4, f"p{sparsity}{criterion}{seed}{variant}"): one}
    return {"accuracies": [0.5, 0.7, 0.8, 0.9, 0.1, 0.2, after, after], "seed": seed,
            "variant": variant, "point": {"pruning.sparsity": sparsity},
            "pruning": asked(sparsity, criterion, **more), "measured": found}  # fmt: skip


def lives(criterion="magnitude", drop=0.0, variant=None, seeds=(0, 1, 2), **more):
    return [
        life(s, criterion, seed, 0.9 - drop * s + 0.01 * seed, 0.4 - 0.2 * s, variant, **more)
        for s in (0, 0.5, 0.9)
        for seed in seeds
    ]


def test_points_have_what_is_left_at_once_and_after_fine_tuning_over_seeds():
    [one] = pruned(experiment_of(*lives(drop=0.5)))["curves"]
    dense, half, most = one["points"]
    assert dense["before"]["mean"] == dense["before_reestimated"]["mean"] == pytest.approx(0.9)
    assert half["before"]["mean"] == pytest.approx(0.3)
    assert half["before_reestimated"]["mean"] == pytest.approx(0.4)
    assert half["after"]["mean"] == pytest.approx(0.9 - 0.25 + 0.01)
    assert most["after"]["interval"] == pytest.approx(spread([0.45, 0.46, 0.47])["interval"])
    assert half["weights_left"] == pytest.approx(0.5)
    assert most["layers"][0]["weights_left"] == pytest.approx(0.1)


def test_the_area_is_of_trapezoids_over_their_range_and_differences_are_paired_by_seed():
    found = pruned(experiment_of(*lives(drop=0.5), *lives("random", drop=1.0)))
    first, second = found["curves"]
    # Straight in the sparsity: the area is the middle of both ends.
    assert first["area"]["after"]["mean"] == pytest.approx((0.91 + 0.46) / 2)
    assert first["lost"]["after"]["mean"] == pytest.approx(0.5 * 0.45)
    [difference] = found["differences"]
    assert (difference["by"], difference["one"], difference["other"]) == ("criterion", 0, 1)
    gap = difference["area"]["after"]
    assert gap["mean"] == pytest.approx(0.225)
    assert gap["standard_deviation"] == pytest.approx(0, abs=1e-12)
    assert second["area"]["after"]["n"] == 3


def test_settings_are_compared_where_they_are_pruned_alike():
    runs = [*lives(variant="clean"), *lives(variant="blurred", drop=0.2),
            *lives("random", variant="blurred"),
            *lives(variant="clean by its peak", scored_at=2)]  # fmt: skip
    found = pruned(experiment_of(*runs))
    names = [(c["variant"], c["criterion"]) for c in found["curves"]]
    told = {(d["by"], names[d["one"]], names[d["other"]]) for d in found["differences"]}
    magnitude = [(v, "magnitude") for v in ("clean", "blurred", "clean by its peak")]
    assert told == {
        ("setting", magnitude[0], magnitude[1]),
        ("setting", magnitude[0], magnitude[2]),
        ("setting", magnitude[1], magnitude[2]),
        ("criterion", ("blurred", "magnitude"), ("blurred", "random")),
    }


def test_while_runs_are_under_way_there_is_what_there_is():
    runs = lives()
    runs[-1]["ended"] = False
    [one] = pruned(experiment_of(*runs))["curves"]
    assert [point["after"]["n"] for point in one["points"]] == [3, 3, 2]
    assert one["area"]["after"]["n"] == 2


def test_where_nothing_is_pruned_it_is_a_conflict():
    with pytest.raises(Conflict, match="Nothing is pruned"):
        pruned(experiment_of({"accuracies": [0.5]}))
    with pytest.raises(Conflict, match="no run of this experiment is pruned"):
        figure.build(experiment_of({"accuracies": [0.5]}))


def test_a_pruned_run_is_scored_after_its_pruning_alone():
    [run, *_] = experiment_of(*lives()).plan.runs
    assert scored_epochs(run) == 2  # of four of fine-tuning, where eight epochs would give four


def test_the_figure_has_a_panel_for_each_setting_and_a_line_for_each_criterion():
    runs = [*lives(variant="clean"), *lives("random", variant="clean", drop=0.4),
            *lives(variant="blurred", scored_at=3)]  # fmt: skip
    drawn = figure.build(experiment_of(*runs))
    means = [row for row in drawn["data"] if row["kind"] == "mean"]
    assert {row["panel"] for row in means} == {"clean", "blurred; scored at epoch 3"}
    assert {row["curve"] for row in means} == {"magnitude |w|", "random"}
    assert len(means) == 3 * 3 * 3  # curves, stages, sparsities
    assert {row["kind"] for row in drawn["data"]} == {"mean", "seed", "layer"}


def compared(samples):
    pair = {"one": "magnitude", "other": "random", "correlation": samples / 100, "layers": []}
    probe = {"kind": "saliency", "split": "train", "stimulus": [], "probe_set": "fixed",
             "samples": samples, "granularity": "weights", "labels": "model"}  # fmt: skip
    return measured(probe, 4, samples=samples, criteria=["magnitude", "random"], pairs=[pair],
                    layers=[])  # fmt: skip


def test_one_state_compared_on_other_images_is_not_another_seed():
    one = life(0.5, "magnitude", 0, 0.8)
    one["measured"] |= {(4, f"s{n}"): compared(n) for n in (16, 64)}
    found = pruned(experiment_of(one))["correlations"]
    assert [(c["samples"], c["pairs"][0]["correlation"]["n"]) for c in found] == [(16, 1), (64, 1)]
    drawn = figure.build(experiment_of(one))["data"]
    states = {row["state"] for row in drawn if row["kind"] == "correlation"}
    assert len(states) == 2


def test_criteria_that_were_compared_with_nothing_pruned_are_shown():
    one = {"accuracies": [0.5] * 4, "measured": {(4, "s"): compared(16)}}
    found = pruned(experiment_of(one))
    assert (found["curves"], len(found["correlations"])) == ([], 1)
    drawn = figure.build(experiment_of(one))
    assert {row["kind"] for row in drawn["data"]} == {"correlation"}
    assert len(drawn["vegalite"]["vconcat"]) == 1


def test_one_setting_that_is_pruned_at_two_epochs_has_two_panels():
    runs = [*lives(seeds=(0,), variant="a"), *lives(seeds=(0,), variant="a", at=3)]
    drawn = figure.build(experiment_of(*runs))["data"]
    assert len({row["panel"] for row in drawn if row["kind"] == "mean"}) == 2
    alone = figure.build(experiment_of(*lives(seeds=(0,), variant="a")))["data"]
    assert {row["panel"] for row in alone if row["kind"] == "mean"} == {"a"}


def test_a_swept_pruning_as_a_whole_is_one_curve():
    runs = lives(seeds=(0,))
    for one in runs:
        one["point"] = {"pruning": one["pruning"]}
    assert len(pruned(experiment_of(*runs))["curves"]) == 1


def test_a_seed_that_is_named_twice_is_refused():
    with pytest.raises(ValueError, match="same seed twice"):
        Prune(run=0, epoch=4, seeds=[1, 1])


def test_windows_that_would_outlast_the_pruned_runs_end_with_them():
    asked = Prune(run=0, epoch=3, fine_tuning_epochs=2)
    windows = [
        {"name": "blur", "resolution": 4, "start": 0, "end": 9, "length": None},
        {"name": "noise", "start": 0, "end": 2, "length": None},
    ]
    [kept] = asked.fork(windows).set["deficits"]
    assert kept == {"name": "blur", "resolution": 4, "start": 0, "end": 5}
    assert "deficits" not in asked.fork(windows[1:]).set
