"""A figure of the paper from one POST, on real servers."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy import figures

pytestmark = pytest.mark.services

TINY = {
    "dataset": {"train_samples": 128, "test_samples": 64},
    "model": {"width": 0.05},
    "training": {"epochs_after_deficit": 2},
    "sweep": {"deficit.end": [0, 2]},
    "seeds": [0],
    "controls": {"constant": None},
}
"""Small enough for a test; the rate restarted at the removal stays as a twin."""


def keys(lab: Any, id: str) -> list[list[str]]:
    """Of each run, the names of the states that it goes through."""
    plan = lab.service.experiment(id).plan
    return [[k for i in run.segments for k in plan.segments[i].keys] for run in plan.runs]


def test_a_preset_with_overrides_is_the_same_experiment_as_its_spec_in_full(
    lab: Any, http: httpx.Client
) -> None:
    lab.start_worker()
    body = {"preset": "fig1a", "scale": "mini", **TINY}
    headers = {"Idempotency-Key": "one"}
    planned = http.post("/v1/experiments?dry_run=true", json=body).json()
    accepted = http.post("/v1/experiments", json=body, headers=headers)
    assert accepted.status_code == 202
    first = accepted.json()
    assert planned["spec"] == first["spec"]
    assert first["tags"] == {"preset": "fig1a", "scale": "mini"}
    assert first["spec"]["training"]["batch_size"] == 64
    assert lab.wait(first["id"])["state"] == "succeeded"
    assert (
        http.get("/v1/experiments?tag=preset:fig1a").json()["experiments"][0]["id"] == (first["id"])
    )
    again = http.post("/v1/experiments", json=body, headers=headers)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (first["id"], "true")
    other = http.post("/v1/experiments", json=body | {"seeds": [1]}, headers=headers)
    assert other.status_code == 422

    shown = http.get("/v1/presets/fig1a?scale=mini").json()["spec"]
    full = shown | {
        "dataset": {"name": "gratings", "train_samples": 128, "test_samples": 64},
        "model": shown["model"] | {"width": 0.05},
        "training": shown["training"] | {"epochs_after_deficit": 2},
        "sweep": {"deficit.end": [0, 2]},
        "seeds": [0],
        "controls": {"restart": True},
    }
    second = http.post("/v1/experiments", json=full).json()
    assert second["id"] != first["id"]
    assert lab.wait(second["id"])["state"] == "succeeded"
    assert keys(lab, first["id"]) == keys(lab, second["id"])
    assert http.get(f"/v1/experiments/{second['id']}").json()["plan"]["epochs"]["new"] == 0


def test_every_preset_can_be_planned_over_http_at_the_small_scale(http: httpx.Client) -> None:
    listed = http.get("/v1/presets").json()["presets"]
    planning = -time.monotonic()
    for name in (one["name"] for one in listed):
        body = {"preset": name, "scale": "mini"}
        answer = http.post("/v1/experiments?dry_run=true", json=body)
        assert answer.status_code == 200, answer.text
        [cost] = [one["scales"]["mini"]["plan"]["epochs"] for one in listed if one["name"] == name]
        planned = answer.json()["plan"]["epochs"]
        assert cost == {"alone": planned["alone"], "shared": planned["shared"]}
    planning += time.monotonic()
    listing = -time.monotonic()
    http.get("/v1/presets")
    listing += time.monotonic()
    assert listing < planning / 3, "the plans in the list are made once"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"preset": "fig9", "scale": "mini"}, "/preset"),
        ({"preset": "fig1a", "scale": "tiny"}, "/scale"),
        ({"preset": "fig1a", "scale": "mini", "model": {"width": -1}}, "/model/width"),
        ({"preset": "fig1a", "scale": "mini", "dataset": {"name": "nothing"}}, "/dataset/name"),
        ({"scale": "mini", "training": {"epochs": 1}}, "/scale"),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands_in_the_body(
    http: httpx.Client, body: dict[str, Any], pointer: str
) -> None:
    answer = http.post("/v1/experiments", json=body)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


def test_the_runner_writes_figures_and_numbers_and_asks_twice_for_one_experiment(
    lab: Any, http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.start_worker()
    said: list[str] = []
    post = figures._post
    monkeypatch.setattr(
        figures, "_post", lambda client, body, headers: post(client, body | TINY, headers)
    )
    [first] = figures.reproduce(http, "mini", ["fig1a"], tmp_path, said.append)
    [again] = figures.reproduce(http, "mini", ["fig1a"], tmp_path, said.append)
    assert first.status["id"] == again.status["id"]
    folder = tmp_path / "fig1a"
    written = {path.name for path in folder.iterdir()}
    assert {"critical_period.png", "critical_period.svg", "summary.json"} <= written
    assert {"status.json", "preset.json"} <= written
    assert (folder / "critical_period.png").read_bytes().startswith(b"\x89PNG")
    assert "annealed: " in figures.numbers(first.summary)
    assert first.seconds is not None
