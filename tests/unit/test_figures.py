"""The figures' rows against counts by hand; their specs and pictures as they are served."""

import json
import math
import subprocess
import sys
import threading

import numpy as np
import pytest
from results_by_hand import (
    TABLE,
    epoch_row,
    fisher_probe,
    information_measurement,
    information_probe,
    measurement,
    plan_of,
    results_of,
    run_plan,
    second_order_measurement,
    second_order_probe,
    segment,
    sweep,
)
from scipy import stats

from api.figures import FIGURES, curves, style
from api.renderer import Renderer, RenderingFailed
from shared.errors import Conflict

CONFIG = {"model": {"name": "all_cnn", "width": 0.25}, "dataset": {"name": "gratings"}}


@pytest.fixture(scope="module")
def renderer():
    one = Renderer()
    yield one
    one.close()


def window(start, end):
    return {"name": "blur", "start": start, "end": end, "resolution": 8}


def runs_of(cases, seeds=(0, 1, 2), probes=None):
    """(variant, point, windows) with every seed, measured after 0, 3 and 6 epochs by each of
    `probes`: digest -> probe."""
    probes = probes or {"p": fisher_probe(), "q": second_order_probe()}
    each = [(case, seed) for case in cases for seed in seeds]
    return plan_of(
        [segment(f"s{i}", 0, 6) for i, _ in enumerate(each)],
        [
            run_plan(i, [i], 6, seed, variant, point=point, windows=windows,
                     probes=[(e, f"{i}-{e}", digest) for e in (0, 3, 6) for digest in probes])
            for i, ((variant, point, windows), seed) in enumerate(each)
        ],
        probes,
        [CONFIG],
    )  # fmt: skip


def removal(
    trace=lambda run, epoch: 10.0 + run + epoch, seeds=(0, 1, 2), ends=(0, 2, 4), probes=None
):
    """`trace` is that of the first probe; of each other Fisher probe it is 10 times the one's
    before. A third of it is the first layer's."""
    cases = [
        (variant, {"deficit.end": end}, [window(0, end)])
        for variant in ("blur", "flip")
        for end in ends
    ]
    plan = runs_of(cases, seeds, probes)
    epochs = {s.key: [epoch_row(e) for e in range(1, 7)] for s in plan.segments}
    fisher = [digest for digest, probe in plan.probes.items() if probe["kind"] == "fisher"]
    found = {}
    for run in plan.runs:
        for epoch, key, digest in run.probes:
            if digest not in fisher:
                found["", key, digest] = second_order_measurement(epoch, 1.0 + run.index)
                continue
            total = trace(run.index, epoch) * 10 ** fisher.index(digest)
            layers = {"0.0": total / 3, "0.1": 0.01 * total, "1.0": 0.65 * total}
            one = measurement(epoch, total, layers=layers)
            one["values"]["standard_error"] = 0.5
            found["", key, digest] = one | {"probe": plan.probes[digest]}
    return results_of(plan, epochs, found)


# --- layout: which curve, which place ---


def test_a_removal_sweep_is_drawn_over_the_epoch_of_removal():
    layout = curves.layout(removal().plan)
    assert (layout.curves, layout.axis) == (["blur", "flip"], "Deficit removed at epoch")
    assert list(layout.positions.values())[::3] == [0, 2, 4, 0, 2, 4]


def test_a_sliding_window_is_drawn_over_its_onset():
    cases = [(None, {"deficit.start": s}, [window(s, s + 2)]) for s in (0, 1, 4)]
    layout = curves.layout(runs_of([*cases, ("clean", {}, [])]))
    assert layout.axis == "Deficit begins at epoch"
    assert list(layout.positions.values())[::3] == [0, 1, 4, None]


def test_a_sliding_window_of_several_lengths_has_a_curve_for_each():
    cases = [(None, {"deficit": None}, [])] + [
        (
            None,
            {"deficit": {"name": "blur", "resolution": 8, "start": a, "length": n}},
            [window(a, a + n)],
        )
        for n in (2, 3)
        for a in (0, 1, 2)
    ]
    layout = curves.layout(runs_of(cases))
    assert (layout.by_onset, layout.longest) == (True, 2)
    assert layout.curves == [
        "no deficit",
        "blur to 8\u00d78, length 2",
        "blur to 8\u00d78, length 3",
    ]
    assert layout.bases == layout.labels


