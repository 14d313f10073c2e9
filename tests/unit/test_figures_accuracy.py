"""Figures of accuracy: rows against sums by other means, the paper's curves laid over, pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from results_by_hand import epoch_row, plan_of, results_of, run_plan, segment
from scipy import stats

from api.dependencies import _renderer, _with_later
from api.errors import install
from api.figures import FIGURES, clean, critical_period, relative_accuracy, sensitivity, style
from api.figures.means import Look
from api.renderer import Renderer
from api.routers import results as router
from shared.errors import Conflict, Invalid
from shared.paper_curves import CURVES
from shared.sweep import TWINS

AFTER = 20
ENDS = (0, 8, 16, 28)
SLOPES = {"blur": 0.4, "noise": 0.2, "flip": 0.02}
KEPT = {None: 1.0, "restart": 0.25, "constant": 0.5}


@pytest.fixture(scope="module")
def renderer():
    one = Renderer()
    yield one
    one.close()


def config(control=None, **model):
    schedule = {"name": "constant"} if control == "constant" else {"name": "exponential"}
    return {
        "model": {"name": "all_cnn"} | model,
        "dataset": {"name": "cifar10"},
        "optimizer": {"learning_rate": 0.05},
        "schedule": schedule | {"gamma": 0.97},
    }


def noise(seed, place, step):
    """Known, seed by seed and epoch by epoch."""
    return 0.1 * np.sin(12.9 * seed + 7.1 * place + 3.7 * step)


def experiment(lives):
    """Results of (what the run has, its test accuracies in %, its config)."""
    configs, segments, runs, epochs = [], [], [], {}
    for i, (facts, accuracies, made) in enumerate(lives):
        one = made | {"seed": facts["seed"]}
        if one not in configs:
            configs.append(one)
        last = len(accuracies)
        segments.append(segment(f"s{i}", 0, last))
        runs.append(run_plan(i, [i], last, config=configs.index(one), **facts))
        epochs[f"s{i}"] = [
            epoch_row(e + 1, test_accuracy=value / 100) for e, value in enumerate(accuracies)
        ]
    return results_of(plan_of(segments, runs, None, configs), epochs)


def course(final, epochs, seed, place):
    steps = np.arange(1, epochs + 1)
    return [final - 40 * np.exp(-e / 3) + noise(seed, place, e) for e in steps]


def removal(names=("blur",), controls=(None,), seeds=(0, 1, 2), ends=ENDS):
    lives = []
    for name in names:
        for control in controls:
            variant = name if control is None else f"{name}, {TWINS[control]}"
            for end in ends:
                final = 92 - KEPT[control] * SLOPES[name] * end
                for seed in seeds:
                    facts = {"variant": variant, "base": name, "control": control, "seed": seed,
                             "point": {"deficit.end": end},
                             "windows": [{"name": name, "start": 0, "end": end}]}  # fmt: skip
                    values = course(final, end + AFTER, seed, end)
                    lives.append((facts, values, config(control)))
    return experiment(lives)


def sliding(lengths=(8,), seeds=(0, 1, 2), onsets=(0, 4, 8, 16, 28)):
    lives = []
    for length in lengths:
        for onset in onsets:
            final = 92 - length / 4 * np.exp(-(((onset - 6) / 8) ** 2))
            for seed in seeds:
                window = {"name": "blur", "start": onset, "end": onset + length}
                point = {"deficit.start": onset, "deficit.length": length}
                facts = {"seed": seed, "point": point, "windows": [window]}
                lives.append((facts, course(final, 60, seed, onset), config()))
    for seed in seeds:
        facts = {"variant": "clean", "seed": seed, "point": {}, "windows": []}
        lives.append((facts, course(92, 60, seed, 99), config()))
    return experiment(lives)


def depth(seeds=(0, 1, 2)):
    lives = []
    for n in (1, 2, 3):
        for end in (0, 28, 56):
            for seed in seeds:
                facts = {"variant": f"n = {n}", "seed": seed, "point": {"deficit.end": end},
                         "windows": [{"name": "blur", "start": 0, "end": end}]}  # fmt: skip
                values = course(90 + n - 0.03 * n * end, end + AFTER, seed, end + n)
                lives.append((facts, values, config(name="depth_cnn", n=n)))
    return experiment(lives)


def rows(made, kind):
    return [row for row in made["data"] if row["kind"] == kind]


def subtitle(made):
    return " ".join(made["vegalite"]["title"]["subtitle"])


def accuracies(results, run):
    return np.array([100 * row["test_accuracy"] for row in results.epochs(run)])


# --- the paper's curves ---


def test_a_curve_of_the_paper_is_stretched_to_our_latest_removal():
    made = FIGURES["critical_period"](removal(), overlay=["fig1a", "fig3left"])
    found = rows(made, "paper")
    ours = [row for row in found if row["paper"] == "fig1a"]
    assert [row["epoch"] for row in ours] == pytest.approx([0, 4, 8, 12, 16, 20, 24, 28])
    assert [row["test_accuracy_percent"] for row in ours] == list(CURVES["fig1a"].y)
    assert {row["curve"] for row in ours} == {"Fig 1 A: All-CNN, epochs \u00d7 0.2"}
    assert [row["paper_epoch"] for row in ours] == list(CURVES["fig1a"].x)
    assert {(row["reading_error"], row["source"]) for row in ours} == {
        (0.1, CURVES["fig1a"].source)
    }
    other = [row for row in found if row["paper"] == "fig3left"]
    assert other[-1]["epoch"] == pytest.approx(28)
    assert "epochs \u00d7 0.156" in other[0]["curve"]
    assert other[0]["high"] - other[0]["low"] == pytest.approx(0.3)


def test_the_papers_clean_run_is_stretched_like_the_sweep_beside_it():
    made = FIGURES["critical_period"](removal(), overlay=["fig1a_clean"])
    assert [row["epoch"] for row in rows(made, "paper")][:3] == pytest.approx([2, 3, 4])


def test_a_sweep_as_long_as_the_papers_is_not_said_to_be_scaled():
    made = FIGURES["critical_period"](removal(ends=(0, 140)), overlay=["fig1a"])
    assert rows(made, "paper")[0]["curve"] == "Fig 1 A: All-CNN"


@pytest.mark.parametrize("ids", [["fig1a"], ["fig1a_clean"]])
def test_a_shorter_sweep_over_the_papers_own_epochs_is_not_scaled(ids):
    made = FIGURES["critical_period"](removal(ends=(0, 40, 100)), overlay=ids)
    assert all(row["epoch"] == row["paper_epoch"] for row in rows(made, "paper"))


def test_more_curves_than_can_be_told_apart_are_drawn_in_part_and_kept_in_the_data():
    results = removal(ends=(0, 4))
    many = [
        replace_run(run, 2 * len(results.plan.runs) * i, f"curve {i}")
        for i in range(30)
        for run in results.plan.runs
    ]
    plan = results.plan.model_copy(update={"runs": many})
    made = FIGURES["critical_period"](replace(results, plan=plan))
    assert len({row["curve"] for row in rows(made, "mean")}) == 30
    drawn = {row["curve"] for row in made["vegalite"]["data"]["values"] if row["kind"] == "mean"}
    assert len(drawn) == 24
    assert "The first 24 of 30 curves." in subtitle(made)


def replace_run(run, offset, variant):
    about = {"index": offset + run.index, "variant": variant, "base": variant}
    return run.model_copy(update=about)


def test_the_accuracy_axis_holds_both():
    results = removal(names=("flip",))
    made = FIGURES["critical_period"](results, overlay=["fig1a"])
    low, high = domain(made["vegalite"], critical_period.ACCURACY)
    assert low < 81.15
    assert high > 92.1
    alone = FIGURES["critical_period"](results)
    assert domain(alone["vegalite"], critical_period.ACCURACY)[0] > 90


def domain(spec, field):
    found = [
        value["scale"]["domain"]
        for layer in every_layer(spec)
        if (value := layer.get("encoding", {}).get("y", {})).get("field") == field
        and "scale" in value
    ]
    assert found
    assert all(one == found[0] for one in found)
    return found[0]


def every_layer(spec):
    yield spec
    for name in ("layer", "hconcat"):
        for part in spec.get(name, []):
            yield from every_layer(part)
    if "spec" in spec:
        yield from every_layer(spec["spec"])


@pytest.mark.parametrize(
    ("figure", "made", "id", "words"),
    [
        ("critical_period", removal, "fig9", "fig1a, fig1a_clean, fig3left, fig3right"),
        ("critical_period", removal, "fig1c", "fig1a, fig1a_clean, fig3left, fig3right"),
        ("critical_period", removal, "fig3centre", "ticks of the y axis"),
        ("critical_period", sliding, "fig1a", "sensitivity"),
        ("sensitivity", sliding, "fig1a", "fig1c, fig1c_clean, fig1d"),
        ("relative_accuracy", depth, "fig1a", "fig2right_n1, fig2right_n2, fig2right_n3"),
        ("relative_accuracy", sliding, "fig2right_n1", "onset"),
    ],
)
def test_a_curve_without_these_axes_is_refused_with_the_choices(figure, made, id, words):
    with pytest.raises(Invalid, match=words) as refused:
        FIGURES[figure](made(), overlay=[id])
    assert refused.value.faults[0].pointer == "/query/overlay"


def test_without_a_sweep_nothing_can_be_laid_over():
    with pytest.raises(Invalid, match="needs a sweep"):
        FIGURES["critical_period"](removal(ends=(0,)), overlay=["fig1a"])


def test_the_kittens_have_a_panel_of_their_own_in_days():
    made = FIGURES["sensitivity"](sliding(), overlay=["fig1c", "fig1d"])
    main, days = made["vegalite"]["hconcat"]
    assert days["layer"][0]["encoding"]["x"]["title"] == "Age at onset (days)"
    kittens = [row for row in rows(made, "paper") if row["paper"] == "fig1d"]
    assert [(row["epoch"], row["age_days"]) for row in kittens] == [(None, 28), (None, 108)]
    assert [row["fraction_disconnected"] for row in kittens] == [0.97, 0.1]
    assert not any(sensitivity.DROP in row for row in kittens)
    assert "age_days" not in json.dumps(main)
    alone = FIGURES["sensitivity"](sliding(), overlay=["fig1c"])
    assert "hconcat" not in alone["vegalite"]


# --- critical period ---


def test_twins_share_a_colour_and_differ_in_shape_and_dash():
    points = rows(FIGURES["critical_period"](removal(("blur", "noise"), tuple(KEPT))), "mean")
    look = Look.of(points)
    assert look.labels == [
        name if control is None else f"{name}, {TWINS[control]}"
        for name in ("blur", "noise")
        for control in KEPT
    ]
    assert look.colours == [style.COLOURS[0]] * 3 + [style.COLOURS[1]] * 3
    assert len(set(look.shapes)) == 6
    assert look.dashes[:3] == look.dashes[3:]
    assert len({tuple(dash) for dash in look.dashes}) == 3
    assert look.panels == []


def test_many_curves_with_twins_have_a_panel_for_each_control():
    made = FIGURES["critical_period"](removal(tuple(SLOPES), tuple(KEPT)), overlay=["fig1a"])
    assert made["vegalite"]["facet"]["sort"] == ["as scheduled", "rate restarted", "constant rate"]
    assert {row["panel"] for row in rows(made, "paper") + rows(made, "clean")} == {"as scheduled"}
    assert {row["base"] for row in rows(made, "mean")} == set(SLOPES)
    assert "Fig 1 A" in subtitle(made)


def test_what_survives_each_control_at_the_latest_removal_is_said():
    results = removal(controls=tuple(KEPT))
    text = subtitle(FIGURES["critical_period"](results))
    assert "Dashed: rate restarted, dotted: constant rate." in text
    shares = {}
    for control in ("restart", "constant"):
        means = [
            np.mean([final(results, "blur", c, 0, s) - final(results, "blur", c, 28, s)
                     for s in range(3)])
            for c in (control, None)
        ]  # fmt: skip
        shares[control] = f"{100 * means[0] / means[1]:.0f} %"
    restarted = f"survives with the rate restarted (95 % interval): {shares['restart']} ["
    assert f"at removal 28 that {restarted}" in text
    assert f"with the rate constant (95 % interval): {shares['constant']} [" in text


def final(results, base, control, end, seed):
    (run,) = [
        run
        for run in results.plan.runs
        if (run.base, run.control, run.seed) == (base, control, seed)
        and run.point["deficit.end"] == end
    ]
    return accuracies(results, run)[-5:].mean()


def test_a_share_of_nothing_is_undetermined_and_the_reason_is_said():
    results = removal(("flip",), ("restart", None), ends=(0, 1))
    text = subtitle(FIGURES["critical_period"](results))
    assert "undetermined" in text


def test_one_seed_has_no_interval_and_that_is_said():
    made = FIGURES["critical_period"](removal(seeds=(0,)))
    assert {(row["low"], row["high"]) for row in rows(made, "mean")} == {(None, None)}
    assert "One seed: no interval." in subtitle(made)
    assert rows(made, "longest") == []


def test_the_longest_deficit_without_a_penalty_is_marked():
    made = FIGURES["critical_period"](removal())
    (mark,) = rows(made, "longest")
    # The first removal whose interval of paired losses lies above 0 is 8: before it there is 0.
    losses = [final_loss(removal(), 8, seed) for seed in range(3)]
    assert stats.t.interval(0.95, 2, np.mean(losses), stats.sem(losses))[0] > 0
    assert (mark["curve"], mark["epoch"]) == ("blur", 0)
    assert "Triangle" in subtitle(made)


def final_loss(results, end, seed):
    return final(results, "blur", None, 0, seed) - final(results, "blur", None, end, seed)


# --- the clean run while it trains ---


def line_fit(values, i, half=5):
    """Savitzky-Golay of order 1 as what it is: a straight line through the window, here at i."""
    first = min(max(0, i - half), len(values) - 2 * half - 1)
    x = np.arange(first, first + 2 * half + 1)
    return np.polyval(np.polyfit(x, values[x], 1), i)


def test_the_clean_learning_curve_is_smoothed_by_straight_lines_and_ends_with_the_axis():
    results = removal()
    found = rows(FIGURES["critical_period"](results), "clean")
    by_hand = np.mean([accuracies(results, r) for r in results.plan.runs if r.epochs == 20], axis=0)
    assert [row["epoch"] for row in found] == list(range(1, 21))
    for i in (0, 3, 9, 19):
        assert found[i]["test_accuracy_percent"] == pytest.approx(line_fit(by_hand, i), rel=1e-9)


def test_the_excess_error_ends_at_the_median_of_the_last_ten_epochs():
    results = sliding()
    whole = [accuracies(results, r) for r in results.plan.runs if r.variant == "clean"]
    above = np.mean([np.median(one[-10:]) - one for one in whole], axis=0)
    found = clean.excess(results)
    assert len(found) == 60
    for i in (0, 5, 30, 59):
        assert found[i] == pytest.approx(line_fit(above, i), rel=1e-9, abs=1e-12)
    drawn = rows(FIGURES["sensitivity"](results), "clean")
    assert [row["epoch"] for row in drawn] == list(range(1, 29))


def test_with_several_clean_configurations_there_is_no_one_learning_curve():
    assert clean.accuracy(depth()) == []
    assert rows(FIGURES["critical_period"](depth()), "clean") == []


def test_runs_that_change_on_the_way_are_not_one_learning_curve_with_those_that_do_not():
    changed = [{"at": 5, "settings": {"batch_size": 8}}]
    lives = [
        ({"seed": 0, "point": {"x": i}, "windows": [], "changes": changes}, [50.0] * 11, config())
        for i, changes in enumerate(([], changed))
    ]
    assert clean.accuracy(experiment(lives[1:])) == pytest.approx([50.0] * 11)
    assert clean.accuracy(experiment(lives)) == []


def test_too_few_epochs_are_not_smoothed():
    lives = [({"seed": 0, "point": {}, "windows": []}, [50.0] * n, config()) for n in (10, 11)]
    assert clean.accuracy(experiment(lives[:1])) == []
    assert clean.accuracy(experiment(lives[1:])) == pytest.approx([50.0] * 11)


# --- sensitivity ---


def test_the_sensitivity_is_the_drop_of_medians_in_points():
    results = sliding()
    made = FIGURES["sensitivity"](results)
    reference = {
        run.seed: np.median(accuracies(results, run)[-10:])
        for run in results.plan.runs
        if run.variant == "clean"
    }
    means = rows(made, "mean")
    assert [row["epoch"] for row in means] == [0, 4, 8, 16, 28]
    for row in means:
        drops = [
            reference[run.seed] - np.median(accuracies(results, run)[-10:])
            for run in results.plan.runs
            if run.point.get("deficit.start") == row["epoch"]
        ]
        assert row["drop_points"] == pytest.approx(np.mean(drops), rel=1e-9)
        low, high = stats.t.interval(0.95, 2, np.mean(drops), stats.sem(drops))
        assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
    assert len(rows(made, "seed")) == 15
    assert "window of 8 epochs" in subtitle(made)


def test_each_length_of_the_window_has_a_curve_and_a_peak():
    made = FIGURES["sensitivity"](sliding(lengths=(8, 12)))
    assert list(dict.fromkeys(row["curve"] for row in rows(made, "mean"))) == [
        "length 8", "length 12"
    ]  # fmt: skip
    peak = subtitle(made).split("Peak: ")[1]
    assert peak.startswith("length 8: ")
    assert "; length 12: " in peak
    assert "at onset" in peak


def test_a_window_with_a_fixed_end_is_one_curve_without_a_peak():
    results = sliding()
    for run in results.plan.runs:
        for window in run.windows:
            window["end"] = 40
    made = FIGURES["sensitivity"](results)
    assert len({row["curve"] for row in rows(made, "mean")}) == 1
    assert [row["length"] for row in rows(made, "mean")] == [40, 36, 32, 24, 12]
    assert "window of 40/36/32/24/12 epochs" in subtitle(made)
    assert "Peak" not in subtitle(made)


def test_without_a_clean_run_there_is_no_sensitivity():
    results = sliding()
    kept = [run for run in results.plan.runs if run.variant != "clean"]
    results.plan.runs[:] = kept
    with pytest.raises(Conflict, match=r"nothing to draw yet.*without a deficit"):
        FIGURES["sensitivity"](results)


# --- relative accuracy ---


def test_relative_accuracy_is_paired_with_the_clean_run_of_the_same_depth_and_seed():
    results = depth()
    means = rows(FIGURES["relative_accuracy"](results), "mean")
    assert [(row["curve"], row["epoch"]) for row in means] == [
        (f"n = {n}", end) for n in (1, 2, 3) for end in (0, 28, 56)
    ]
    for row in means:
        if row["epoch"] == 0:
            assert (row["relative_points"], row["low"], row["high"]) == (0, None, None)
            continue
        runs = {(r.variant, r.point["deficit.end"], r.seed): r for r in results.plan.runs}
        found = [
            accuracies(results, runs[row["curve"], row["epoch"], seed])[-5:].mean()
            - accuracies(results, runs[row["curve"], 0, seed])[-5:].mean()
            for seed in range(3)
        ]
        assert row["relative_points"] == pytest.approx(np.mean(found), rel=1e-9)
        low, high = stats.t.interval(0.95, 2, np.mean(found), stats.sem(found))
        assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))


def test_the_papers_curve_has_the_colour_of_our_network_of_that_depth():
    made = relative_accuracy.build(depth(), overlay=["fig2right_n3", "fig2right_n1"])
    assert paper_colours(made) == [style.COLOURS[2], style.COLOURS[0]]
    other = relative_accuracy.build(removal(), overlay=["fig2right_n3"])
    assert paper_colours(other) == [style.GREY]


def paper_colours(made):
    labels = list(dict.fromkeys(row["curve"] for row in rows(made, "paper")))
    (found,) = {
        tuple(layer["encoding"]["color"]["scale"]["range"])
        for layer in every_layer(made["vegalite"])
        if layer.get("encoding", {}).get("color", {}).get("scale", {}).get("domain") == labels
    }
    return list(found)


# --- pictures ---

DRAWN = {
    "several overlays": ("critical_period", removal, ["fig1a", "fig1a_clean", "fig3left"]),
    "twins": ("critical_period", lambda: removal(controls=tuple(KEPT)), ["fig1a"]),
    "panels": ("critical_period", lambda: removal(tuple(SLOPES), tuple(KEPT)), ["fig1a"]),
    "one seed": ("critical_period", lambda: removal(seeds=(0,)), []),
    "kittens": ("sensitivity", sliding, ["fig1c", "fig1c_clean", "fig1d"]),
    "sensitivity, one seed": ("sensitivity", lambda: sliding(seeds=(0,)), []),
    "depth": ("relative_accuracy", depth, ["fig2right_n1", "fig2right_n2", "fig2right_n3"]),
    "relative panels": (
        "relative_accuracy", lambda: removal(tuple(SLOPES), tuple(KEPT)), ["fig2right_n1"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DRAWN)
def test_a_figure_of_accuracy_is_drawn_with_all_its_labels(renderer, case):
    figure, made, ids = DRAWN[case]
    found = FIGURES[figure](made(), overlay=ids)
    spec = found["vegalite"]
    assert json.loads(json.dumps(spec, allow_nan=False)) == spec
    svg = renderer.render(spec, "svg").decode()
    assert "NaN" not in svg
    look = Look.of(rows(found, "mean"))
    for label in look.labels if len(look.labels) > 1 else []:
        assert f">{label}<" in svg
    for id in ids:
        assert CURVES[id].panel in svg


def test_a_picture_for_print_holds_its_text_as_text(renderer):
    spec = FIGURES["sensitivity"](sliding(), overlay=["fig1d"])["vegalite"]
    pdf = renderer.render(spec, "pdf")
    assert pdf.startswith(b"%PDF-")
    assert b"/Subtype /Image" not in pdf
    assert pdf.count(b"/ToUnicode") >= 1
    maps = pdf.split(b"begincmap")[1:]  # glyph -> character, uncompressed
    letters = b"".join(one.split(b"endcmap")[0] for one in maps).upper()
    for letter in "Dropinfalcuy":  # of the y axis' title
        assert f"<{ord(letter):04X}>".encode() in letters, letter


# --- the endpoint ---


@pytest.fixture
def client(renderer):
    app = FastAPI()
    install(app)
    app.include_router(router.router)
    app.dependency_overrides[_with_later] = removal
    app.dependency_overrides[_renderer] = lambda: renderer
    return TestClient(app, raise_server_exceptions=False)


PATH = "/v1/experiments/0123456789abcdef01234567/figures"


def test_overlays_are_repeated_or_stand_between_commas(client):
    apart = client.get(f"{PATH}/critical_period?overlay=fig1a&overlay=fig3right").json()
    together = client.get(f"{PATH}/critical_period?overlay=fig1a,fig3right").json()
    assert apart == together
    assert {row["paper"] for row in rows(together, "paper")} == {"fig1a", "fig3right"}


def test_a_wrong_overlay_is_422_with_the_choices(client):
    answer = client.get(f"{PATH}/critical_period?overlay=fig1a,fig9")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/overlay"
    assert "fig1a, fig1a_clean, fig3left, fig3right" in answer.json()["detail"]
    other = client.get(f"{PATH}/fisher_trace?overlay=fig1a")
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (422, "/query/overlay")


def test_a_figure_comes_as_pdf_by_parameter_or_by_header(client):
    asked = client.get(f"{PATH}/critical_period?format=pdf")
    wanted = client.get(f"{PATH}/critical_period", headers={"Accept": "application/pdf"})
    for answer in (asked, wanted):
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.content.startswith(b"%PDF-")
