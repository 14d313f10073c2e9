"""The mirror to a real MLflow server: each point once, whatever dies or stays away in between.

Most records are written here as a worker would; one experiment is trained.
"""

import json
import os
import signal
import threading
import time

import httpx
import pytest
from api_process import api_process
from mlflow_server import mlflow_server
from pydantic import SecretStr
from serving import serving
from small import body

from api.mlflow.mirror import Mirror
from api.mlflow.server import Away, Server
from api.reconcile import Reconciler
from api.service import Service
from shared import check, names
from shared.chain import Manifest
from shared.findings import Report
from shared.live import Live
from shared.probe import FISHER
from shared.queue import Sender, make_app
from shared.records import Records
from shared.results import METRICS
from shared.spec import ExperimentSpec
from shared.storage import Storage
from tests.faults.redis_proxy import RedisProxy
from worker.preparation import prepare

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def service(settings, storage, mlflow):
    prepare("gratings", storage, settings)
    return again(
        settings.model_copy(
            update={
                "mlflow_uri": SecretStr(mlflow.url),
                "mlflow_experiment": settings.s3_bucket,
            }
        )
    )


def again(settings):
    """A process that has just been started."""
    parts = (Live(settings), Sender(make_app(settings)), settings)
    return Service(Records(Storage(settings)), *parts)


def mirror_of(service, transport=None):
    made = Mirror(service, lambda: True, Server(service.settings))
    if transport is not None:
        made.server._http._transport = transport(made.server._http._transport)
    return made


def submit(service, **changes):
    return service.accept(ExperimentSpec.model_validate(body(**changes)))[0].id


def train(service, id, segments=None):
    """Write what a worker would, and look at it as the reconcile loop does."""
    plan = service.plan(id)
    for index in range(len(plan.segments)) if segments is None else segments:
        segment = plan.segments[index]
        epochs = range(segment.start + 1, segment.end + 1)
        rows = [{"epoch": e, "stimulus": []} | {m: number(m, e) for m in METRICS} for e in epochs]
        blob = service.store.write_blob(json.dumps(rows).encode())
        times = [f"2026-01-01T00:00:{e:02d}.500Z" for e in epochs]
        provenance = {
            "experiment": id, "wall_seconds": 1.0, "numerics": "none", "epoch_times": times,
        }  # fmt: skip
        for epoch, digest in plan.probed(segment):
            measure(service, id, segment, epoch, digest, plan.probes[digest])
        manifest = Manifest(
            key=segment.key, parent=segment.parent, start=segment.start, end=segment.end,
            checkpoint="0" * 64, metrics=blob, provenance=provenance,
        )  # fmt: skip
        service.store.create_json(names.manifest(segment.scope, segment.key), manifest.model_dump())
    look(service, id)


def number(metric, epoch):
    if metric == "train_loss":
        return {2: "NaN", 3: "Infinity"}.get(epoch, 1 / epoch)
    return epoch / (2 + METRICS.index(metric))


def measure(service, id, segment, epoch, digest, probe):
    key = segment.state(epoch)
    found = {
        "key": key, "epoch": epoch, "probe": probe,
        "values": {"trace": 10.0 + epoch, "standard_error": 1.0, "layers": []},
        "provenance": {"experiment": id, "time": "2026-01-01T00:01:00.000Z", "numerics": "none"},
    }  # fmt: skip
    service.store.create_json(names.measurement(segment.scope, key, digest), found)


def look(service, id):
    service.tracker(id).refresh(service.records, service.live, 0, 1000, again=0)
    Reconciler(service).look_at(id)


def expected(service, id):
    """(run, metric) -> (epoch, value, milliseconds), of all that is stored."""
    plan, points = service.plan(id), {}
    for run in plan.runs:
        for metric in METRICS:
            points[run.index, metric] = [
                (e, stored_by_mlflow(number(metric, e)), 1767225600500 + 1000 * e)
                for e in range(1, run.epochs + 1)
            ]
        points[run.index, "fisher_trace"] = [
            (epoch, 10.0 + epoch, 1767225660000)
            for epoch, _, digest in run.probes
            if plan.probes[digest]["kind"] == FISHER
        ]
    return points


def stored_by_mlflow(value):
    """Infinity has no place in a SQL database: it becomes the largest double."""
    return {"NaN": "NaN", "Infinity": 1.7976931348623157e308}.get(value, value)


def mirrored(service, mlflow):
    points = {}
    for run in mlflow.runs(service.settings.mlflow_experiment):
        index = int(tags(run)["hubel.run"])
        for metric in (*METRICS, "fisher_trace"):
            found = mlflow.points(run["info"]["run_id"], metric)
            assert (index, metric) not in points, "two MLflow runs of one run"
            points[index, metric] = sorted(
                [(p["step"], p["value"], p["timestamp"]) for p in found], key=str
            )
    return points


