"""Tables of Fisher measurements: what stands in a row, beside it, and how layers are normalised."""

import csv
import io
from dataclasses import replace

import pytest
from results_by_hand import (
    EXPERIMENT,
    epoch_row,
    fisher_probe,
    measured,
    measurement,
    plan_of,
    results_of,
    run_plan,
    segment,
)

from shared import rows, traces
from shared.results import Results

BLUR = [{"name": "blur", "resolution": 4}]


def of_probes(found, epochs=8, runs=1):
    """Results of runs with these measurements: [(epoch, digest, measurement or None)]."""
    probes = {d: m["probe"] if m else fisher_probe() for _, d, m in found}
    asked = [(e, f"k{e}", d) for e, d, _ in found]
    plan = plan_of(
        [segment("a", 0, epochs)],
        [run_plan(i, [0], epochs, seed=i, probes=asked) for i in range(runs)],
        probes,
    )
    there = {("", f"k{e}", d): m for e, d, m in found if m}
    return results_of(plan, {"a": [epoch_row(e + 1) for e in range(epochs)]}, there)


def rows_of(results, normalisation="raw"):
    return list(traces.of_run(results, results.plan.runs[0], normalisation))


# --- what was measured ---


@pytest.fixture
def with_a_gap():
    """Measured after 0, 2 and 4 epochs, the second missing; nothing is asked beyond the gap."""
    asked = []
    there = {("", "k0", "p"): measurement(0, 1.5), ("", "k4", "p"): measurement(4, "Infinity")}

    def look(*name):
        asked.append(name[1])
        return there.get(name)

    probes = [(e, f"k{e}", "p") for e in (0, 2, 4, 6, 8)]
    plan = plan_of(
        [segment("a", 0, 4), segment("b", 4, 8)],
        [run_plan(0, [0, 1], 8, probes=probes)],
        {"p": fisher_probe()},
    )
    results = results_of(plan, {"a": [epoch_row(e) for e in range(1, 5)]})
    return Results(plan, EXPERIMENT, results.trained, look), asked


def test_fisher_rows_say_what_was_measured_and_what_is_not_finite(with_a_gap):
    results, asked = with_a_gap
    first, last = rows_of(results)
    assert asked == ["k0", "k2", "k4"], "no epoch after 4 has been trained"
    assert (first["epoch"], first["trace"], first["standard_error"]) == (0, 1.5, None)
    assert first["non_finite"] == [{"pointer": "/standard_error", "value": "NaN"}]
    assert (first["estimator"], first["samples"], first["split"]) == ("exact", 10, "train")
    assert first["layers"][0]["name"] == "0.conv"
    assert first["reused"] is True
    assert (last["key"], last["trace"]) == ("k4", None)


def test_a_row_has_the_method_of_the_probe_and_the_numbers_of_the_measurement():
    probe = fisher_probe(
        estimator="signs", norms="exact", square_root="rotated", precision="bfloat16",
        probe_set="redrawn", split="test", relative_error=0.05, max_samples=900, samples=None,
    )  # fmt: skip
    values = measurement(3, 2.0)["values"]
    values |= {"samples": 320, "relative_error": 0.048, "relative_error_reached": True}
    (row,) = rows_of(of_probes([(3, "p", measured(probe, 3, **values))]))
    method = {name: row[name] for name in traces.METHOD}
    assert method == {
        "split": "test", "estimator": "signs", "norms": "exact", "square_root": "rotated",
        "precision": "bfloat16", "probe_set": "redrawn", "max_samples": 900,
        "samples": 320, "relative_error": 0.048,
    }  # fmt: skip
    assert (row["relative_error_asked"], row["relative_error_reached"]) == (0.05, True)


def test_a_measurement_of_an_earlier_version_is_shown_with_what_it_has():
    probe = {"kind": "fisher", "estimator": "label", "samples": 10, "split": "train",
             "stimulus": []}  # fmt: skip
    old = measurement(1, 2.0) | {"probe": probe}
    for layer in old["values"]["layers"]:
        del layer["share"], layer["share_standard_error"]
    (row,) = rows_of(of_probes([(1, "p", old)]), "share")
    assert (row["norms"], row["precision"], row["relative_error_reached"]) == (None, None, None)
    assert (row["layers"][0]["trace"], row["layers"][0]["standard_error"]) == (1.0, None)