def test_a_window_with_a_fixed_end_is_one_curve_over_its_onset():
    cases = [(None, {"deficit.start": s}, [window(s, 6)]) for s in (0, 1, 4)]
    layout = curves.layout(runs_of(cases))
    assert (layout.by_onset, layout.curves) == (True, ["blur to 8\u00d78"])


def test_every_other_axis_makes_curves_of_its_own():
    cases = [
        (None, {"deficit.end": end, "model.width": width, "training": 1}, [window(0, end)])
        for width in (0.5, 1)
        for end in (1, 2)
    ]
    assert curves.layout(runs_of(cases)).curves == ["width 0.5", "width 1"]


def test_a_grid_of_onsets_and_removals_has_a_curve_for_each_onset():
    cases = [
        (None, {"deficit.start": a, "deficit.end": b}, [window(a, b)])
        for a in (0, 1)
        for b in (2, 4, 6)
    ]
    layout = curves.layout(runs_of(cases))
    assert (layout.by_onset, layout.curves) == (False, ["start 0", "start 1"])


def test_a_whole_deficit_can_be_swept():
    cases = [
        (None, {"deficit": {"name": name, "end": end}}, [window(0, end)])
        for name in ("vertical_flip", "noise")
        for end in (1, 2)
    ]
    assert curves.layout(runs_of(cases)).curves == ["vertical flip", "noise"]


def test_a_single_curve_is_called_by_its_deficit():
    plan = runs_of([(None, {"deficit.end": e}, [window(0, e)]) for e in (1, 2)])
    assert curves.layout(plan).curves == ["blur to 8\u00d78"]


# --- rows ---


def test_the_critical_period_has_the_mean_and_interval_of_each_point_in_percent():
    results = sweep(TABLE)
    results.plan.configs.extend([CONFIG, CONFIG, CONFIG])
    rows = FIGURES["critical_period"](results)["data"]
    means = [row for row in rows if row["kind"] == "mean"]
    assert [(r["curve"], r["epoch"]) for r in means] == [
        (variant, end) for variant in ("blur", "flip") for end in (0, 4, 5)
    ]
    for row in means:
        values = [100 * TABLE[row["curve"], row["epoch"], seed] for seed in range(3)]
        assert row["test_accuracy_percent"] == pytest.approx(np.mean(values), rel=1e-9)
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
    assert sum(row["kind"] == "seed" for row in rows) == 18


def test_the_fisher_band_is_over_seeds():
    rows = FIGURES["fisher_trace"](removal())["data"]
    assert len(rows) == 2 * 3 * 3
    row = next(r for r in rows if (r["curve"], r["window"], r["epoch"]) == ("blur", "2", 3))
    # Runs 3, 4 and 5 are this point's seeds: traces 16, 17, 18, s = 1.
    half = stats.t.ppf(0.975, 2) / math.sqrt(3)
    assert (row["trace"], row["n"]) == (17.0, 3)
    assert (row["low"], row["high"]) == (pytest.approx(17 - half), pytest.approx(17 + half))
    assert row["interval"] == "95 % Student t over seeds"


def test_the_fisher_band_of_one_seed_is_the_estimates_own():
    row = FIGURES["fisher_trace"](removal(seeds=(0,)))["data"][0]
    assert (row["low"], row["high"]) == (pytest.approx(10 - 0.98), pytest.approx(10 + 0.98))
    assert "standard error" in row["interval"]


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_to_draw_is_a_conflict_that_says_so(name):
    results = removal()
    with pytest.raises(Conflict, match="nothing to draw yet"):
        FIGURES[name](results_of(results.plan, {}))


