"""The whole service beside our bare loop: from a POST to its result on a warm worker, with
checkpoints and without measurements, against the same epochs in this process, which stores nothing.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from deploy.local import LocalMode
from shared.arrays import Arrays
from tests.bench.train_loops import OPTIMIZER, SHIFT
from worker import gratings
from worker.train import Trainer

EPOCHS, IMAGES, TEST_IMAGES, BATCH = 40, 2000, 200, 128
"""Two segments of 20 epochs, three quarters of a minute."""
WIDTH = 0.25
SPEC: dict[str, Any] = {
    "dataset": {"name": "gratings", "train_samples": IMAGES, "test_samples": TEST_IMAGES},
    "model": {"name": "all_cnn", "width": WIDTH},
    "training": {"epochs": EPOCHS, "batch_size": BATCH},
}
POLL_SECONDS = 0.1


def service(rounds: int, device: str) -> Iterator[dict[str, float]]:
    """Seconds of each, in turns."""
    arrays = _arrays()
    env = {"HUBEL_DEVICE": device, "HUBEL_THREADS": "1"}
    warm_up = SPEC | {"training": SPEC["training"] | {"epochs": 1}, "seeds": [rounds]}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalMode(Path(folder), env=env) as local,
        httpx.Client(base_url=local.url, timeout=120, trust_env=False) as http,
    ):
        _result(http, warm_up)
        for seed in range(rounds):
            found = {"service": _result(http, SPEC | {"seeds": [seed]})}
            yield found | {"bare": _bare(arrays, seed, device)}


def _result(http: httpx.Client, spec: dict[str, Any]) -> float:
    begun = time.perf_counter()
    path = http.post("/v1/experiments", json=spec).raise_for_status().headers["Location"]
    while (status := http.get(path).json())["finished"] is None:
        time.sleep(POLL_SECONDS)
    took = time.perf_counter() - begun
    assert status["state"] == "succeeded", status
    return took


def _arrays() -> Arrays:
    whole = gratings.generate(IMAGES, TEST_IMAGES)
    return Arrays(whole.train_images, whole.train_labels, whole.test_images, whole.test_labels)


def _bare(arrays: Arrays, seed: int, device: str) -> float:
    dataset = {"train_samples": IMAGES, "test_samples": TEST_IMAGES, "shape": [16, 16, 1]}
    config = {
        "dataset": dataset | {"classes": 8, "mean": [0.5], "std": [0.13]},
        "model": SPEC["model"],
        "optimizer": OPTIMIZER,
        "batch_size": BATCH,
        "precision": "float32",
        "augmentation": {"shift": SHIFT, "horizontal_flip": True},
        "seed": seed,
    }
    begun = time.perf_counter()
    trainer = Trainer(config, arrays, device)
    for epoch in range(EPOCHS):
        trainer.train_epoch(epoch, [], 0.05 * 0.97**epoch, lambda: None)
    return time.perf_counter() - begun
