"""Late removals: trace, shares and barrier at the end, by numbers that are written out."""

import math

import pytest
from results_by_hand import blurred, experiment_of, measured, measurement

from api.figures import bottleneck as figure
from shared.bottleneck import bottleneck
from shared.errors import Conflict
from shared.measurements import LaterMeasurements


def line(height, points=3, **values):
    """A line between two losses of 1, `height` above them in its middle."""
    rows = [
        {"a": i / (points - 1)}
        | {s: {"loss": 1.0 + height * (i not in (0, points - 1)), "accuracy": 0.5, "samples": 9}
           for s in ("train", "test")}
        for i in range(points)
    ]  # fmt: skip
    probe = {"kind": "linear_path", "other": {"key": "k", "epoch": 4}, "points": points}
    return measured(
        probe, 4, points=rows,
        barrier={"train": height, "test": height}, distance=3.0, relative_distance=0.5, **values,
    )  # fmt: skip


def life(end, seed, trace, height=None, layers=None, **more):
    found = {(e, "fisher"): measurement(e, t) for e, t in enumerate([1.0, 9, 6, 4])}
    found[4, "fisher"] = measurement(4, trace, layers=layers or {"a": trace / 4, "b": trace * 0.75})
    if height is not None:
        found[4, f"line{end}.{seed}"] = line(height)
    windows, point = [blurred(0, end)], {"deficit.end": end}
    return {"accuracies": [0.5] * 4, "seed": seed, "windows": windows, "point": point,
            "config": seed, "measured": found} | more  # fmt: skip


def sweep():
    return experiment_of(
        life(0, 0, 2.0), life(0, 1, 4.0),
        life(1, 0, 4.0, 0.1), life(1, 1, 8.0, 0.3),
        life(3, 0, 32.0, 0.6, {"a": 24.0, "b": 8.0}), life(3, 1, 32.0, 0.8, {"a": 24.0, "b": 8.0}),
    )  # fmt: skip


def test_each_removal_is_held_against_the_run_of_its_seed_without_a_deficit():
    [found] = bottleneck(sweep())
    clean, early, late = found["points"]
    assert [point["removal"] for point in found["points"]] == [None, 1, 3]
    assert (clean["trace_at_end"]["mean"], clean["trace_over_clean"]["n"]) == (3.0, 0)
    assert early["trace_over_clean"]["mean"] == pytest.approx(2.0)
    assert late["trace_over_clean"]["mean"] == pytest.approx(math.sqrt(16 * 8))
    shares = {layer["name"]: layer["share"]["mean"] for layer in late["shares"]}
    assert shares == pytest.approx({"a": 0.75, "b": 0.25})
    assert early["barrier"]["test"]["mean"] == pytest.approx(0.2)
    assert late["barrier"]["test"]["mean"] == pytest.approx(0.7)
    assert (clean["barrier"]["test"]["n"], clean["line"]) == (0, [])
    assert [at["test"]["mean"] for at in late["line"]] == pytest.approx([1, 1.7, 1])
    assert early["stage_at_removal"] == {"memorising": 2, "crossing": 0, "forgetting": 0}
    assert late["stage_at_removal"] == {"memorising": 0, "crossing": 0, "forgetting": 2}


def test_a_run_that_diverged_has_no_barrier_and_takes_none_from_its_siblings():
    results = experiment_of(
        life(0, 0, 2.0), life(0, 1, 2.0), life(2, 0, 4.0, 0.5), life(2, 1, 4.0, math.nan)
    )  # fmt: skip
    [found] = bottleneck(results)
    assert found["points"][1]["barrier"]["test"] == pytest.approx(
        {"n": 1, "mean": 0.5, "standard_deviation": None, "interval": None}
    )


def test_the_figure_holds_every_number_of_the_analysis_and_four_panels():
    drawn = figure.build(sweep())
    kinds = {row["kind"] for row in drawn["data"]}
    assert kinds == {"trace", "barrier", "share", "line"}
    [late] = [r for r in drawn["data"] if r["kind"] == "trace" and r["removal"] == 3]
    assert (late["trace"], late["stage"], late["forgetting"]) == (32.0, "forgetting", 2)
    [barrier] = [r for r in drawn["data"] if r["kind"] == "barrier" and r["removal"] == 3
                 and r["split"] == "test"]  # fmt: skip
    assert barrier["barrier"] == pytest.approx(0.7)
    panels = [chart for row in drawn["vegalite"]["vconcat"] for chart in row["hconcat"]]
    assert len(panels) == 4


def test_without_runs_to_compare_the_figure_says_what_to_measure():
    with pytest.raises(Conflict, match="measurements"):
        figure.build(experiment_of({"accuracies": [0.5]}))


def test_a_line_alone_can_be_asked_for_later():
    assert LaterMeasurements.model_validate({"linear_path": {}}).linear_path.points == 11
