"""An experiment over HTTP, from the POST to its numbers, figures and checkpoints."""

import csv
import hashlib
import io
import json
import secrets
import time
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from serving import serving

from api import cli
from worker.deficits import DEFICITS
from worker.regularisers import REGULARISERS

pytestmark = pytest.mark.services

SPEC = {
    "name": "small [one]",
    "dataset": {"name": "gratings", "train_samples": 128, "test_samples": 64},
    "model": {"name": "all_cnn", "width": 0.05},
    "training": {"epochs_after_deficit": 2, "batch_size": 64, "augmentation": {"shift": 2}},
    "deficit": {"name": "blur", "resolution": 4, "end": 0},
    "sweep": {"deficit.end": [0, 2]},
    "seeds": [0, 1],
    "fisher": {"every": 2, "samples": 16},
    "tags": {"lab": "vision"},
}


def ended(http: httpx.Client, id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while True:
        found = http.get(f"/v1/experiments/{id}").json()
        if found["state"] in ("succeeded", "failed", "cancelled"):
            return dict(found)
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def all_pages(http: httpx.Client, path: str, **parameters: Any) -> list[dict[str, Any]]:
    answer = http.get(path, params=parameters)
    found: list[dict[str, Any]] = answer.raise_for_status().json()
    while "next" in answer.links:
        answer = http.get(answer.links["next"]["url"]).raise_for_status()
        assert len(answer.json()) <= parameters["page_size"]
        found += answer.json()
    return found


def test_an_experiment_from_its_post_to_its_figures(lab: Any, http: httpx.Client) -> None:
    lab.start_worker()
    answer = http.post("/v1/experiments", json=SPEC)
    assert answer.status_code == 202
    body = answer.json()
    path = answer.headers["location"]
    assert path == f"/v1/experiments/{body['id']}" == body["links"]["self"]
    assert int(answer.headers["retry-after"]) > 0
    assert body["spec"]["training"]["optimizer"]["name"] == "sgd"
    assert http.get(body["links"]["spec"]).json() == body["spec"]

    final = ended(http, body["id"])
    assert final["state"] == "succeeded", (final, lab.lines[-30:])
    runs = http.get(f"{path}/runs").json()
    assert [run["state"] for run in runs["runs"]] == ["succeeded"] * 4
    assert all(0 <= run["score"] <= 1 for run in runs["runs"])
    assert runs["next"] is None

    rows = http.get(f"{path}/metrics").json()
    assert len(rows) == 2 * (2 + 4) * 5
    assert set(rows[0]) >= {"time", "run", "seed", "deficit.end", "metric", "epoch", "value"}
    assert all_pages(http, f"{path}/metrics", page_size=7) == rows
    assert all_pages(http, f"{path}/metrics", page_size=7, run=[1, 3]) == [
        row for row in rows if row["run"] in (1, 3)
    ]
    wide = http.get(f"{path}/metrics", params={"shape": "wide", "metric": "test_accuracy"}).json()
    assert len(wide) == 12
    text = http.get(f"{path}/metrics", params={"format": "csv"})
    assert text.headers["content-type"].startswith("text/csv")
    read = list(csv.DictReader(io.StringIO(text.text)))
    assert [float(row["value"]) for row in read] == [row["value"] for row in rows]

    since = rows[-1]["time"]
    late = http.get(f"{path}/metrics", params={"from": since}).json()
    assert late == [row for row in rows if row["time"] >= since]
    spread = http.get(f"{path}/metrics", params={"time": "experiment"}).json()
    assert all(final["created"] <= row["time"] <= final["finished"] for row in spread)

    traces = http.get(f"{path}/fisher").json()
    assert len(traces) == 2 * (2 + 3)
    assert all_pages(http, f"{path}/fisher", page_size=3) == traces
    flat = http.get(f"{path}/fisher", params={"shape": "rows"}).json()
    assert sum(row["layer"] == "total" for row in flat) == len(traces)

    summary = http.get(f"{path}/summary").json()
    assert [point["n"] for point in summary["points"]] == [2, 2]
    chosen = {choice["path"]: choice["chosen"] for choice in summary["choices"]}
    assert chosen["training.optimizer.momentum"] == [0.9]

    for name in ("critical_period", "fisher_trace", "fisher_layers"):
        figure = http.get(f"{path}/figures/{name}")
        assert figure.json()["data"]
        vegalite = http.get(f"{path}/figures/{name}?format=vegalite")
        assert vegalite.json()["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
        svg = http.get(f"{path}/figures/{name}", headers={"Accept": "image/svg+xml"})
        assert svg.content.startswith(b"<svg")
        png = http.get(f"{path}/figures/{name}", headers={"Accept": "image/png,*/*;q=0.1"})
        assert png.content.startswith(b"\x89PNG")
    pdf = http.get(f"{path}/figures/critical_period", headers={"Accept": "application/pdf"})
    assert pdf.content.startswith(b"%PDF")
    other = http.get(f"{path}/figures/critical_period", headers={"Accept": "text/html"})
    assert other.status_code == 406

    kept = http.get(f"{path}/checkpoints", params={"page_size": 200}).json()["checkpoints"]
    assert {run for one in kept for run in one["runs"]} == {0, 1, 2, 3}
    one = http.get(kept[0]["links"]["self"]).json()
    data = httpx.get(one["link"], trust_env=False).raise_for_status().content
    assert (len(data), hashlib.sha256(data).hexdigest()) == (one["bytes"], one["sha256"])
    assert one["expires"] > rows[-1]["time"]

    assert http.post(f"{path}/cancel").status_code == 409
    again = http.post("/v1/experiments?dry_run=true", json=SPEC).json()
    assert again["certain"]
    assert again["plan"]["epochs"]["new"] == 0


def test_the_command_line_follows_an_experiment(
    lab: Any, http: httpx.Client, tmp_path: Any
) -> None:
    lab.start_worker()
    env = {"HUBEL_URL": str(http.base_url)}
    spec = json.dumps(SPEC | {"reuse": False, "seeds": [3], "sweep": {}})
    done = CliRunner().invoke(cli.main, ["submit", "-", "--watch"], input=spec, env=env)
    assert done.exit_code == 0, done.output
    id = done.stdout.strip()
    table = CliRunner().invoke(cli.main, ["results", id], env=env)
    assert "small [one]" in table.stdout
    listed = CliRunner().invoke(cli.main, ["list", "--tag", "lab:vision"], env=env)
    assert listed.stdout.startswith(id)
    target = str(tmp_path / "figure.png")
    drawn = CliRunner().invoke(cli.main, ["figure", id, "fisher_trace", "-o", target], env=env)
    assert drawn.exit_code == 0, drawn.output
    kept = http.get(f"/v1/experiments/{id}/checkpoints").json()["checkpoints"]
    assert all(http.get(one["links"]["self"]).status_code == 200 for one in kept)


def test_measurements_are_added_to_an_experiment_that_has_ended(
    lab: Any, http: httpx.Client
) -> None:
    lab.start_worker()
    id = http.post("/v1/experiments", json=SPEC | {"reuse": False}).json()["id"]
    path = f"/v1/experiments/{id}"
    ended(http, id)
    before = http.get(f"{path}/fisher").json()
    assert http.get(f"{path}/second_order").json() == []
    assert http.get(f"{path}/figures/second_order").status_code == 409

    second = {"every": 2, "samples": 8, "sizes": [0.001, 0.01, 0.1], "directions": 2}
    asked = {"fisher": {"split": "test", "samples": 16}, "second_order": second}
    planned = http.post(f"{path}/measurements?dry_run=true", json=asked)
    assert planned.status_code == 200
    counts = planned.json()["plan"]["measurements"]
    assert (counts["asked"], counts["stored"]) == (counts["new"], 0)
    assert planned.json()["plan"]["epochs"]["new"] == 0
    assert http.get(f"{path}/measurements").json()["measurements"] == []

    key = {"Idempotency-Key": secrets.token_hex(8)}
    answer = http.post(f"{path}/measurements", json=asked, headers=key)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/experiments/{job['id']}" == job["links"]["self"]
    assert (job["measures"], job["name"]) == (id, "small [one]: measurements")
    assert job["plan"]["measurements"] == counts
    assert job["asked"]["fisher"]["estimator"] == "signs"
    again = http.post(f"{path}/measurements", json=asked, headers=key)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (job["id"], "true")
    assert ended(http, job["id"])["state"] == "succeeded", lab.lines[-30:]
    assert http.get(job["links"]["spec"]).json() == {"measures": id, **job["asked"]}
    assert http.get(path).json()["measures"] is None
    (listed,) = http.get(f"{path}/measurements").json()["measurements"]
    assert (listed["id"], listed["state"]) == (job["id"], "succeeded")
    assert (listed["asked"], listed["created"]) == (job["asked"], job["created"])
    ids = [one["id"] for one in http.get("/v1/experiments").json()["experiments"]]
    assert ids == [job["id"], id]

    after = http.get(f"{path}/fisher").json()
    assert [row for row in after if row["split"] == "train"] == before
    test = [row for row in after if row["split"] == "test"]
    assert http.get(f"/v1/experiments/{job['id']}/fisher").json() == test
    assert {(row["run"], row["epoch"]) for row in test} == {
        (run, epoch)
        for run, epochs in enumerate(((0, 2), (0, 2), (0, 2, 4), (0, 2, 4)))
        for epoch in epochs
    }
    assert not any(row["reused"] for row in after)
    assert all(set(row["beside"]) == {"gradient"} for row in after)
    assert all_pages(http, f"{path}/fisher", page_size=3, normalisation="share") == (
        http.get(f"{path}/fisher?normalisation=share").json()
    )
    text = http.get(f"{path}/fisher?format=csv&normalisation=panel_max").text
    flat = list(csv.DictReader(io.StringIO(text)))
    assert {row["normalisation"] for row in flat} == {"raw", "panel_max"}
    assert all(row["gradient_norm"] for row in flat if row["layer"] == "total")
    assert max(float(r["trace"]) for r in flat if r["layer"] != "total" and r["run"] == "0") == 1

    rows = http.get(f"{path}/second_order").json()
    assert len(rows) == 2 * (2 + 3) * 3
    assert {row["size"] for row in rows} == {0.001, 0.01, 0.1}
    assert all(abs(row["ratio"] - 1) < 0.5 for row in rows if row["size"] == 0.001)
    assert all_pages(http, f"{path}/second_order", page_size=4) == rows
    assert all_pages(http, f"{path}/second_order", page_size=4, run=[1]) == [
        row for row in rows if row["run"] == 1
    ]
    text = http.get(f"{path}/second_order?format=csv").text
    assert [float(row["kl"]) for row in csv.DictReader(io.StringIO(text))] == [
        row["kl"] for row in rows
    ]

    for figure in ("fisher_layers?normalisation=share&format=png", "second_order?format=png"):
        drawn = http.get(f"{path}/figures/{figure}")
        assert drawn.content.startswith(b"\x89PNG"), drawn.text
    series = http.get(f"{path}/figures/fisher_trace").json()["data"]
    assert {row["series"] for row in series} == {"training images", "test images"}

    # A job trains nothing: it has no score, and its checkpoints are those that it measured.
    assert {run["score"] for run in http.get(job["links"]["runs"]).json()["runs"]} == {None}
    assert http.get(f"{job['links']['self']}/figures/critical_period").status_code == 409
    kept = http.get(job["links"]["checkpoints"]).json()["checkpoints"]
    assert len(kept) == 6
    assert all(http.get(one["links"]["self"]).status_code == 200 for one in kept)
    refused = http.post(job["links"]["measurements"], json=asked)
    assert refused.status_code == 409
    assert f"{path}/measurements" in refused.json()["detail"]


def test_an_impossible_measurement_is_refused_by_name(lab: Any, http: httpx.Client) -> None:
    early = http.post("/v1/experiments", json=SPEC).json()
    path = f"{early['links']['self']}/measurements"
    waits = http.post(path, json={"fisher": {}})
    assert (waits.status_code, int(waits.headers["retry-after"]) > 0) == (409, True)
    lab.start_worker()
    ended(http, early["id"])
    cases = [
        ({}, "/fisher", "one or several of 'fisher', 'second_order'"),
        ({"fisher": {"epochs": [0, 5]}}, "/fisher/epochs/1", "stored up to epoch 4"),
        ({"fisher": {}, "runs": [0, 4]}, "/runs/1", "the last one is 3"),
        ({"fisher": {"estimator": "exact", "norms": "exact"}}, "/fisher/norms", "signs"),
        (
            {"fisher": {}, "seeds": [1]},
            "/seeds",
            "known here: filters, fisher, gradients, information_plane, linear_path, runs,"
            " saliency, second_order",
        ),
        ({"second_order": {"sizes": []}}, "/second_order/sizes", "at least 1"),
        ({"information_plane": {"layers": [0, 10]}}, "/information_plane/layers/1", "no layer 10"),
    ]
    for body, pointer, word in cases:
        answer = http.post(path, json=body)
        assert answer.status_code == 422, answer.text
        (fault, *_) = answer.json()["errors"]
        assert fault["pointer"] == pointer
        assert word in fault["message"]
    assert http.get(path).json()["measurements"] == []
    assert http.post(path, content=b"{}").status_code == 415
    odd = http.get(f"{early['links']['self']}/fisher?normalisation=odd")
    assert (odd.status_code, odd.json()["errors"][0]["pointer"]) == (422, "/query/normalisation")
    other = http.get(f"{early['links']['self']}/figures/fisher_trace?normalisation=share")
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (
        422, "/query/normalisation"
    )  # fmt: skip


def test_measurements_of_the_true_labels_are_shown_and_not_drawn(
    lab: Any, http: httpx.Client
) -> None:
    lab.start_worker()
    empirical = {"every": 2, "samples": 16, "estimator": "empirical", "beside": []}
    id = http.post("/v1/experiments", json=SPEC | {"sweep": {}, "fisher": empirical}).json()["id"]
    ended(http, id)
    path = f"/v1/experiments/{id}"
    assert {row["estimator"] for row in http.get(f"{path}/fisher").json()} == {"empirical"}
    for name in ("fisher_trace", "fisher_layers"):
        refused = http.get(f"{path}/figures/{name}")
        assert refused.status_code == 409
        assert "not the Fisher information" in refused.json()["detail"]


def test_a_key_gives_the_first_answer_again_and_refuses_another_body(http: httpx.Client) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first = http.post("/v1/experiments", json=SPEC, headers=key)
    second = http.post("/v1/experiments", json=SPEC, headers=key)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotent-replayed"] == "true"
    other = http.post("/v1/experiments", json=SPEC | {"seeds": [9]}, headers=key)
    assert other.status_code == 422
    assert len(http.get("/v1/experiments").json()["experiments"]) == 1


def test_lists_are_paged_newest_first_and_tokens_belong_to_their_filters(
    http: httpx.Client,
) -> None:
    ids = []
    for seed in range(5):
        spec = SPEC | {"seeds": [seed], "tags": {"odd": str(seed % 2)}}
        ids.append(http.post("/v1/experiments", json=spec).json()["id"])
        time.sleep(0.002)  # ids sort by milliseconds
    found, path = [], "/v1/experiments?page_size=2"
    while path:
        page = http.get(path).json()
        assert len(page["experiments"]) <= 2
        found += [one["id"] for one in page["experiments"]]
        path = page["next"]
    assert found == ids[::-1]
    odd = http.get("/v1/experiments", params={"tag": "odd:1"}).json()["experiments"]
    assert [one["id"] for one in odd] == [ids[3], ids[1]]
    token = http.get("/v1/experiments?page_size=2").json()["next_page_token"]
    changed = http.get("/v1/experiments", params={"page_token": token, "tag": "odd:1"})
    assert changed.status_code == 400
    assert len(http.get("/v1/experiments?page_size=100000").json()["experiments"]) == 5
    for id in ids[:2]:
        for _ in range(2):
            assert http.post(f"/v1/experiments/{id}/cancel").json()["state"] == "cancelled"
    gone = http.get("/v1/experiments?state=cancelled").json()["experiments"]
    assert [one["id"] for one in gone] == [ids[1], ids[0]]


def npz(**changes: Any) -> bytes:
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (40, 8, 8, 3), np.uint8),
        "train_labels": np.arange(40) % 4,
        "test_images": rng.integers(0, 256, (12, 8, 8, 3), np.uint8),
        "test_labels": np.arange(12) % 4,
    } | changes
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def test_a_data_set_is_put_used_and_deleted(http: httpx.Client) -> None:
    put = http.put("/v1/datasets/mine", content=npz())
    assert put.status_code == 201, put.text
    assert (put.json()["shape"], put.json()["classes"]) == ([8, 8, 3], 4)
    assert http.put("/v1/datasets/mine", content=npz()).status_code == 200
    assert http.get("/v1/datasets/mine").json()["digest"] == put.json()["digest"]
    names = [one["name"] for one in http.get("/v1/datasets").json()["datasets"]]
    assert names[-1] == "mine"
    assert "cifar10" in names

    spec = {"dataset": {"name": "mine"}, "model": {"name": "mlp", "width": 0.01},
            "training": {"epochs": 1, "augmentation": {"shift": 0}}}  # fmt: skip
    answer = http.post("/v1/experiments", json=spec)
    assert answer.status_code == 202, answer.text
    used = http.delete("/v1/datasets/mine")
    assert used.status_code == 409
    assert answer.json()["id"] in used.json()["detail"]
    http.post(answer.json()["links"]["cancel"])
    assert http.delete("/v1/datasets/mine").status_code == 204
    assert http.get("/v1/datasets/mine").status_code == 404
    assert "mine" not in http.get("/v1/datasets").text


