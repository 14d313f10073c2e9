"""A real MLflow tracking server on SQLite, in an environment of its own, and what it holds."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy import servers
from deploy.processes import Child, Program, await_ready

PROGRAM = Path(__file__).parents[1] / ".venv-mlflow" / "bin" / "mlflow"
ROOT = "/api/2.0/mlflow"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PYTHONPATH": "",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}  # fmt: skip


@dataclass
class MLflow:
    url: str
    child: Child

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """All that are not deleted, of the MLflow experiment of this name."""
        query = {"experiment_name": experiment}
        found = httpx.get(f"{self.url}{ROOT}/experiments/get-by-name", params=query, timeout=30)
        if found.status_code == 404:
            return []
        ids = [found.json()["experiment"]["experiment_id"]]
        body = {"experiment_ids": ids, "max_results": 1000}
        answer = httpx.post(f"{self.url}{ROOT}/runs/search", json=body, timeout=30)
        return list(answer.json().get("runs", []))

    def points(self, run: str, metric: str) -> list[dict[str, Any]]:
        query = {"run_id": run, "metric_key": metric}
        answer = httpx.get(f"{self.url}{ROOT}/metrics/get-history", params=query, timeout=30)
        return list(answer.json().get("metrics", []))


@contextmanager
def mlflow_server(folder: Path, uri: str | None = None, **env: str) -> Iterator[MLflow]:
    if not PROGRAM.exists():
        if os.environ.get("CI"):
            pytest.fail("no MLflow server: `make .venv-mlflow/.installed`")
        pytest.skip("no MLflow server here: `make .venv-mlflow/.installed`")
    (port,) = servers.free_ports(1)
    url = f"http://127.0.0.1:{port}"
    argv = [
        str(PROGRAM), "server", "--backend-store-uri", uri or f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    lines: list[str] = []
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    program = Program("mlflow", argv, lambda: _is_ready(url), {**QUIET, "PATH": path, **env})
    child = Child(program, lambda _, line: lines.append(line))
    try:
        await_ready(child, 120)
        yield MLflow(url, child)
    finally:
        child.kill()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