@pytest.mark.parametrize("name", ["fisher_trace", "fisher_layers"])
def test_without_a_fisher_probe_there_is_no_fisher_figure(name):
    results = removal()
    for run in results.plan.runs:
        run.probes.clear()
    with pytest.raises(Conflict, match=r"no 'fisher'.*/v1/experiments/ours/measurements"):
        FIGURES[name](results)


def test_without_its_probe_there_is_no_figure_of_the_second_order():
    with pytest.raises(Conflict, match=r"no 'second_order'.*/v1/experiments/ours/measurements"):
        FIGURES["second_order"](removal(probes={"p": fisher_probe()}))


# --- several ways of measuring ---

TRAIN = fisher_probe(estimator="signs", norms="sketched", square_root="symmetric")
EMPIRICAL = fisher_probe(estimator="empirical")
BLUR = [{"name": "blur", "resolution": 8}]


@pytest.mark.parametrize(
    ("other", "labels"),
    [
        (TRAIN | {"split": "test"}, ["training images", "test images"]),
        (fisher_probe(), ["signs", "exact"]),
        (TRAIN | {"norms": "exact"}, ["sketched norms", "exact norms"]),
        (TRAIN | {"precision": "bfloat16"}, ["float32", "bfloat16"]),
        (TRAIN | {"samples": 500}, ["10 images", "500 images"]),
        (TRAIN | {"stimulus": BLUR}, ["clean", "blur(resolution=8)"]),
        (TRAIN | {"probe_set": "redrawn"}, ["images fixed", "images redrawn"]),
        ({k: v for k, v in TRAIN.items() if k != "samples"}
         | {"relative_error": 0.05, "max_samples": 900}, ["10 images", "to 5 %"]),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)  # fmt: skip
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_no_mean_mixes_two_ways_of_measuring(other, labels, seeds):
    results = removal(probes={"p": TRAIN, "o": other}, seeds=seeds)
    rows = FIGURES["fisher_trace"](results)["data"]
    assert list(dict.fromkeys(row["series"] for row in rows)) == labels
    assert len(rows) == 2 * 3 * 3 * 2
    assert {row["n"] for row in rows} == {len(seeds)}
    for row in rows:
        run = 3 * ("blur", "flip").index(row["curve"]) + [0, 2, 4].index(row["window_epoch"])
        alone = [10.0 + len(seeds) * run + s + row["epoch"] for s in range(len(seeds))]
        assert row["trace"] == pytest.approx(np.mean(alone) * 10 ** labels.index(row["series"]))
        assert row["low"] < row["trace"] < row["high"]
    layered = FIGURES["fisher_layers"](results)["data"]
    assert sum(row["kind"] == "layer" for row in layered) == 2 * len(rows)


def test_a_single_way_of_measuring_needs_no_name():
    rows = FIGURES["fisher_trace"](removal())["data"]
    assert {(row["series"], row["images"], row["estimator"]) for row in rows} == {
        ("", "current", "exact")
    }


@pytest.mark.parametrize("name", ["fisher_trace", "fisher_layers"])
def test_the_empirical_fisher_is_not_drawn_as_fisher_information(name):
    alone = removal(probes={"p": EMPIRICAL})
    with pytest.raises(Conflict, match=r"true labels.*not the Fisher information.*ours/fisher"):
        FIGURES[name](alone)
    mixed = FIGURES[name](removal(probes={"p": TRAIN, "e": EMPIRICAL}))
    assert {row["estimator"] for row in mixed["data"] if "estimator" in row} <= {"signs"}
    subtitle = " ".join(mixed["vegalite"]["title"]["subtitle"])
    assert "Measurements of the true labels (empirical) are left out" in subtitle
    pure = FIGURES[name](removal(probes={"p": TRAIN}))
    assert [row.get("trace") for row in mixed["data"]] == [r.get("trace") for r in pure["data"]]


# --- layers ---


def layer_rows(results, **options):
    rows = FIGURES["fisher_layers"](results, **options)["data"]
    return [row for row in rows if row["kind"] == "layer"]


def test_a_line_for_each_layer_with_its_band():
    rows = layer_rows(removal(seeds=(0,)))
    assert list(dict.fromkeys(row["layer"] for row in rows)) == ["0.0", "1.0"]
    first = rows[0]
    assert (first["trace"], first["n"]) == (pytest.approx(10 / 3), 1)
    assert first["high"] - first["low"] == pytest.approx(2 * 1.96 * 0.1)
    over = layer_rows(removal())[0]
    expected = stats.t.interval(0.95, 2, 11 / 3, stats.sem([10 / 3, 11 / 3, 12 / 3]))
    assert (over["low"], over["high"]) == (pytest.approx(expected[0]), pytest.approx(expected[1]))


def test_layers_that_are_left_out_are_counted():
    made = FIGURES["fisher_layers"](removal())
    subtitle = " ".join(made["vegalite"]["title"]["subtitle"])
    assert "2 layers, from first (dark) to last (light); 1 that never have 2 %" in subtitle


def test_a_logarithmic_picture_of_layers_has_no_epoch_far_below_all_others():
    def fresh(run, epoch):
        return 1e-6 if epoch == 0 else 10.0**epoch + run

    made = FIGURES["fisher_layers"](removal(fresh))
    drawn = made["vegalite"]["data"]["values"]
    assert {row["epoch"] for row in drawn if row["kind"] == "layer"} == {3, 6}
    assert {row["epoch"] for row in made["data"] if row["kind"] == "layer"} == {0, 3, 6}
    assert "Epoch 0, before training, lies below." in " ".join(
        made["vegalite"]["title"]["subtitle"]
    )
    level = FIGURES["fisher_layers"](removal())
    assert "Epoch 0" not in " ".join(level["vegalite"]["title"]["subtitle"])


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [("raw", 10 / 3), ("share", 1 / 3), ("per_parameter", 10 / 24), ("panel_max", 10 / 3 / 10.4)],
)
def test_layers_are_drawn_as_they_are_normalised(normalisation, expected):
    rows = layer_rows(removal(seeds=(0,)), normalisation=normalisation)
    assert rows[0]["trace"] == pytest.approx(expected)  # of run 0: at most 0.65 * (10 + 6)
    assert {row["normalisation"] for row in rows} == {normalisation}


