"""An MLflow tracking server on SQLite or PostgreSQL, filled with runs and with one long history."""

import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from deploy import servers
from deploy.processes import Child, Program, await_ready
from deploy.servers import HOST

Request = dict[str, Any]

ROOT = "/api/2.0/mlflow"
WORKERS = 2
"""Server processes: one for each core of the machine that this is meant for."""
PARAMS = {f"param_{i}": f"value {i}" for i in range(15)}
METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate")
BATCH = 1000  # MLflow's limit for one log-batch

# Run by MLflow's own Python: more of the runs that HTTP has made, with all that belongs to them.
MULTIPLY = """
import sys, uuid
import sqlalchemy as sa
url, wanted, experiment = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
engine, meta, made = sa.create_engine(url), sa.MetaData(), []
meta.reflect(engine, only=["runs", "params", "metrics", "latest_metrics", "tags"])
runs = meta.tables["runs"]
with engine.begin() as db:
    ours = sa.select(runs).where(runs.c.experiment_id == experiment)
    found = [dict(row._mapping) for row in db.execute(ours)]
    parts = {}
    for name in ("params", "metrics", "latest_metrics", "tags"):
        table = meta.tables[name]
        rows = db.execute(sa.select(table).where(table.c.run_uuid == found[0]["run_uuid"]))
        parts[name] = [dict(row._mapping) for row in rows]
    for first in range(0, wanted, 200):
        new = [uuid.uuid4().hex for _ in range(min(200, wanted - first))]
        made += new
        db.execute(runs.insert(), [found[0] | {"run_uuid": one, "name": one} for one in new])
        for name, rows in parts.items():
            copies = [row | {"run_uuid": one} for one in new for row in rows]
            if copies:
                db.execute(meta.tables[name].insert(), copies)
print("\\n".join(made))
"""


class MLflow:
    def __init__(self, program: Path, folder: Path, postgres: bool) -> None:
        self.name = f"MLflow {_version(program)}, {'PostgreSQL' if postgres else 'SQLite'}"
        self._folder = folder
        folder.mkdir(parents=True)
        self.log = (folder / "mlflow.log").open("w")
        self.children: dict[str, Child] = {}
        self.database = self._postgres() if postgres else f"sqlite:///{folder / 'mlflow.db'}"
        self._python = program.with_name("python")
        self.host, self.port = HOST, servers.free_ports(1)[0]
        argv = [
            str(program), "server", "--backend-store-uri", self.database, "--host", HOST,
            "--port", str(self.port), "--workers", str(WORKERS),
            "--default-artifact-root", str(folder / "artifacts"),
        ]  # fmt: skip
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PYTHONPATH": ""}
        env = {**quiet, "PATH": f"{program.parent}:{os.environ['PATH']}"}
        self.children["mlflow"] = Child(Program("mlflow", argv, self._is_ready, env), self._say)
        await_ready(self.children["mlflow"], 180)
        self.experiment = self._call("experiments/create", name="load")["experiment_id"]

    def stop(self) -> None:
        for child in reversed(self.children.values()):
            child.kill()
        self.log.close()

    # --- what there is to ask ---

    def submits(self, count: int) -> list[Request]:
        """One call makes a run; the next one says its parameters. Counted is the first."""
        body = json.dumps({"experiment_id": self.experiment, "run_name": "load"})
        post = {"name": "submit", "method": "POST", "path": f"{ROOT}/runs/create"}
        return [post | {"body": body}] * count

    def describe(self, run: str) -> Request:
        now = int(time.time() * 1000)
        params = [{"key": key, "value": value} for key, value in PARAMS.items()]
        metrics = [
            {"key": key, "value": 0.5, "timestamp": now, "step": step}
            for key in METRICS
            for step in (1, 2)
        ]
        body = json.dumps({"run_id": run, "params": params, "metrics": metrics})
        return {"name": "log", "method": "POST", "path": f"{ROOT}/runs/log-batch", "body": body}

    def status(self, run: str) -> Request:
        return {"name": "status", "method": "GET", "path": f"{ROOT}/runs/get?run_id={run}"}

    def listing(self) -> Request:
        body = json.dumps({"experiment_ids": [self.experiment], "max_results": 50})
        return {"name": "list", "method": "POST", "path": f"{ROOT}/runs/search", "body": body}

    def histories(self, run: str, points: int) -> Iterator[Request]:
        path = f"{ROOT}/metrics/get-history?run_id={run}&metric_key=test_loss"
        yield {"name": "history", "method": "GET", "path": path}

    def multiply(self, count: int) -> list[str]:
        """This many more runs, as copies in the database."""
        argv = [str(self._python), "-c", MULTIPLY, self.database, str(count), self.experiment]
        env = {**os.environ, "PYTHONPATH": ""}
        done = subprocess.run(argv, env=env, check=True, capture_output=True, text=True)
        return done.stdout.split()

    def long_history(self, points: int) -> str:
        run = self._call("runs/create", experiment_id=self.experiment)["run"]["info"]["run_id"]
        for first in range(0, points, BATCH):
            steps = range(first + 1, min(first + BATCH, points) + 1)
            metrics = [
                {"key": "test_loss", "value": 3 / (e + 3), "timestamp": e * 1000, "step": e}
                for e in steps
            ]
            self._call("runs/log-batch", run_id=run, metrics=metrics)
        return str(run)

    def _call(self, path: str, **body: Any) -> dict[str, Any]:
        url = f"http://{self.host}:{self.port}{ROOT}/{path}"
        answer = httpx.post(url, json=body, timeout=120, trust_env=False).raise_for_status()
        return dict(answer.json())

    def _is_ready(self) -> bool:
        try:
            url = f"http://{HOST}:{self.port}/health"
            return httpx.get(url, timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _postgres(self) -> str:
        """A server of our own on loopback. It refuses to run as root: then as another user."""
        data, port = self._folder / "postgres", servers.free_ports(1)[0]
        data.mkdir(mode=0o700)
        as_user = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(data, user.pw_uid, user.pw_gid)
            as_user = [
                "setpriv",
                f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}",
                "--clear-groups",
            ]
        place = ["-D", str(data)]
        made = [*as_user, "initdb", *place, "-U", "load", "-A", "trust", "-E", "UTF8"]
        subprocess.run(made, check=True, stdout=self.log, stderr=self.log, cwd="/")
        argv = [*as_user, "postgres", *place, "-p", str(port), "-h", HOST, "-k", str(data)]

        def is_ready() -> bool:
            asked = ["pg_isready", "-h", HOST, "-p", str(port), "-q"]
            return subprocess.run(asked, check=False).returncode == 0

        self.children["postgres"] = Child(Program("postgres", argv, is_ready), self._say)
        await_ready(self.children["postgres"], 60)
        return f"postgresql+psycopg2://load@{HOST}:{port}/postgres"

    def _say(self, name: str, line: str) -> None:
        if not self.log.closed:
            self.log.write(f"{name} {line}\n")
            self.log.flush()


def _version(program: Path) -> str:
    (folder,) = program.parent.parent.glob("lib/*/site-packages/mlflow-*.dist-info")
    return folder.name.removeprefix("mlflow-").removesuffix(".dist-info")


def found(program: Path) -> list[bool]:
    """Which of the two databases can be tried here: False SQLite, True PostgreSQL."""
    if not program.exists():
        return []
    tools = ("initdb", "postgres", "pg_isready")
    return [False, True] if all(map(shutil.which, tools)) else [False]
