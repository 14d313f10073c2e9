"""A program that trains to other weights beside one that does not: nothing of theirs is mixed."""

import os
import sys
import time
from contextlib import contextmanager

import httpx
import pytest
from small import body, submit

from deploy.processes import Child, Program, await_ready
from deploy.servers import free_ports
from shared import names
from shared.settings import Settings

pytestmark = pytest.mark.services

PROGRAM = """
import shared.schedule
shared.schedule.TRAINING_VERSION = 2
from {module} import main
main()
"""
REFUSING_SECONDS = 6
SMALL = {"sweep": {"deficit.end": [2]}, "fisher": {"every": 2, "samples": 4, "beside": []}}


def environment(settings, **more):
    shown = {
        f"HUBEL_{name.upper()}": str(
            getattr(value, "get_secret_value", lambda value=value: value)()
        )
        for name in Settings.model_fields
        if (value := getattr(settings, name)) is not None
    }
    return (
        shown | {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")} | more
    )


@contextmanager
def version_2(lab, module, is_ready=lambda: True, **more):
    program = Program(
        f"{module}-2",
        [sys.executable, "-c", PROGRAM.format(module=module)],
        is_ready,
        environment(lab.settings, **more),
    )
    child = Child(program, lambda name, line: lab.lines.append(f"{name} {line}"))
    try:
        await_ready(child, 60)
        yield child
    finally:
        child.kill()


@pytest.fixture
def http_2(lab):
    """A service of version 2 on the same store and Redis."""
    (port,) = free_ports(1)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)

    def is_ready():
        try:
            return client.get("/readyz").status_code == 200
        except httpx.RequestError:
            return False

    with version_2(lab, "api.main", is_ready, HUBEL_PORT=str(port)):
        yield client
    client.close()


def states(lab, id):
    plan = lab.service.plan(id)
    return {key for run in plan.runs for key in plan.keys(run)}


def is_left_alone(lab, id):
    """Nothing of it is trained, and no attempt at it is counted."""
    until = time.monotonic() + REFUSING_SECONDS
    refused = len([line for line in lab.lines if "planned for training version" in line])
    while time.monotonic() < until:
        for key in states(lab, id):
            assert lab.service.records.manifest("", key) is None
        time.sleep(0.5)
    for key in states(lab, id):
        tries = list(lab.service.store.names(names.attempts_prefix("", key)))
        assert len(tries) <= 1, "one at a time, and it is taken back"
    again = len([line for line in lab.lines if "planned for training version" in line])
    return again > refused


def test_versions_never_mix_and_leave_each_other_s_work_alone(lab, http_2):
    old_worker = lab.start_worker()
    old = submit(lab, **SMALL)
    assert lab.wait(old)["state"] == "succeeded"
    metrics = f"/v1/experiments/{old}/metrics"
    assert len(http_2.get(metrics).json()) > 0, "old results stay readable"

    planned = http_2.post("/v1/experiments?dry_run=true", json=body(**SMALL)).json()["plan"]
    assert (planned["epochs"]["stored"], planned["epochs"]["new"]) == (0, 4)
    new = http_2.post("/v1/experiments", json=body(**SMALL)).json()["id"]
    assert states(lab, old).isdisjoint(states(lab, new))
    assert is_left_alone(lab, new), "the old worker was asked, and gave it back"

    with version_2(lab, "worker.main"):
        assert lab.wait(new)["state"] == "succeeded"
        plan = lab.service.plan(new)
        for segment in plan.segments:
            manifest = lab.service.records.manifest("", segment.key)
            assert "/training2/" in manifest.provenance["numerics"]
        assert lab.service.outcome(new)["epochs"]["trained"] == 4
        old_worker.kill()
        other = submit(lab, **SMALL, seeds=[7])
        assert is_left_alone(lab, other), "the new worker was asked, and gave it back"
        lab.service.cancel(other)
    assert http_2.get(metrics).status_code == 200