def test_the_epochs_under_a_deficit_are_marked_in_their_panel():
    rows = FIGURES["fisher_layers"](removal())["data"]
    marked = [(r["panel"], r["start"], r["end"]) for r in rows if r["kind"] == "window"]
    assert marked == [
        (f"{curve}, deficit removed at {end}", 0, end)
        for curve in ("blur", "flip")
        for end in (2, 4)
    ]
    panels = list(dict.fromkeys(row["panel"] for row in rows if row["kind"] == "layer"))
    assert panels[0] == "blur, no deficit"
    assert len(panels) == 6


# --- second order ---


def test_the_divergence_stands_beside_its_quadratic_term():
    rows = FIGURES["second_order"](removal(seeds=(0,)))["data"]
    assert len(rows) == 6 * 3 * 2
    first = rows[0]
    assert (first["size"], first["kl"], first["quadratic"]) == (0.01, 1.05, 1.0)
    assert (first["low"], first["high"]) == (pytest.approx(1.05 - 0.196), pytest.approx(1.246))
    assert (first["holds_up_to"], first["drawn"]) == (0.01, True)


def test_over_seeds_the_divergence_is_a_geometric_mean():
    row = FIGURES["second_order"](removal())["data"][0]
    logs = np.log([1.05, 2.10, 3.15])
    low, high = np.exp(stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs)))
    assert row["kl"] == pytest.approx(np.exp(logs.mean()))
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
    assert row["ratio"] == pytest.approx(1.05)


def test_a_divergence_of_zero_is_in_the_data_and_not_on_the_logarithmic_axis():
    results = removal(seeds=(0,))
    flat = results_of(
        results.plan, {},
        {("", key, d): second_order_measurement(e, ratios=(0.0, 0.5))
         for run in results.plan.runs for e, key, d in run.probes if d == "q"},
    )  # fmt: skip
    made = FIGURES["second_order"](flat)
    assert {(row["size"], row["drawn"]) for row in made["data"]} == {(0.01, False), (0.1, True)}
    assert all(row["drawn"] for row in made["vegalite"]["data"]["values"])


