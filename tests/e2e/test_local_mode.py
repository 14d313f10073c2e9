"""Local mode as a user runs it: the command line, real processes, kill -9, and a restart."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from deploy.local import LocalMode

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

SPEC = {
    "name": "end to end",
    "dataset": {"name": "gratings", "train_samples": 256, "test_samples": 128},
    "model": {"name": "all_cnn", "width": 0.05},
    "training": {
        "epochs_after_deficit": 5,
        "batch_size": 8,
        "augmentation": {"shift": 2},
    },
    "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
    "sweep": {"deficit.end": [0, 3, 6]},
    "variants": {
        "blur": {},
        "restarted": {"training.learning_rate_restart": "at_removal"},
    },
    "seeds": [0, 1],
    "fisher": {"every": 3, "samples": 16},
}


def hubel(url: str, *args: str, stdin: str | None = None) -> str:
    command = [sys.executable, "-m", "api.cli", "--url", url, *args]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def numbers(url: str, id: str) -> tuple[str, str, str]:
    """All that must not depend on what happened on the way."""
    with httpx.Client(base_url=url, timeout=60) as http:
        metrics = http.get(f"/v1/experiments/{id}/metrics", params={"page_size": 100_000}).json()
        traces = http.get(f"/v1/experiments/{id}/fisher", params={"page_size": 100_000}).json()
        kept = http.get(f"/v1/experiments/{id}/checkpoints", params={"page_size": 1000}).json()
    for row in metrics + traces:
        for name in ("time", "reused", "key"):
            row.pop(name, None)
    digests = sorted(
        (run, state["epoch"], state["sha256"])
        for state in kept["checkpoints"]
        for run in state["runs"]
    )
    return tuple(json.dumps(part, sort_keys=True) for part in (metrics, traces, digests))


def wait_for(url: str, id: str, epochs: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        status = httpx.get(f"{url}/v1/experiments/{id}", timeout=30).json()
        if status["progress"] and status["progress"]["epochs"]["done"] >= epochs:
            return
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


def test_an_experiment_survives_a_killed_worker_and_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with LocalMode(data) as local:
        id = hubel(local.url, "submit", "-", stdin=json.dumps(SPEC))
        wait_for(local.url, id, 4)
        (worker,) = local.worker_pids
        os.kill(worker, signal.SIGKILL)
        hubel(local.url, "watch", id)
        killed = numbers(local.url, id)
        table = hubel(local.url, "results", id)
        assert "restarted" in table
        hubel(local.url, "figure", id, "critical_period", "-o", str(tmp_path / "figure.svg"))
        assert (tmp_path / "figure.svg").read_text().startswith("<svg")

    with LocalMode(data) as local:
        assert numbers(local.url, id) == killed
        alone = hubel(local.url, "submit", "-", stdin=json.dumps(SPEC | {"reuse": False}))
        hubel(local.url, "watch", alone)
        assert numbers(local.url, alone) == killed
        outcome = httpx.get(f"{local.url}/v1/experiments/{alone}").json()
        assert outcome["progress"]["epochs"]["trained"] == 2 * 2 * (5 + 8 + 11)
        pids = list(local.pids.values())
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