@pytest.mark.parametrize("normalisation", ["raw", "share", "per_parameter", "panel_max"])
def test_an_estimate_without_an_error_has_none_in_any_table(normalisation):
    found = measurement(1, 2.0, estimator="variational")
    found["values"] |= {"standard_error": None, "relative_error": None, "beta": 0.1}
    for layer in found["values"]["layers"]:
        layer |= {"standard_error": None, "share_standard_error": None}
    results = of_probes([(1, "p", found)])
    (row,) = rows_of(results, normalisation)
    assert (row["standard_error"], row["layers"][0]["standard_error"]) == (None, None)
    assert row["layers"][0]["trace"] > 0
    assert "non_finite" not in row
    assert [flat["standard_error"] for flat in traces.layer_rows([row])] == [None, None]


def test_what_a_job_of_the_experiment_measured_is_its_own():
    found = measurement(1, 2.0)
    results = of_probes([(1, "p", found)])
    assert [row["reused"] for row in rows_of(results)] == [True]
    assert [row["reused"] for row in rows_of(replace(results, jobs=frozenset(["theirs"])))] == [
        False
    ]


# --- beside ---


def side(kind, epoch, stimulus=(), split="train", samples=10, probe_set="fixed", **values):
    probe = {"kind": kind, "split": split, "stimulus": list(stimulus), "probe_set": probe_set}
    return measured(probe | {"samples": samples}, epoch, samples=samples, **values)


def test_beside_a_trace_stands_what_was_measured_of_the_same_state_on_the_same_images():
    found = [
        (1, "p", measurement(1, 2.0)),
        (1, "b", measurement(1, 3.0, BLUR)),
        (1, "t", measurement(1, 4.0, split="test")),
        (1, "g", side("gradient", 1, gradient_norm=0.5, noise_scale=7.0)),
        (1, "gb", side("gradient", 1, BLUR, gradient_norm=0.25, noise_scale="NaN")),
        (1, "h", side("hessian_trace", 1, split="test", hessian_trace=9.0)),
        (1, "r", side("gradient", 1, probe_set="redrawn", gradient_norm=1.0)),
        (2, "p", measurement(2, 5.0)),
    ]
    clean, blurred, test, later = rows_of(of_probes(found))
    assert clean["beside"] == {
        "gradient": {"samples": 10, "gradient_norm": 0.5, "noise_scale": 7.0}
    }
    assert blurred["beside"]["gradient"]["noise_scale"] is None
    assert {"pointer": "/beside/gradient/noise_scale", "value": "NaN"} in blurred["non_finite"]
    assert list(test["beside"]) == ["hessian_trace"]
    assert later["beside"] == {}


def test_of_two_measurements_beside_the_one_of_as_many_images_is_shown():
    found = [
        (1, "g", side("gradient", 1, samples=256, gradient_norm=3.0)),
        (1, "h", side("gradient", 1, samples=10, gradient_norm=1.0)),
        (1, "i", side("gradient", 1, samples=64, gradient_norm=2.0)),
        (1, "p", measurement(1, 2.0)),
        (1, "q", measurement(1, 2.0, samples=None, relative_error=0.1, max_samples=500)),
    ]
    equal, other = rows_of(of_probes(found))
    assert equal["beside"]["gradient"]["gradient_norm"] == 1.0
    assert other["beside"]["gradient"]["gradient_norm"] == 3.0


# --- normalisation ---


def layered():
    """Two layers of 4 parameters over two epochs; the largest trace of a layer is 8, at epoch 2."""
    found = [
        (1, "p", measurement(1, 5.0, layers={"conv": 4.0, "norm": 1.0})),
        (2, "p", measurement(2, 10.0, layers={"conv": 8.0, "norm": 2.0})),
    ]
    for _, _, one in found:
        for layer in one["values"]["layers"]:
            layer["parameters"] = 4
    return of_probes(found)


