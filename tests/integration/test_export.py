"""Numbers and archives that leave the service: whole, streamed, and to be read without it."""

import csv
import io
import json
import math
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow.parquet as pq
import pytest
from carried_out import carried_out
from click.testing import CliRunner
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_http import SPEC, ended

from api import cli

pytestmark = pytest.mark.services


@pytest.fixture
def finished(lab: Any, http: httpx.Client) -> str:
    lab.start_worker()
    second_order = {"epochs": [0], "samples": 16, "directions": 2}
    plane = {"epochs": [0, 2], "samples": 16, "layers": [0, -1]}
    body = SPEC | {"second_order": second_order, "filters": {"epochs": [0, 2]}}
    body |= {"information_plane": plane}
    id = str(http.post("/v1/experiments", json=body).raise_for_status().json()["id"])
    found = ended(http, id)
    assert found["state"] == "succeeded", (found, lab.lines[-30:])
    return id


def test_every_format_holds_the_same_and_an_archive_all_of_it_and_draws_itself_again(
    http: httpx.Client, finished: str, tmp_path: Path
) -> None:
    path = f"/v1/experiments/{finished}"
    _check_tables(http, path)
    result = CliRunner().invoke(
        cli.main,
        ["--url", str(http.base_url), "export", finished, "-o", f"{tmp_path}/all.zip",
         "--checkpoints", "all"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    folder = tmp_path / "all"
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    for part in ("spec", "summary", "analysis"):
        assert (
            json.loads((folder / f"{part}.json").read_text()) == http.get(f"{path}/{part}").json()
        )
    assert (
        json.loads((folder / "annotations.json").read_text())
        == http.get(f"{path}/annotations").json()
    )
    again = json.loads((folder / "spec.json").read_text())
    assert http.post("/v1/experiments", params={"dry_run": "true"}, json=again).status_code == 200
    stored = [json.loads(line) for line in (folder / "measured.jsonl").read_text().splitlines()]
    kinds = {one["probe"]["kind"] for one in stored}
    assert {one["run"] for one in stored} == {0, 1, 2, 3}
    assert kinds == {"fisher", "gradient", "second_order", "filters", "information_plane"}
    assert json.loads((folder / "status.json").read_text())["state"] == "succeeded"
    assert len(json.loads((folder / "plan.json").read_text())["runs"]) == 4
    for name, given in (
        ("metrics", {"shape": "wide"}), ("fisher", {}), ("second_order", {}), ("information", {}),
    ):  # fmt: skip
        told = http.get(f"{path}/{name}", params={**given, "format": "csv"}).text
        assert (folder / f"{name}.csv").read_bytes().decode() == told
        assert len(pd.read_parquet(folder / f"{name}.parquet")) == told.count("\n") - 1
    runs = list(csv.DictReader((folder / "runs.csv").open()))
    told_runs = http.get(f"{path}/runs").json()["runs"]
    assert [float(run["score"]) for run in runs] == [run["score"] for run in told_runs]
    assert runs[2]["windows"] == "blur(resolution=4) 0 to 2"

    kept = pd.read_csv(folder / "checkpoints.csv")
    listed = http.get(f"{path}/checkpoints", params={"page_size": 200}).json()["checkpoints"]
    assert set(kept["sha256"]) == {one["sha256"] for one in listed}
    files = {str(p.relative_to(folder)) for p in folder.glob("checkpoints/*.safetensors")}
    assert (
        set(kept["file"]) == files == {f for f in files if re.search(r"run-\d{3}-epoch-\d{4}", f)}
    )
    assert load_file(folder / sorted(files)[0])

    readme = (folder / "README.md").read_text()
    assert readme.startswith("# small [one]\n")
    assert "/torch" in readme.split("numerics class")[1]
    assert "{" not in readme
    scored = http.get(f"{path}/summary").json()["score"]
    assert f"The final score of a run is its {scored}." in readme
    _check_event_files(folder, runs)
    _check_redrawn(http, path, folder)


def _check_tables(http: httpx.Client, path: str) -> None:
    for table, shape in (
        ("metrics", "rows"), ("metrics", "wide"), ("fisher", "rows"), ("fisher", "nested"),
        ("second_order", None), ("information", None),
    ):  # fmt: skip
        given = {} if shape is None else {"shape": shape}

        def get(format: str, of: str = f"{path}/{table}", given: Any = given) -> httpx.Response:
            answer = http.get(of, params=given | {"format": format}).raise_for_status()
            if format != "json":
                disposition = answer.headers["content-disposition"]
                assert disposition.endswith(f'.{format}"')
            return answer

        rows = get("json").json()
        lines = get("jsonl")
        assert lines.headers["content-type"] == "application/jsonl"
        assert [json.loads(line) for line in lines.text.splitlines()] == rows
        parquet = get("parquet")
        assert parquet.headers["content-type"] == "application/vnd.apache.parquet"
        frame = pq.read_table(io.BytesIO(parquet.content)).to_pylist()
        text = list(csv.DictReader(io.StringIO(get("csv").text)))
        assert len(frame) == len(text) >= len(rows) > 0
        assert frame[0].keys() == text[0].keys() - {"non_finite"}
        assert shape == "nested" or text[0].keys() >= {name for row in rows for name in row}
        for cells, words in zip(frame, text, strict=True):
            numbers = {k: v for k, v in cells.items() if type(v) in (int, float)}
            assert "epoch" in numbers
            assert all(float(words[name]) == v for name, v in numbers.items())
    _check_no_row_is_left_out(http, path)


def _check_no_row_is_left_out(http: httpx.Client, path: str) -> None:
    """Pages are of json alone."""
    for table in ("metrics", "fisher", "second_order", "information"):
        page = http.get(f"{path}/{table}", params={"page_size": 1, "run": 1})
        given = {name: httpx.URL(page.links["next"]["url"]).params.get(name)
                 for name in ("page_size", "page_token")}  # fmt: skip
        for format in ("csv", "jsonl", "parquet"):
            asked: dict[str, Any] = {"format": format, "run": 1}
            whole, few = (
                http.get(f"{path}/{table}", params=asked | more).raise_for_status().content
                for more in ({}, given)
            )
            assert few == whole, (table, format)


def _check_event_files(folder: Path, runs: list[dict[str, Any]]) -> None:
    metrics = pd.read_parquet(folder / "metrics.parquet")
    fisher = pd.read_parquet(folder / "fisher.parquet")
    folders = sorted((folder / "tensorboard").iterdir())
    assert [one.name for one in folders] == [
        f"run-{i:03d}_deficit.end={run['deficit.end']}_seed={run['seed']}"
        for i, run in enumerate(runs)
    ]
    for i, one in enumerate(folders):
        events = EventAccumulator(str(one)).Reload()
        mine, traces = metrics[metrics["run"] == i], fisher[fisher["run"] == i]
        tags = events.Tags()["scalars"]
        assert set(tags) >= {"train/loss", "test/accuracy", "learning_rate"}
        scalars = events.Scalars("test/accuracy")
        assert [scalar.step for scalar in scalars] == list(mine["epoch"])
        assert [scalar.value for scalar in scalars] == pytest.approx(list(mine["test_accuracy"]))
        walls = [moment.timestamp() for moment in mine["time"]]
        assert [scalar.wall_time for scalar in scalars] == pytest.approx(walls)
        (total,) = [tag for tag in tags if tag.endswith("/total")]
        assert total.startswith("fisher (signs, train, ")
        expected = traces[traces["layer"] == "total"]["trace"]
        assert [scalar.value for scalar in events.Scalars(total)] == pytest.approx(list(expected))
        layers = set(traces["layer"]) - {"total"}
        assert len(layers) == sum("/layers/" in tag for tag in tags) > 3


def _check_redrawn(http: httpx.Client, path: str, folder: Path) -> None:
    """With no network to fall back on: a proxy that is not there."""
    names = {p.name.removesuffix(".vl.json") for p in folder.glob("figures/*.vl.json")}
    assert names >= {"critical_period", "fisher_trace", "fisher_layers", "filters", "second_order"}
    assert "information_plane" in names
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    script = (
        "import redraw; redraw.main(); rows = redraw.frame('critical_period')\n"
        "made = redraw.chart('critical_period', rows[rows['kind'] == 'mean']).to_dict()\n"
        "print(len(made['data']['values']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder, env={"PATH": "", "PYTHONPATH": str(folder), **nowhere},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2"
    for name in names:
        shown = http.get(f"{path}/figures/{name}?format=vegalite").json()
        for place in ("figures", "redrawn"):
            assert json.loads((folder / place / f"{name}.vl.json").read_text()) == shown
        svg = http.get(f"{path}/figures/{name}?format=svg").text
        assert (folder / f"figures/{name}.svg").read_text() == svg
        assert _are_alike((folder / f"redrawn/{name}.svg").read_text(), svg), name
    assert "<svg" in (folder / "redrawn/accuracy_by_run.svg").read_text()


def _are_alike(one: str, other: str) -> bool:
    """But for a pixel. Vega counts clip paths over the life of a process, and JavaScript's last
    digit depends on what was compiled before: where that decides whether a height is rounded up,
    what lies below is a pixel lower."""
    parts = [
        re.split(r"(\d+(?:\.\d+)?)", re.sub(r'(id="clip|url\(#clip)\d+', r"\1", svg))
        for svg in (one, other)
    ]
    words, numbers = ([part[first::2] for part in parts] for first in (0, 1))
    assert len(numbers[0]) > 100
    near = (abs(float(a) - float(b)) < 1.001 for a, b in zip(*numbers, strict=True))
    return words[0] == words[1] and all(near)


def test_what_is_not_finite_arrives_and_a_checkpoint_that_is_gone_is_told_of(
    lab: Any, http: httpx.Client, tmp_path: Path
) -> None:
    parts = {key: value for key, value in SPEC.items() if key not in ("sweep", "fisher")}
    id = carried_out(lab.service, **parts)
    lab.wait(id)
    found = http.get(f"/v1/experiments/{id}/export.zip", params={"checkpoints": "all"})
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    kept = pd.read_csv(tmp_path / "checkpoints.csv")
    assert kept["file"].isna().all()
    assert set(kept["note"]) == {"damaged in the store, to be computed again"}
    whole = pq.read_table(tmp_path / "metrics.parquet")
    assert [str(value) for value in whole["train_loss"].to_pylist()[1::2]] == ["nan", "nan"]
    assert whole["test_loss"].to_pylist()[1::2] == [math.inf, math.inf]
    assert whole["test_accuracy"].null_count == 0
    events = EventAccumulator(str(next((tmp_path / "tensorboard").iterdir()))).Reload()
    last = {tag: events.Scalars(tag)[-1].value for tag in ("train/loss", "test/loss")}
    assert math.isnan(last["train/loss"])
    assert last["test/loss"] == math.inf


def test_an_experiment_that_runs_gives_what_is_there_and_one_that_prepares_says_so(
    lab: Any, http: httpx.Client
) -> None:
    id = http.post("/v1/experiments", json=SPEC).json()["id"]
    refused = http.get(f"/v1/experiments/{id}/export.zip")
    assert refused.status_code == 409
    assert int(refused.headers["retry-after"]) > 0
    whole = http.get(f"/v1/experiments/{id}/metrics", params={"format": "parquet"})
    assert pq.read_table(io.BytesIO(whole.content)).num_rows == 0
    lab.start_worker()
    deadline = time.monotonic() + 60
    while http.get(f"/v1/experiments/{id}").json()["state"] == "preparing":
        assert time.monotonic() < deadline
    found = http.get(f"/v1/experiments/{id}/export.zip", params={"checkpoints": "final"})
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        assert archive.testzip() is None
        assert "status.json" in archive.namelist()
        rows = list(csv.DictReader(io.StringIO(archive.read("metrics.csv").decode())))
        assert len(rows) <= 12
    http.post(f"/v1/experiments/{id}/cancel")


def test_one_without_runs_can_be_taken_along_and_what_is_wrong_is_a_problem(
    http: httpx.Client,
) -> None:
    id = http.post("/v1/experiments", json=SPEC).json()["id"]
    assert http.post(f"/v1/experiments/{id}/cancel").status_code == 200
    time.sleep(1)
    found = http.get(f"/v1/experiments/{id}/export.zip", params={"checkpoints": "all"})
    with zipfile.ZipFile(io.BytesIO(found.raise_for_status().content)) as archive:
        assert json.loads(archive.read("spec.json"))["name"] == SPEC["name"]
        assert archive.read("checkpoints.csv").decode().strip() == "run,epoch,key,sha256,file,note"
    for path in (f"{id}/metrics?format=xlsx", f"{id}/export.zip?checkpoints=some"):
        answer = http.get(f"/v1/experiments/{path}")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
    assert http.get(f"/v1/experiments/{'0' * 24}/export.zip").status_code == 404
    for path in ("metrics?format=parquet", "export.zip"):
        head = http.head(f"/v1/experiments/{id}/{path}")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-disposition"].startswith("attachment")