def by_words(points):
    return {name: sorted(some, key=str) for name, some in points.items()}


def tags(run):
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


def params(run):
    return {one["key"]: one["value"] for one in run["data"]["params"]}


def passes(mirror, id, most=50):
    """Until it is wholly mirrored."""
    for _ in range(most):
        mirror.pass_over()
        if id not in mirror._position.open:
            return
        for one in mirror._position.open.values():
            one.due = float("-inf")
    raise AssertionError(f"still open: {mirror._position.open}")


class Killed(BaseException):
    """As if the process died: nobody catches it, and nothing is done afterwards."""


class Deadly(httpx.BaseTransport):
    """Dies at the n-th request, before it is sent or once it was answered."""

    def __init__(self, inner, at, after):
        self.inner, self.left, self.after = inner, at, after

    def handle_request(self, request):
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        answer = self.inner.handle_request(request)
        if self.left == 0:
            raise Killed
        return answer


def deaths(service, id, after):
    """Mirror it with a new process for each request, which dies at that. Returns their number."""
    for at in range(1, 1000):
        process = again(service.settings)
        try:
            passes(mirror_of(process, lambda inner, at=at: Deadly(inner, at, after)), id)
        except Killed:
            continue
        return at
    raise AssertionError("it never ends")


@pytest.mark.parametrize("after", [False, True], ids=["before sending", "before the answer"])
def test_whenever_the_process_dies_each_point_is_there_once(service, mlflow, after):
    id = submit(service)
    mirror_of(service).pass_over()  # it is switched on
    train(service, id)
    assert deaths(service, id, after) > 5
    assert mirrored(service, mlflow) == by_words(expected(service, id))
    runs = mlflow.runs(service.settings.mlflow_experiment)
    assert {run["info"]["status"] for run in runs} == {"FINISHED"}


def test_an_experiment_is_mirrored_as_it_is_trained(service, mlflow):
    id = submit(service, tags={"lab": "vision", "mlflow.runName": "mine", "ö/b": "c"})
    mirror = mirror_of(service)
    mirror.pass_over()
    assert mlflow.runs(service.settings.mlflow_experiment) == [], "nothing is there yet"
    train(service, id, [trunk := service.plan(id).runs[2].segments[0]])
    mirror.pass_over()
    runs = mlflow.runs(service.settings.mlflow_experiment)
    through = [run.index for run in service.plan(id).runs if trunk in run.segments]
    assert sorted(int(tags(run)["hubel.run"]) for run in runs) == through
    assert {run["info"]["status"] for run in runs} == {"RUNNING"}
    train(service, id)
    passes(mirror, id)
    assert mirrored(service, mlflow) == by_words(expected(service, id))
    runs = {tags(run)["hubel.run"]: run for run in mlflow.runs(service.settings.mlflow_experiment)}
    assert {run["info"]["status"] for run in runs.values()} == {"FINISHED"}
    last = runs["2"]
    assert last["info"]["run_name"] == "small / 2"
    assert tags(last)["lab"] == "vision"
    assert tags(last)["hubel.experiment"] == id
    assert tags(last)["tag.mlflow.runName"] == "mine"
    assert tags(last)["ö_b"] == "c"
    wanted = {"deficit.end": "4", "seed": "0", "training.batch_size": "64", "model.width": "0.05"}
    assert params(last).items() >= wanted.items()
    assert last["info"]["end_time"] >= last["info"]["start_time"]


def test_an_outage_of_the_server_costs_nothing(service, mlflow):
    with RedisProxy(lambda: int(mlflow.url.rsplit(":", 1)[1])) as proxy:
        uri = SecretStr(f"http://127.0.0.1:{proxy.port}")
        there = again(service.settings.model_copy(update={"mlflow_uri": uri}))
        mirror = mirror_of(there)
        mirror.pass_over()
        id = submit(there)
        with proxy.away():
            train(there, id)
            with pytest.raises(Away):
                mirror.pass_over()
            assert there.outcome(id)["state"] == "succeeded"
        passes(mirror, id)
    assert mirrored(service, mlflow) == by_words(expected(service, id))


