"""What the mirror to MLflow costs a training: the same experiment in local mode with and without
it, in turns, beside a real MLflow server; and how soon that has everything after an outage.

python -m tests.bench.mirror --rounds 5 --out tests/bench/MIRROR.md
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from deploy.local import LocalMode
from tests.bench import machine
from tests.faults.redis_proxy import RedisProxy
from tests.mlflow_server import MLflow, mlflow_server

SPEC: dict[str, Any] = {
    "dataset": {"name": "gratings", "train_samples": 1000, "test_samples": 200},
    "model": {"name": "all_cnn", "width": 0.25},
    "training": {"epochs": 10, "batch_size": 128},
    "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
    "sweep": {"deficit.end": [0, 2, 4, 6]},
    "fisher": {"every": 5, "samples": 200},
}
RUNS, POINTS = 4, 4 * 10
WAYS = ("off", "on", "away")
Found = dict[str, float]


def measured(rounds: int) -> Iterator[tuple[str, Found]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        mlflow_server(Path(folder)) as mlflow,
        RedisProxy(lambda: int(mlflow.url.rsplit(":", 1)[1])) as proxy,
    ):
        for turn in range(rounds):
            for way in WAYS if turn % 2 else reversed(WAYS):
                yield way, once(way, Path(folder) / f"{turn}-{way}", mlflow, proxy)


def once(way: str, folder: Path, mlflow: MLflow, proxy: RedisProxy) -> Found:
    env = {"HUBEL_MLFLOW_EXPERIMENT": folder.name}
    if way != "off":
        env["HUBEL_MLFLOW_URI"] = f"http://127.0.0.1:{proxy.port}"
    with LocalMode(folder, env=env) as local:
        with proxy.away() if way == "away" else nullcontext():
            found = trained(local.url)
        begun = time.monotonic()
        if way != "off":
            complete(mlflow, folder.name)
            found["complete"] = time.monotonic() - begun
        return found


def trained(url: str) -> Found:
    """Seconds from the first epoch's end to the last one's, and from the POST to the outcome."""
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
        path = http.post("/v1/experiments", json=SPEC).raise_for_status().headers["Location"]
        while (status := http.get(path).json())["finished"] is None:
            time.sleep(0.5)
        assert status["state"] == "succeeded", status
        rows = http.get(f"{path}/metrics", params={"metric": "test_loss"}).json()
    times = [moment(row["time"]) for row in rows]
    assert len(times) == POINTS
    whole = moment(status["finished"]) - moment(status["created"])
    return {"training": max(times) - min(times), "whole": whole}


def moment(words: str) -> float:
    return datetime.fromisoformat(words).timestamp()


def complete(mlflow: MLflow, experiment: str) -> None:
    deadline = time.monotonic() + 300
    while True:
        runs = [run["info"] for run in mlflow.runs(experiment)]
        if [run["status"] for run in runs] == RUNS * ["FINISHED"]:
            break
        assert time.monotonic() < deadline, runs
        time.sleep(0.2)
    assert sum(len(mlflow.points(run["run_id"], "test_loss")) for run in runs) == POINTS


def table(found: list[tuple[str, Found]], about: dict[str, Any]) -> str:
    def row(words: str, way: str, name: str) -> str:
        values = [one[name] for its, one in found if its == way]
        middle, low, high = statistics.median(values), min(values), max(values)
        return f"| {words} | {middle:.1f} s | {low:.1f} to {high:.1f} s | {len(values)} |"

    return "\n".join(
        [
            "# What the mirror to MLflow costs",
            "",
            f"{RUNS} runs of 10 epochs of All-CNN (0.25), one worker, the three ways in turns, each"
            f" in a store of its own, with an MLflow server beside it; {about['hardware']},"
            f" {about['date']}. By `{about['command'].strip()}`.",
            "",
            "| | median | range | n |",
            "|---|---|---|---|",
            row("first epoch to last epoch, no mirror", "off", "training"),
            row("mirrored", "on", "training"),
            row("mirrored, server away", "away", "training"),
            row("POST to outcome, no mirror", "off", "whole"),
            row("mirrored", "on", "whole"),
            row("mirrored, server away", "away", "whole"),
            row("outcome to all points in MLflow", "on", "complete"),
            row("server's return to all points in MLflow", "away", "complete"),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = []
    for way, one in measured(options.rounds):
        print(way, {name: round(value, 2) for name, value in one.items()}, flush=True)
        found.append((way, one))
    text = table(found, machine.about("mirror"))
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