@pytest.mark.parametrize(
    ("normalisation", "expected", "errors"),
    [
        ("raw", [[4, 1], [8, 2]], 0.1),
        ("share", [[0.8, 0.2], [0.8, 0.2]], 0.01),
        ("per_parameter", [[1, 0.25], [2, 0.5]], 0.1 / 4),
        ("panel_max", [[0.5, 0.125], [1, 0.25]], 0.1 / 8),
    ],
)
def test_layers_are_normalised_and_the_total_is_not(normalisation, expected, errors):
    found = rows_of(layered(), normalisation)
    assert [[layer["trace"] for layer in row["layers"]] for row in found] == expected
    found_errors = [layer["standard_error"] for row in found for layer in row["layers"]]
    assert found_errors == [pytest.approx(errors)] * 4
    assert [row["trace"] for row in found] == [5.0, 10.0]
    assert {row["normalisation"] for row in found} == {normalisation}
    flat = list(traces.layer_rows(found))
    assert [row["normalisation"] for row in flat if row["layer"] == "total"] == ["raw", "raw"]
    assert {row["normalisation"] for row in flat if row["layer"] != "total"} == {normalisation}


def test_the_largest_layer_is_that_of_the_same_method():
    results = of_probes([
        (1, "p", measurement(1, 2.0)),
        (1, "e", measurement(1, 8.0, estimator="empirical")),
        (2, "b", measurement(2, 4.0, BLUR)),
    ])  # fmt: skip
    found = rows_of(results, "panel_max")
    assert [row["layers"][0]["trace"] for row in found] == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("normalisation", ["share", "panel_max", "per_parameter"])
def test_a_network_without_information_has_no_shares_and_breaks_nothing(normalisation):
    results = of_probes([(1, "p", measurement(1, 0.0)), (2, "p", measurement(2, "NaN"))])
    first, last = rows_of(results, normalisation)
    assert first["layers"][0]["trace"] in (None, 0.0)
    assert last["layers"][0]["trace"] is None
    assert list(traces.layer_rows([first, last]))


# --- flat ---


def test_a_table_of_layers_has_the_total_first(with_a_gap):
    results, _ = with_a_gap
    found = list(traces.layer_rows(rows_of(results)))
    assert [row["layer"] for row in found] == ["total", "0.conv"] * 2
    assert (found[1]["trace"], found[1]["standard_error"], found[1]["parameters"]) == (1.5, 0.1, 8)
    assert found[2]["non_finite"] == {"trace": "Infinity", "standard_error": "NaN"}
    assert found[3]["non_finite"] == {"trace": "Infinity"}
    text = "".join(rows.csv_lines(found, traces.layer_columns(results)))
    assert len(list(csv.DictReader(io.StringIO(text)))) == 4


def test_flat_rows_hold_what_stands_beside_in_the_row_of_the_total_alone():
    variational = measurement(1, 2.0, BLUR, estimator="variational")
    variational["values"] |= {"beta": 0.1, "steps": 320, "drift": 0.01}
    found = [
        (1, "p", variational),
        (1, "g", side("gradient", 1, BLUR, gradient_norm=0.5, noise_scale="Infinity")),
        (1, "h", side("hessian_eigenvalue", 1, BLUR, hessian_eigenvalue=3.0)),
    ]
    results = of_probes(found)
    total, layer = traces.layer_rows(rows_of(results))
    beside = {name: total[name] for name in traces.BESIDE_COLUMNS}
    assert beside == {
        "gradient_norm": 0.5, "noise_scale": None, "hessian_eigenvalue": 3.0, "hessian_trace": None
    }  # fmt: skip
    assert total["non_finite"]["noise_scale"] == "Infinity"
    assert total["stimulus"] == "blur(resolution=4)"
    assert not layer.keys() & traces.BESIDE_COLUMNS.keys()
    assert all(not isinstance(v, dict | list) for v in layer.values())
    assert set(total) | set(layer) == set(traces.layer_columns(results))
