"""The analysis and the summary over HTTP: against the same numbers from the tables, by numpy."""

import json
from typing import Any

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.services

SPEC = {
    "name": "sliding",
    "dataset": {"name": "gratings", "train_samples": 128, "test_samples": 64},
    "model": {"name": "all_cnn", "width": 0.05},
    "training": {"epochs": 10, "batch_size": 64, "augmentation": {"shift": 2}},
    "deficit": {"name": "blur", "resolution": 4, "start": 0, "length": 2},
    "sweep": {"deficit.start": [0, 2, 4, 6], "deficit.length": [0, 2]},
    "seeds": [0, 1],
    "fisher": {"every": 2, "samples": 16, "beside": []},
    "controls": {"restart": True},
}


def finite(answer: httpx.Response) -> Any:
    def refused(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(answer.raise_for_status().text, parse_constant=refused)


def test_the_analysis_of_a_sliding_window_is_that_of_its_tables(
    lab: Any, http: httpx.Client
) -> None:
    body = http.post("/v1/experiments", json=SPEC).raise_for_status().json()
    early = finite(http.get(body["links"]["analysis"]))
    assert (early["id"], early["name"]) == (body["id"], "sliding")
    assert (early["phases"], early["fits"]) == ([], [])
    finite(http.get(body["links"]["summary"]))
    lab.start_worker()
    assert lab.wait(body["id"])["state"] == "succeeded", lab.lines[-30:]
    found = finite(http.get(body["links"]["analysis"]))
    summary = finite(http.get(body["links"]["summary"]))

    accuracy: dict[int, dict[int, float]] = {}
    rows = http.get(body["links"]["metrics"], params={"metric": "test_accuracy"}).json()
    for row in rows:
        accuracy.setdefault(row["run"], {})[row["epoch"]] = row["value"]
    measured: dict[int, list[Any]] = {}
    for row in http.get(body["links"]["fisher"]).json():
        measured.setdefault(row["run"], []).append(row)
    runs = http.get(body["links"]["runs"], params={"page_size": 200}).json()["runs"]
    clean = {(r["variant"], r["seed"]): r["run"] for r in runs if not r["point"]["deficit.length"]}

    assert len(summary["sensitivity"]) == 8
    for point in summary["sensitivity"]:
        n = point["median_epochs"]
        assert n == min(5, (10 - point["onset"] - 2) // 2)
        for one in point["seeds"]:
            pair = clean[point["variant"], one["seed"]], one["run"]
            medians = [np.median(list(accuracy[run].values())[-n:]) for run in pair]
            assert one["drop"] == pytest.approx(medians[0] - medians[1], abs=1e-12)
    assert {(p["control"], tuple(p["onsets"])) for p in summary["peak_sensitivity"]} == {
        (None, (0, 2, 4, 6)),
        ("restart", (0, 2, 4, 6)),
    }
    assert [(c["control"], c["n"]) for c in summary["controls"]] == [("restart", 2)] * 4

    assert len(found["phases"]) == 16
    for point in found["phases"]:
        for one in point["runs"]:
            traces = [row["trace"] for row in measured[one["run"]]]
            assert one["peak_trace"] == max(traces)
            assert one["peak_epoch"] == 2 * int(np.argmax(traces))
    assert {(f["control"], f["length"]) for f in found["fits"]} == {(None, 2), ("restart", 2)}
    for point in found["fits"][0]["points"]:
        traces = [
            row["trace"]
            for seed in (0, 1)
            for row in measured[clean[found["fits"][0]["variant"], seed]]
            if row["epoch"] == point["onset"]
        ]
        assert point["trace"] == pytest.approx(np.mean(traces), rel=1e-12)
    assert len(found["plasticity"]) == 8
    for point in found["plasticity"]:
        assert (point["epoch"], point["end"], point["n"]) == (point["removal"], 10, 2)
        assert sum(layer["at_end"]["mean"] for layer in point["layers"]) == pytest.approx(1)
        assert 0 <= point["moved"]["mean"] <= 1


def test_an_experiment_that_is_not_there_has_no_analysis(http: httpx.Client) -> None:
    assert http.get(f"/v1/experiments/{'0' * 24}/analysis").status_code == 404