# --- the information plane ---


def planes(seeds=(0, 1, 2), decoder=1.0, **other):
    probes = {"p": information_probe(), **({"q": information_probe(**other)} if other else {})}
    results = removal(seeds=seeds, ends=(0, 2), probes=probes)
    found = {
        ("", key, digest): information_measurement(e, 4.0 + run.seed, decoder) | {"probe": probe}
        for run in results.plan.runs
        for e, key, digest in run.probes
        if (probe := results.plan.probes[digest])
    }
    epochs = {s.key: [epoch_row(e) for e in range(1, 7)] for s in results.plan.segments}
    return results_of(results.plan, epochs, found)


def test_a_layer_of_the_plane_is_the_mean_over_seeds_with_every_bound_and_its_interval():
    rows = FIGURES["information_plane"](planes())["data"]
    states = [row for row in rows if row["kind"] == "state"]
    assert len(states) == 4 * 3 * 2
    low, high = stats.t.interval(0.95, 2, 5.0, stats.sem([4.0, 5.0, 6.0]))
    assert (states[0]["layer"], states[0]["i_xt_upper"], states[0]["n"]) == (0, 5.0, 3)
    assert (states[0]["i_xt_upper_low"], states[0]["i_xt_upper_high"]) == pytest.approx((low, high))
    assert (states[0]["i_xt_lower"], states[1]["i_ty_kl"]) == (2.5, 0.75)
    ceilings = [row for row in rows if row["kind"] == "ceiling"]
    assert {(row["log2_samples"], row["label_entropy"]) for row in ceilings} == {(6.0, 1.99)}
    assert [row["end"] for row in rows if row["kind"] == "window"] == [2, 2]


def test_of_a_single_seed_the_decoder_has_the_error_of_its_images():
    state = FIGURES["information_plane"](planes(seeds=(0,)))["data"][0]
    assert state["i_ty_decoder_low"] == pytest.approx(1 - 0.196)
    assert (state["i_xt_upper_low"], state["n"]) == (None, 1)


def test_a_diverged_seed_is_not_in_the_mean_of_its_layer():
    results = planes(ends := (0, 1))
    lost = {
        name: information_measurement(0, math.nan)
        for name in [
            ("", run.probes[0][1], "p") for run in results.plan.runs if run.seed == ends[1]
        ]
    }
    some = type(results)(results.plan, "ours", results.trained,
                         lambda *name: lost.get(name) or results.measured(*name))  # fmt: skip
    states = [r for r in FIGURES["information_plane"](some)["data"] if r["kind"] == "state"]
    assert {(row["epoch"], row["n"]) for row in states} == {(0, 1), (3, 2), (6, 2)}


def test_measurements_by_other_noise_are_panels_of_their_own():
    rows = FIGURES["information_plane"](planes(noise_variance=1.0))["data"]
    names = list(dict.fromkeys(row["panel"] for row in rows))
    assert len(names) == 8
    assert names[0].endswith("noise variance 0.1")


def test_a_layer_that_was_asked_for_twice_is_one_seed_and_says_its_noise():
    rows = FIGURES["information_plane"](planes(layers=[3]))["data"]
    states = [row for row in rows if row["kind"] == "state"]
    assert {row["n"] for row in states} == {3}
    assert all(row["noise_variance"] > 0 and row["bin_size"] > 0 for row in states)


# --- specs and pictures ---