def test_a_server_that_falls_silent_holds_nobody_up(service, mlflow):
    with RedisProxy(lambda: int(mlflow.url.rsplit(":", 1)[1])) as proxy:
        changes = {"mlflow_uri": SecretStr(f"http://127.0.0.1:{proxy.port}")}
        quick = service.settings.model_copy(update=changes | {"reconcile_seconds": 0.2})
        id = submit(service)
        with serving(quick):
            train(service, id, [service.plan(id).runs[2].segments[0]])
            wait(lambda: service.store.exists(names.mirror(id)))
            with proxy.silent():
                begun = time.monotonic()
                train(service, id)
                wait(lambda: proxy.swallowed)
                assert service.outcome(id)["state"] == "succeeded"
                assert time.monotonic() - begun < 15
        # What was held back arrives, although nobody waits for it any more.
        with serving(quick):
            wait(lambda: service.store.read_json(names.mirror(id))["ended"])
    assert mirrored(service, mlflow) == by_words(expected(service, id))


def wait(until, seconds=30):
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_processes_that_both_lead_leave_each_point_once(service, mlflow):
    id = submit(service)
    mirror_of(service).pass_over()
    train(service, id)
    two = [mirror_of(again(service.settings)) for _ in range(2)]
    threads = [threading.Thread(target=passes, args=(mirror, id)) for mirror in two]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mirrored(service, mlflow) == by_words(expected(service, id))


def test_a_run_that_was_deleted_there_is_left_alone(service, mlflow):
    id = submit(service)
    mirror = mirror_of(service)
    mirror.pass_over()
    train(service, id, [service.plan(id).runs[2].segments[0]])
    mirror.pass_over()
    runs = mlflow.runs(service.settings.mlflow_experiment)
    (gone,) = (run["info"]["run_id"] for run in runs if tags(run)["hubel.run"] == "2")
    mirror.server.delete(gone)
    train(service, id)
    passes(mirror, id)
    found = mirrored(service, mlflow)
    wanted = by_words(expected(service, id))
    assert found == {name: points for name, points in wanted.items() if name[0] != 2}


def test_a_lost_position_is_found_by_the_cursors_and_a_check_knows_both(service, mlflow):
    id = submit(service)
    mirror_of(service).pass_over()
    train(service, id)
    passes(mirror_of(service), id)
    another = submit(service, seeds=[1])
    train(service, another)
    nobody = "0" * 24
    service.store.write_json(names.mirror(nobody), {"runs": {}, "ended": True})
    for name in (names.mirror_position(), names.mirror(id)):
        service.store.write(name, b"{}, and more")
    report = Report(repair=True)
    found = list(
        check.findings(
            service.store, service.settings, report, lambda *_: None, False, grace_seconds=0
        )
    )
    told = {f.object for f in found if f.object.startswith(names.MIRRORS)}
    assert told == {names.mirror_position(), names.mirror(id), names.mirror(nobody)}
    assert not any(map(service.store.exists, told))
    mirror = mirror_of(service)
    passes(mirror, another)


def test_nothing_from_before_it_was_switched_on_is_mirrored(service, mlflow):
    before = submit(service)
    train(service, before)
    mirror = mirror_of(service)
    mirror.pass_over()
    id = submit(service, seeds=[1])
    train(service, id)
    passes(mirror, id)
    found = mlflow.runs(service.settings.mlflow_experiment)
    assert {tags(run)["hubel.experiment"] for run in found} == {id}


def test_an_api_that_is_killed_while_it_mirrors_leaves_each_point_once(service, mlflow):
    quick = service.settings.model_copy(update={"reconcile_seconds": 0.2})
    mirror_of(service).pass_over()  # it is switched on
    ids = [submit(service, seeds=[2 * n, 2 * n + 1]) for n in range(2)]
    for id in ids:
        train(service, id)
    for _ in range(2):
        there = count(service, mlflow)
        with api_process(quick) as api:
            wait(lambda there=there: count(service, mlflow) > there)
            os.kill(api.child.pid, signal.SIGKILL)
    with api_process(quick):
        wait(lambda: all(is_mirrored(service, id) for id in ids))
    points = {id: {} for id in ids}
    for run in mlflow.runs(service.settings.mlflow_experiment):
        found = {m: mlflow.points(run["info"]["run_id"], m) for m in METRICS}
        mine = points[tags(run)["hubel.experiment"]]
        assert mine.setdefault(tags(run)["hubel.run"], found) is found
    for id in ids:
        assert len(points[id]) == len(service.plan(id).runs)
        for run in service.plan(id).runs:
            for metric, some in points[id][str(run.index)].items():
                epochs = sorted(point["step"] for point in some)
                assert epochs == [*range(1, run.epochs + 1)], (id, run.index, metric)


def count(service, mlflow):
    return len(mlflow.runs(service.settings.mlflow_experiment))


def is_mirrored(service, id):
    name = names.mirror(id)
    return service.store.exists(name) and service.store.read_json(name)["ended"]