@pytest.mark.parametrize(
    "body",
    [b"", b"no zip", npz()[:-100], npz(train_labels=np.zeros(40)), npz(train_labels=np.arange(39)),
     npz(test_images=np.array([{"a": 1}], dtype=object))],
)  # fmt: skip
def test_a_bad_upload_is_a_problem_and_leaves_nothing(http: httpx.Client, body: bytes) -> None:
    answer = http.put("/v1/datasets/mine", content=body)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert http.get("/v1/datasets/mine").status_code == 404


def test_an_upload_that_is_refused_early_is_still_answered(http: httpx.Client) -> None:
    # The client is in the middle of sending when it is told.
    answer = http.put("/v1/datasets/cifar10", content=b"x" * (50 << 20))
    assert answer.status_code == 409


def test_the_catalog_is_told_by_the_spec(http: httpx.Client) -> None:
    models = http.get("/v1/models").json()["models"]
    assert [model["name"] for model in models] == [
        "all_cnn", "resnet18", "mlp", "depth_cnn", "deep_linear"
    ]  # fmt: skip
    width = models[0]["parameters"][0]
    assert (width["default"], width["exclusiveMinimum"], width["maximum"]) == (1.0, 0, 8)
    deficits = http.get("/v1/deficits").json()["deficits"]
    assert {deficit["name"] for deficit in deficits} == DEFICITS.keys() | REGULARISERS.keys()
    assert all(deficit["description"] for deficit in deficits)
    found = http.get("/v1/estimators").json()
    names = [estimator["name"] for estimator in found["estimators"]]
    assert names == ["signs", "exact", "label", "variational", "empirical"]
    assert all(estimator["description"] for estimator in found["estimators"])
    assert all(parameter["description"] for parameter in found["parameters"])
    for name in ("optimizers", "schedules"):
        assert len(http.get(f"/v1/{name}").json()[name]) == 2


def test_without_redis_the_service_is_degraded_and_without_a_store_it_says_503(
    servers_factory: Any,
) -> None:
    servers = servers_factory()
    with (
        serving(servers.settings) as url,
        httpx.Client(base_url=url, timeout=60, trust_env=False) as http,
    ):
        while http.get("/readyz").status_code != 200:
            time.sleep(0.05)
        assert http.get("/readyz").json() == {"status": "ready", "errors": []}
        servers.redis.kill()
        assert http.get("/readyz").json()["status"] == "degraded"
        accepted = http.post("/v1/experiments", json=SPEC)
        assert accepted.status_code == 202
        assert http.get(accepted.headers["location"]).json()["state"] in ("preparing", "queued")
        servers.store.kill()
        began = time.monotonic()
        refused = http.post("/v1/experiments", json=SPEC)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert time.monotonic() - began < 20
        time.sleep(1.1)
        not_ready = http.get("/readyz")
        assert not_ready.status_code == 503
        pointers = {fault["pointer"] for fault in not_ready.json()["errors"]}
        assert pointers == {"/store", "/redis"}
        assert http.get("/healthz").status_code == 200