def strings(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def picture_cases():
    diverged = removal(lambda run, epoch: 0.0 if epoch == 6 else 10.0 ** (epoch + run % 3))
    cases = [(None, {"deficit.start": s}, [window(s, s + 2)]) for s in (0, 1, 4)]
    plan = runs_of([*cases, ("clean", {}, [])])
    sliding = results_of(plan, {s.key: [epoch_row(e) for e in range(1, 7)] for s in plan.segments})
    yield "removal", "critical_period", removal()
    yield "one seed", "critical_period", removal(seeds=(0,))
    yield "sliding", "critical_period", sliding
    yield "sliding", "sensitivity", sliding
    yield "removal", "relative_accuracy", removal()
    yield "one seed", "relative_accuracy", removal(seeds=(0,))
    yield "removal", "fisher_trace", removal()
    yield "decades and zero", "fisher_trace", diverged
    yield "one seed", "fisher_trace", removal(seeds=(0,))
    ways = {"p": TRAIN, "t": TRAIN | {"split": "test"}, "e": EMPIRICAL}
    yield "several ways", "fisher_trace", removal(probes=ways)
    yield "one curve, several ways", "fisher_trace", removal(probes=ways, ends=(2,))
    yield "removal", "fisher_layers", removal()
    yield "decades and zero", "fisher_layers", diverged
    yield "several ways", "fisher_layers", removal(probes=ways, seeds=(0,))
    yield "removal", "second_order", removal()
    yield "one seed", "second_order", removal(seeds=(0,))
    yield "removal", "information_plane", planes()
    yield "one seed", "information_plane", planes(seeds=(0,), decoder=None)


DRAWN = ("critical_period", "sensitivity", "relative_accuracy", "fisher_trace", "fisher_layers",
         "second_order")  # fmt: skip
"""Those of which `removal` has what they need."""
LEFT_OUT = {"sensitivity": "clean"}
"""The runs without a window are what its drops are taken from."""
CASES = [
    pytest.param(name, results, id=f"{name}-{what}") for what, name, results in picture_cases()
]


@pytest.mark.parametrize(("name", "results"), CASES)
def test_a_figure_is_self_contained_and_is_drawn(renderer, name, results):
    spec = FIGURES[name](results)["vegalite"]
    assert json.loads(json.dumps(spec, allow_nan=False)) == spec
    links = [text for text in strings(spec) if "://" in text]
    assert links == [spec["$schema"]]
    svg = renderer.render(spec, "svg").decode()
    assert svg.startswith("<svg")
    assert "NaN" not in svg
    drawn = [label for label in curves.layout(results.plan).curves if label != LEFT_OUT.get(name)]
    for label in drawn if len(drawn) > 1 else []:
        assert label in svg
    assert renderer.render(spec, "png").startswith(b"\x89PNG\r\n")
    assert renderer.render(spec, "pdf").startswith(b"%PDF-")


def test_names_from_users_are_drawn_as_text(renderer):
    results = removal()
    evil = "</text><script>alert('1')</script> {{x}} \\ \" & %"
    for run in results.plan.runs:
        run.variant = f"{evil}{run.variant}"
    named = type(results)(results.plan, results.experiment, results.trained, results.measured, evil)
    for name in DRAWN:
        svg = renderer.render(FIGURES[name](named)["vegalite"], "svg").decode()
        assert "<script" not in svg
        assert "&lt;script" in svg


def test_many_threads_may_render_at_once(renderer):
    spec = FIGURES["critical_period"](removal())["vegalite"]
    specs = [spec | {"title": str(i)} for i in range(6)]
    expected = [renderer.render(one, "svg") for one in specs]
    fresh, found = Renderer(), [b""] * 6

    def draw(i):
        found[i] = fresh.render(specs[i], "svg")

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh.close()
    assert found == expected


def test_a_renderer_that_died_is_started_again():
    renderer = Renderer()
    spec = {"data": {"values": [{"a": 1}]}, "mark": "point"}
    before = renderer.render(spec, "svg")
    renderer._child.kill()
    renderer._child.wait()
    assert renderer.render(spec | {"width": 99}, "svg") != before
    with pytest.raises(RenderingFailed, match="refused"):
        renderer.render({"mark": 1}, "svg")
    renderer.close()


def test_no_two_of_many_curves_look_alike():
    looks = zip(style.cycle(style.COLOURS, 56), style.cycle(style.SHAPES, 56), strict=True)
    assert len(set(looks)) == 56


def test_the_figures_are_known_without_altair():
    code = "import sys, api.figures, api.renderer; print('altair' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
