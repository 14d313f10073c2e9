"""The Python client, and the tutorial, against the real service with a worker."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import altair as alt
import httpx
import numpy as np
import pandas as pd
import pytest
from receiver import receiving
from serving import serving
from small import body

from hubel import Client, Experiment, ExperimentFailed, ExperimentSpec, ServiceError
from shared.settings import Settings
from shared.storage import Storage

pytestmark = pytest.mark.services

POISONED = str(Path(__file__).parent / "poisoned_worker.py")
TUTORIAL = Path(__file__).parents[2] / "deploy" / "examples" / "tutorial.py"


@pytest.fixture
def client(http: httpx.Client) -> Iterator[Client]:
    with Client(str(http.base_url)) as client:
        yield client


def test_a_spec_becomes_frames_charts_and_files(
    lab: Any, client: Client, http: httpx.Client, tmp_path: Path
) -> None:
    lab.start_worker()
    spec = ExperimentSpec.model_validate(body(seeds=[0, 1], tags={"by": "client"}))
    made = client.submit(spec).wait(progress=False)
    path = f"/v1/experiments/{made.id}"

    metrics = made.metrics()
    listed = http.get(f"{path}/metrics", params={"shape": "wide"}).json()
    assert metrics["test_loss"].tolist() == [row["test_loss"] for row in listed]
    assert metrics["deficit.end"].tolist() == [row["deficit.end"] for row in listed]
    assert pd.api.types.is_datetime64_any_dtype(metrics["time"])
    one = made.metrics(metric="test_accuracy", run=[1, 2], shape="rows")
    assert set(one["run"]) == {1, 2}
    assert set(one["metric"]) == {"test_accuracy"}
    _check_selections(made)

    traces = made.fisher()
    nested = http.get(f"{path}/fisher").json()
    assert traces["trace"].tolist() == [row["trace"] for row in nested]
    assert len(made.fisher(run=0, layers=True)) > 9 * len(made.fisher(run=0))
    runs, points = made.runs(), made.results()
    assert (list(runs["deficit.end"]), len(points)) == ([0, 0, 2, 2, 4, 4], 3)
    assert points["mean"][1] == pytest.approx(runs["score"][2:4].mean())
    assert made.summary()["points"][2]["drop"]["mean"] == points["drop"][2]

    figure = made.figure("critical_period")
    assert isinstance(figure, alt.LayerChart)
    drawn = made.save_figure("critical_period", tmp_path / "a.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    figure.save(tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > len(drawn) / 4

    kept = made.checkpoints()
    last = max(state["epoch"] for state in kept if 4 in state["runs"])
    file = made.download(tmp_path / "state.safetensors", run=4)
    (digest,) = [s["sha256"] for s in kept if 4 in s["runs"] and s["epoch"] == last]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    assert all(isinstance(array, np.ndarray) for array in made.weights(run=4).values())
    with pytest.raises(LookupError, match="run 4 has no checkpoint at epoch 99"):
        made.weights(run=4, epoch=99)

    cost = made.plan_measure(second_order={"samples": 16, "sizes": [0.01]}, runs=[0])
    assert cost.said["plan"]["measurements"]["new"] > 0
    job = made.measure(second_order={"samples": 16, "sizes": [0.01]}, runs=[0])
    assert made.measurements() == [job]
    assert job.wait(progress=False).status()["measures"] == made.id
    assert set(made.second_order()["run"]) == {0}
    assert client.plan(spec).epochs["new"] == 0
    assert "stored already" in client.submit(spec).wait(progress=False)._repr_html_()


def _check_selections(made: Experiment) -> None:
    """Of none there are none; and whatever holds whole numbers chooses runs."""
    whole = made.metrics()
    for none in ([], (), np.array([], dtype=int), pd.Series([], dtype=int), range(0)):
        for empty, full in (
            (made.metrics(run=none), whole),
            (made.metrics("test_loss", run=none, shape="rows"), made.metrics(shape="rows")),
            (made.metrics(metric=[]), whole),
            (made.fisher(run=none), made.fisher()),
        ):
            assert len(empty) == 0
            pd.testing.assert_series_equal(empty.dtypes, full.dtypes)
    chosen = whole[whole["run"].isin([1, 2])].reset_index(drop=True)
    several: list[Any] = [np.array([1, 2]), range(1, 3), pd.Series([1, 2]), pd.Index([1, 2])]
    for given in [*several, {1, 2}, iter([np.int64(1), 2])]:
        pd.testing.assert_frame_equal(made.metrics(run=given), chosen)
    assert set(made.fisher(run=np.int64(1))["run"]) == {1}
    named = made.metrics(pd.Index(["test_loss", "train_loss"]), shape="rows")
    assert set(named["metric"]) == {"test_loss", "train_loss"}
    wrong: list[Any] = ["1", 1.0, [1.5], whole["run"] == 1, True, [[1]]]
    for given in wrong:
        with pytest.raises(TypeError, match=r"run: .* is no int"):
            made.metrics(run=given)


def test_a_failed_run_is_told_with_its_reason_and_tried_again(lab: Any, client: Client) -> None:
    limits = {"max_attempts": 1, "retry_seconds": 0.1}
    for name, value in limits.items():
        setattr(lab.settings, name, value)
    lab.start_worker(POISONED)
    made = client.submit(body(seeds=[0, 101], sweep={}, fisher=None))
    with pytest.raises(ExperimentFailed, match=r"run 1: .*a shape that does not fit"):
        made.wait(progress=False)
    assert made.wait(progress=False, check=False).state == "failed"
    assert "a shape that does not fit" in made.failures()[0]["attempts"][0]["log"]
    assert made.runs()["state"].tolist() == ["succeeded", "failed"]
    again = made.retry()
    assert again.status()["retries"] == made.id
    assert again.cancel().state == "cancelled"


def test_presets_specs_and_models_ask_for_the_same(client: Client) -> None:
    plan = client.plan(preset="fig1a", scale="mini", seeds=range(2))
    whole = client.preset("fig1a", "mini")["spec"] | {"seeds": [0, 1]}
    assert plan.said["spec"] == client.plan(whole).said["spec"]
    model = ExperimentSpec.model_validate(plan.said["spec"])
    assert plan.said["spec"] == client.plan(model).said["spec"]
    assert (plan.runs, plan.certain) == (client.plan(model).runs, False)
    assert f"{plan.epochs['alone']} epochs alone" in str(plan)
    assert client.experiments() == []


def test_lists_are_filtered_and_paged_and_errors_name_the_field(client: Client) -> None:
    made = [client.submit(body(name=f"n{i}", tags={"i": str(i)})) for i in range(3)]
    assert client.experiments() == made[::-1]
    assert client.experiments(limit=2) == made[:0:-1]
    assert client.experiments(tags={"i": "1"}) == [made[1]]
    assert client.experiments(name="N2", state="succeeded") == []
    assert client.experiment(made[0].id).spec()["name"] == "n0"
    assert "<td>i: 2</td>" in client.experiments()._repr_html_()
    with pytest.raises(ServiceError) as caught:
        client.submit(body(model={"name": "all_cnn", "width": 99}))
    assert (caught.value.status, caught.value.errors[0]["pointer"]) == (422, "/model/width")
    assert caught.value.request_id
    with pytest.raises(ServiceError, match="409"):
        made[0].delete()
    made[0].cancel().delete()
    assert client.experiments() == made[:0:-1]
    with pytest.raises(ServiceError, match="404"):
        client.experiment(made[0].id)


def test_arrays_are_uploaded_by_name(client: Client, tmp_path: Path) -> None:
    images, labels = np.arange(96 * 64, dtype=np.uint8).reshape(96, 8, 8), np.arange(96) % 3
    data = {"train_images": images, "train_labels": labels}
    data |= {"test_images": images[:32], "test_labels": labels[:32]}
    stored = client.upload("ours", data)
    np.savez(tmp_path / "ours.npz", **data)
    assert client.upload("ours", tmp_path / "ours.npz")["digest"] == stored["digest"]
    assert "ours" in [one["name"] for one in client.datasets()]
    client.delete_dataset("ours")
    assert "ours" not in [one["name"] for one in client.datasets()]


def test_a_webhook_is_made_tried_and_deleted(settings: Settings, storage: Storage) -> None:
    with (
        receiving() as receiver,
        serving(settings.model_copy(update={"webhook_private": True})) as url,
        Client(url) as client,
    ):
        made = client.webhooks.create(receiver.url, ["experiment.failed"])
        receiver.secret = made["secret"]
        client.webhooks.test(made["id"])
        assert receiver.told == ["webhook.test"]
        assert [hook["id"] for hook in client.webhooks.list()] == [made["id"]]
        assert "secret" not in client.webhooks.list()[0]
        assert [one["state"] for one in client.webhooks.deliveries(made["id"])] == ["delivered"]
        client.webhooks.delete(made["id"])
        assert client.webhooks.list() == []


class Loses(BaseHTTPRequestHandler):
    """Passes requests on, and loses the first answer to each POST."""

    service: str
    seen: list[str]

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: self.headers[name] for name in ("Content-Type", "Idempotency-Key")}
        answer = httpx.post(self.service + self.path, content=content, headers=headers)
        self.seen.append(answer.json()["id"])
        if len(self.seen) == 1:
            self.close_connection = True
            return
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        pass


def test_an_answer_that_is_lost_on_the_way_never_submits_twice(client: Client) -> None:
    handler = type("Lost", (Loses,), {"service": client._http.url, "seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        made = Client(f"http://127.0.0.1:{proxy.server_port}").submit(body())
        proxy.shutdown()
    assert handler.seen == [made.id, made.id]
    assert [one.id for one in client.experiments()] == [made.id]


def test_each_cell_of_the_tutorial_is_a_program_or_prose() -> None:
    first, *cells = re.split(r"^# %%", TUTORIAL.read_text(), flags=re.MULTILINE)
    assert (first, len(cells) > 20) == ("", True)
    for cell in cells:
        head, _, rest = cell.partition("\n")
        compile(rest, f"cell {head}", "exec")
        assert ("[markdown]" in head) == all(line[:1] in ("", "#") for line in rest.split("\n"))


def test_the_tutorial_runs_to_its_end(lab: Any, http: httpx.Client, tmp_path: Path) -> None:
    lab.start_worker()
    env = os.environ | {"HUBEL_URL": str(http.base_url), "HUBEL_TUTORIAL": "quick"}
    command = [sys.executable, str(TUTORIAL)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / "tutorial-output"
    assert {file.name for file in out.iterdir()} >= {
        "results.csv", "metrics.csv", "fisher.csv", "critical_period.png", "critical_period.pdf",
    }  # fmt: skip
    points = pd.read_csv(out / "results.csv")
    assert set(points["variant"]) == {"annealed", "rate restarted"}
    assert points["mean"].between(0, 1).all()
    assert (out / "critical_period.png").read_bytes().startswith(b"\x89PNG")
    assert "removed at 3" in done.stdout
    names = ZipFile(out / "everything.zip").namelist()
    assert {"README.md", "spec.json"} <= {name.rpartition("/")[2] for name in names}
    with Client(env["HUBEL_URL"]) as client:
        job, made = client.experiments(tags={"course": "tutorial"})
        assert client.experiments(tags={"read": "yes"}) == [made]
        assert job.status()["measures"] == made.id
        assert made.status()["notes"].startswith("With a fresh learning rate")
        assert made.tag(read=None) == {"course": "tutorial"}
        assert {run for part in made.plan()["segments"] for run in part["runs"]} == set(range(8))
        assert client.workers()["workers"]
        fork = made.fork(run=2, epoch=3, set={"training.schedule": {"name": "constant"}}, name="f")
        assert (fork.status()["forks"], made.status()["forked_by"]) == (made.id, [fork.id])
