"""The figures of the Fisher information and of the appendix, against counts and fits by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from results_by_hand import (
    epoch_row,
    fisher_probe,
    measured,
    measurement,
    plan_of,
    results_of,
    run_plan,
    segment,
)
from scipy import stats

from api.figures import FIGURES
from api.renderer import Renderer
from shared.errors import Conflict

CONFIG = {"model": {"name": "all_cnn", "width": 1}, "dataset": {"name": "gratings"}}
GRADIENTS = {"kind": "layer_gradients", "split": "train", "stimulus": [], "probe_set": "fixed",
             "samples": 100}  # fmt: skip
FILTERS = {"kind": "filters"}
LAST = 20


@pytest.fixture(scope="module")
def renderer():
    one = Renderer()
    yield one
    one.close()


def blur(start, end):
    return {"name": "blur", "start": start, "end": end, "resolution": 8}


def removal(end, variant=None):
    return variant, {"deficit.end": end}, [blur(0, end)]


def onset(start, length=4):
    return None, {"deficit.start": start, "deficit.length": length}, [blur(start, start + length)]


def results_with(cases, probe, of_state, seeds=(0, 1, 2), accuracy=lambda run, epoch: 0.5):
    """Every case with every seed, 20 epochs long, measured after 0, 2, ... epochs. `of_state`:
    (run, epoch) -> the stored measurement."""
    each = [(case, seed) for case in cases for seed in seeds]
    runs = [
        run_plan(i, [i], LAST, seed, variant, config=seed, point=point, windows=windows,
                 probes=[(e, f"{i}-{e}", "p") for e in range(0, LAST + 1, 2)])
        for i, ((variant, point, windows), seed) in enumerate(each)
    ]  # fmt: skip
    plan = plan_of([segment(f"s{i}", 0, LAST) for i in range(len(each))], runs, {"p": probe})
    plan.configs.extend([CONFIG] * len(seeds))
    epochs = {
        f"s{run.index}": [epoch_row(e, test_accuracy=accuracy(run, e)) for e in range(1, LAST + 1)]
        for run in runs
    }
    found = {("", key, d): of_state(run, e) for run in runs for e, key, d in run.probes}
    return results_of(plan, epochs, found)


def fisher_results(cases, trace, layers=None, **more):
    """`trace`: (run, epoch) -> total; `layers`: (run, epoch) -> shares by name."""

    def of_state(run, epoch):
        total = trace(run, epoch)
        shares = layers(run, epoch) if layers else {"0.0": 0.5, "1.0": 0.5}
        one = measurement(epoch, total, layers={n: s * total for n, s in shares.items()})
        one["values"]["standard_error"] = 0.1
        return one

    return results_with(cases, fisher_probe(), of_state, **more)


def subtitle(made):
    return " ".join(made["vegalite"]["title"]["subtitle"])


# --- the trace, with accuracy and phases ---


def hill(run, epoch):
    """Rises to epoch 4, 6 or 8 by seed, then falls."""
    top = 4 + 2 * run.seed
    return 10.0 + (epoch if epoch <= top else 2 * top - epoch if epoch < 2 * top else 0)


def test_the_peak_of_a_trace_stands_in_every_row_of_its_line():
    rows = FIGURES["fisher_trace"](fisher_results([removal(0)], hill))["data"]
    low, high = stats.t.interval(0.95, 2, 6, stats.sem([4, 6, 8]))
    assert {row["peak_epoch"] for row in rows} == {6.0}
    assert {row["peak_trace"] for row in rows} == {16.0}
    assert rows[0]["peak_low"] == pytest.approx(low)
    assert rows[0]["peak_high"] == pytest.approx(high)


def test_a_trace_that_still_rises_has_no_peak_and_no_phases(renderer):
    made = FIGURES["fisher_trace"](fisher_results([removal(0)], lambda run, e: 1.0 + e))
    assert {row["peak_epoch"] for row in made["data"]} == {None}
    assert "Diamond" not in subtitle(made)
    assert "memorisation" not in renderer.render(made["vegalite"], "svg").decode()


def test_the_phases_are_named_where_there_is_one_line(renderer):
    one = FIGURES["fisher_trace"](fisher_results([removal(0)], hill))
    two = FIGURES["fisher_trace"](fisher_results([removal(0), removal(4)], hill))
    pictures = [renderer.render(made["vegalite"], "svg").decode() for made in (one, two)]
    assert ["memorisation" in svg and "forgetting" in svg for svg in pictures] == [True, False]
    assert all("Diamond: peak of the trace, 95 %" in subtitle(made) for made in (one, two))


def test_accuracy_is_drawn_at_every_epoch_and_given_where_the_trace_is_measured():
    results = fisher_results([removal(0)], hill, accuracy=lambda run, e: 0.01 * e + 0.1 * run.seed)
    made = FIGURES["fisher_trace"](results)
    given = {row["epoch"]: row["test_accuracy_percent"] for row in made["data"]}
    assert given[0] is None
    assert given[4] == pytest.approx(100 * np.mean([0.04, 0.14, 0.24]))
    drawn = [r for r in made["vegalite"]["data"]["values"] if r["kind"] == "accuracy"]
    assert [row["epoch"] for row in drawn] == list(range(1, LAST + 1))
    low, high = stats.t.interval(0.95, 2, 11, stats.sem([1, 11, 21]))
    assert (drawn[0]["low"], drawn[0]["high"]) == (max(0, low), pytest.approx(high))


def test_accuracy_of_a_diverged_run_is_left_out():
    lost = fisher_results(
        [removal(0)], hill, accuracy=lambda run, e: math.nan if run.seed == 1 else 0.5
    )
    drawn = FIGURES["fisher_trace"](lost)["vegalite"]["data"]["values"]
    assert {(r["test_accuracy_percent"], r["n"]) for r in drawn if r["kind"] == "accuracy"} == {
        (50.0, 2)
    }


# --- sensitivity against the trace ---

A, B, C = 3.0, 5.0, 0.4
COSTS = {0: 1.0, 2: 4.0, 4: 3.0, 6: 2.0, 8: 0.5}
"""Onset -> percentage points lost."""


def sliding(seeds=(0, 1, 2), onsets=tuple(COSTS), **more):
    """The clean trace at each onset is exactly A exp(C S) + B."""

    def trace(run, epoch):
        return A * math.exp(C * COSTS.get(epoch, 0.1)) + B

    def accuracy(run, epoch):
        window = run.windows[0]
        there = window["end"] > window["start"]
        return 0.9 + 0.01 * run.seed - (0.01 * COSTS[window["start"]] if there else 0.0)

    cases = [onset(0, 0), *(onset(start) for start in onsets)]
    return fisher_results(cases, trace, seeds=seeds, accuracy=accuracy, **more)


def test_sensitivity_is_mapped_onto_the_trace_by_the_fit():
    made = FIGURES["fisher_sensitivity"](sliding())
    points = {row["onset"]: row for row in made["data"] if row["kind"] == "point"}
    assert points.keys() == COSTS.keys()
    for start, cost in COSTS.items():
        expected = A * math.exp(C * cost) + B
        assert points[start]["sensitivity"] == pytest.approx(cost)
        assert points[start]["fitted"] == pytest.approx(expected, rel=1e-4)
    assert "a = 3, b = 5, c = 0.4 per point, R\u00b2 = 1.00; Spearman 1.00" in subtitle(made)
    curve = [row for row in made["data"] if row["kind"] == "fit"]
    assert [curve[0]["sensitivity"], curve[-1]["sensitivity"]] == pytest.approx([0.5, 4.0])


def test_the_line_beside_sensitivity_is_of_the_runs_without_a_deficit():
    rows = FIGURES["fisher_sensitivity"](sliding(seeds=(0,)))["data"]
    line = [(row["epoch"], row["n"]) for row in rows if row["kind"] == "trace"]
    assert line == [(epoch, 1) for epoch in range(0, LAST + 1, 2)]


def test_without_enough_points_the_reason_stands_in_place_of_the_fit():
    made = FIGURES["fisher_sensitivity"](sliding(onsets=(0, 2)))
    assert "no fit, 2 points" in subtitle(made)
    assert not [row for row in made["data"] if row["kind"] == "fit"]
    assert {row["fitted"] for row in made["data"] if row["kind"] == "point"} == {None}


def test_a_removal_sweep_has_no_sensitivity_to_fit():
    with pytest.raises(Conflict, match="begins at different epochs"):
        FIGURES["fisher_sensitivity"](fisher_results([removal(0), removal(4)], hill))


# --- plasticity ---


def moving(run, epoch):
    """From the second layer to the first as training goes on; less by the second seed."""
    part = (0.3 if run.seed == 0 else 0.1) * epoch / LAST
    return {"0.0": 0.2 + part, "1.0": 0.795 - part, "2.0": 0.005}


def test_shares_that_move_after_removal_are_given_in_percent_with_the_distance():
    results = fisher_results([removal(4)], lambda run, e: 50.0, moving, seeds=(0, 1))
    made = FIGURES["plasticity"](results)
    moved, first, second, _ = made["data"]
    assert (moved["kind"], moved["removal"], moved["epoch"], moved["end"]) == ("moved", 4, 4, LAST)
    distances = [100 * 0.3 * 16 / 20, 100 * 0.1 * 16 / 20]
    assert moved["moved"] == pytest.approx(np.mean(distances))
    low, high = stats.t.interval(0.95, 1, np.mean(distances), stats.sem(distances))
    assert (moved["low"], moved["high"]) == (pytest.approx(low), pytest.approx(high))
    assert (first["layer"], first["at_removal"]) == ("0.0", pytest.approx(20 + 4))
    assert first["change"] == pytest.approx(16) == -second["change"]
    assert "1 layers that never have 2 % are left out" in subtitle(made)
    drawn = made["vegalite"]["data"]["values"]
    assert {row.get("layer") for row in drawn} == {None, "0.0", "1.0"}


def test_a_trace_measured_only_before_removal_has_no_plasticity():
    results = fisher_results([removal(LAST)], hill)
    with pytest.raises(Conflict, match="nothing to draw yet: no run was measured both"):
        FIGURES["plasticity"](results)


# --- filters ---


def kernels(run, channels=3, n=20):
    """Norms fall from the last filter to the first."""
    rng = np.random.default_rng(run.index)
    scale = np.arange(1, n + 1)[:, None, None, None]
    weights = rng.standard_normal((n, channels, 3, 3))
    return scale * weights / np.linalg.norm(weights.reshape(n, -1), axis=1)[:, None, None, None]


def filter_results(cases, flat=True, weights=kernels, **more):
    def of_state(run, epoch):
        found = weights(run)
        share = (0.6 - 0.01 * run.index) if np.isfinite(found).all() else None
        values = found.ravel().tolist() if flat else found.tolist()
        return measured(FILTERS, epoch, layer="0.0", shape=list(found.shape), of=96,
                        weights=values, high_frequency_share=share)  # fmt: skip

    return results_with(cases, FILTERS, of_state, **more)


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "nested"])
def test_the_filters_of_largest_norm_are_drawn_of_the_first_seed(flat):
    made = FIGURES["filters"](filter_results([removal(0), removal(4)], flat))
    pixels = [row for row in made["data"] if row["kind"] == "pixel"]
    assert len(pixels) == 2 * 16 * 9
    assert {row["seed"] for row in pixels} == {0}
    assert sorted({row["filter"] for row in pixels}) == list(range(4, 20))
    assert "seed 0, the 16 of largest norm" in subtitle(made)


def test_a_filter_is_scaled_by_its_largest_weight_so_that_zero_is_grey():
    weights = np.zeros((1, 3, 1, 2))
    weights[0, :, 0, 1] = [4.0, -2.0, 0.0]
    made = FIGURES["filters"](filter_results([removal(0)], weights=lambda run: weights))
    colors = {r["column"]: r["color"] for r in made["data"] if r["kind"] == "pixel"}
    assert colors == {0: "#808080", 1: "#ff4080"}


def test_filters_of_one_channel_are_grey():
    results = filter_results([removal(0)], weights=lambda run: kernels(run, channels=1))
    colors = {r["color"] for r in FIGURES["filters"](results)["data"] if r["kind"] == "pixel"}
    assert all(color[1:3] == color[3:5] == color[5:7] for color in colors)
    assert len(colors) > 50


def test_the_share_of_high_frequencies_is_over_all_seeds():
    rows = FIGURES["filters"](filter_results([removal(0), removal(4)]))["data"]
    shares = [row for row in rows if row["kind"] == "share"]
    assert [(row["share"], row["n"]) for row in shares] == [
        (pytest.approx(59.0), 3),
        (pytest.approx(56.0), 3),
    ]
    low, high = stats.t.interval(0.95, 2, 56, stats.sem([57, 56, 55]))
    assert (shares[1]["low"], shares[1]["high"]) == (pytest.approx(low), pytest.approx(high))
    assert [row["seed"] for row in rows if row["kind"] == "seed"] == [0, 1, 2, 0, 1, 2]


def test_filters_of_a_diverged_seed_are_not_shown():
    def lost(run):
        return kernels(run) * (math.nan if run.seed == 0 else 1)

    rows = FIGURES["filters"](filter_results([removal(0)], weights=lost))["data"]
    assert {row["seed"] for row in rows if row["kind"] == "pixel"} == {1}
    assert [row["n"] for row in rows if row["kind"] == "share"] == [2]


def test_large_filters_are_fewer_so_that_the_picture_stays_small():
    def images(run):
        return np.random.default_rng(0).standard_normal((16, 1, 32, 32))

    rows = FIGURES["filters"](filter_results([removal(0), removal(4)], weights=images))["data"]
    pixels = [row for row in rows if row["kind"] == "pixel"]
    assert len(pixels) == 2 * 7 * 32 * 32


# --- gradients ---


def gradient_results(cases, norm=lambda run, epoch: 1.0 + run.seed, **more):
    def of_state(run, epoch):
        sizes = {"0.0": 2592, "0.1": 192, "1.0": 82944, "1.1": 192, "2": 1930}
        value = norm(run, epoch)
        layers = [
            {"name": name, "parameters": size, "mean_norm": value,
             "standard_deviation": 10 * value if isinstance(value, float) else value}
            for name, size in sizes.items()
        ]  # fmt: skip
        return measured(GRADIENTS, epoch, layers=layers, mean_norm=1.0, standard_deviation=1.0,
                        samples=100)  # fmt: skip

    return results_with(cases, GRADIENTS, of_state, **more)


def test_gradients_are_geometric_means_over_seeds():
    rows = FIGURES["gradients"](gradient_results([removal(0), removal(4)]))["data"]
    found = {
        row["quantity"]: row
        for row in rows
        if row["kind"] == "layer" and (row["layer"], row["epoch"]) == ("1.0", 4)
    }
    logs = np.log([1.0, 2.0, 3.0])
    low, high = np.exp(stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs)))
    assert found["norm of the mean"]["value"] == pytest.approx(np.exp(logs.mean()))
    assert found["norm of the mean"]["low"] == pytest.approx(low)
    assert found["norm of the mean"]["high"] == pytest.approx(high)
    assert found["standard deviation"]["value"] == pytest.approx(10 * np.exp(logs.mean()))
    windows = [(r["panel"], r["start"], r["end"]) for r in rows if r["kind"] == "window"]
    assert windows == [("deficit removed at 4", 0, 4)]


def test_normalisations_are_in_the_data_and_not_in_the_picture_of_gradients():
    made = FIGURES["gradients"](gradient_results([removal(0)]))
    rows = [row for row in made["data"] if row["kind"] == "layer"]
    assert {row["layer"] for row in rows if row["drawn"]} == {"0.0", "1.0", "2"}
    assert {row["layer"] for row in rows if not row["drawn"]} == {"0.1", "1.1"}
    assert "2 smaller ones are left out" in subtitle(made)


def test_gradients_of_a_diverged_run_and_zeros_are_not_drawn():
    def norm(run, epoch):
        return "NaN" if run.seed == 0 and epoch == 4 else 0.0 if epoch == 6 else 2.0

    rows = FIGURES["gradients"](gradient_results([removal(0)], norm))["data"]
    shown = [row for row in rows if row.get("quantity") == "norm of the mean"]
    at = {row["epoch"]: row for row in shown if row["layer"] == "1.0"}
    assert (at[4]["n"], at[4]["value"], at[4]["drawn"]) == (2, pytest.approx(2.0), True)
    assert (at[6]["value"], at[6]["drawn"]) == (0.0, False)


# --- all of them ---


ASKED = {"filters": "filters", "gradients": "gradients", "plasticity": "fisher"}
ASKED |= {"fisher_sensitivity": "fisher"}


@pytest.mark.parametrize(("name", "asked"), ASKED.items())
def test_what_was_not_measured_is_a_conflict_that_says_what_to_post(name, asked):
    other = gradient_results([removal(0)]) if asked != "gradients" else filter_results([removal(0)])
    with pytest.raises(Conflict, match=rf"no '{asked}'.*/v1/experiments/ours/measurements"):
        FIGURES[name](other)


def pictures():
    several = [removal(end, variant) for variant in ("blur", "flip") for end in (0, 4, 8)]
    for seeds in ((0,), (0, 1, 2)):
        yield "fisher_trace", fisher_results(several, hill, seeds=seeds)
        yield "fisher_sensitivity", sliding(seeds=seeds)
        yield "plasticity", fisher_results(several, hill, moving, seeds=seeds)
        yield "filters", filter_results(several, seeds=seeds)
        yield "gradients", gradient_results(several, seeds=seeds)


@pytest.mark.parametrize(("name", "results"), list(pictures())[:5])
def test_a_name_from_a_user_is_drawn_as_text(renderer, name, results):
    evil = "</text><script>alert('1')</script> \\ \" & %"
    plan = results.plan.model_copy(deep=True)
    for run in plan.runs:
        run.variant = f"{evil}{run.variant}"
    named = replace(results, plan=plan, name=evil)
    svg = renderer.render(FIGURES[name](named)["vegalite"], "svg").decode()
    assert "<script" not in svg
    assert "&lt;script" in svg


@pytest.mark.parametrize(
    ("name", "results"),
    [pytest.param(name, one, id=f"{name}-{len(one.plan.runs)}") for name, one in pictures()],
)
def test_a_figure_is_drawn_without_holes(renderer, name, results):
    spec = FIGURES[name](results)["vegalite"]
    assert json.loads(json.dumps(spec, allow_nan=False)) == spec
    svg = renderer.render(spec, "svg").decode()
    assert svg.startswith("<svg")
    for hole in ("NaN", "undefined", "Infinity"):
        assert hole not in svg
