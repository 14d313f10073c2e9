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
    measurement,
    plan_of,
    results_of,
    run_plan,
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


def runs_of(cases, seeds=(0, 1, 2)):
    """(variant, point, windows) with every seed."""
    each = [(case, seed) for case in cases for seed in seeds]
    return plan_of(
        [segment(f"s{i}", 0, 6) for i, _ in enumerate(each)],
        [
            run_plan(i, [i], 6, seed, variant, point=point, windows=windows,
                     probes=[(e, f"{i}-{e}", "p") for e in (0, 3, 6)])
            for i, ((variant, point, windows), seed) in enumerate(each)
        ],
        {"p": measurement(0, 1.0)["probe"]},
        [CONFIG],
    )  # fmt: skip


def removal(trace=lambda run, epoch: 10.0 + run + epoch, seeds=(0, 1, 2)):
    cases = [
        (variant, {"deficit.end": end}, [window(0, end)])
        for variant in ("blur", "flip")
        for end in (0, 2, 4)
    ]
    plan = runs_of(cases, seeds)
    epochs = {s.key: [epoch_row(e) for e in range(1, 7)] for s in plan.segments}
    found = {
        ("", key, "p"): measurement(epoch, trace(run.index, epoch))
        for run in plan.runs
        for epoch, key, _ in run.probes
    }
    for value in found.values():
        value["values"]["standard_error"] = 0.5
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
    results.plan.configs.append(CONFIG)
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


def test_without_a_fisher_probe_there_is_no_fisher_figure():
    results = removal()
    for run in results.plan.runs:
        run.probes.clear()
    with pytest.raises(Conflict, match="no 'fisher'"):
        FIGURES["fisher_trace"](results)


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
    yield "removal", "fisher_trace", removal()
    yield "decades and zero", "fisher_trace", diverged
    yield "one seed", "fisher_trace", removal(seeds=(0,))


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
    for label in curves.layout(results.plan).curves:
        assert label in svg
    assert renderer.render(spec, "png").startswith(b"\x89PNG\r\n")


def test_names_from_users_are_drawn_as_text(renderer):
    results = removal()
    evil = "</text><script>alert('1')</script> {{x}} \\ \" & %"
    for run in results.plan.runs:
        run.variant = f"{evil}{run.variant}"
    named = type(results)(results.plan, results.experiment, results.trained, results.measured, evil)
    for build in FIGURES.values():
        svg = renderer.render(build(named)["vegalite"], "svg").decode()
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
