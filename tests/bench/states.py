"""The networks that the bench measures, at three moments of training; trained once, then cached."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared import schedule
from shared.arrays import Arrays
from worker import gratings
from worker.train import Trainer

MOMENTS = ("init", "middle", "fitted")
CACHE = Path(".bench")

BATCH = 32
MIDDLE_IMAGES, MIDDLE_STEPS = 9600, 300  # one pass, where there are that many
FITTED_IMAGES = {"all_cnn": 512, "resnet18": 128, "mlp": 512}  # ResNet-18 costs most
FITTED_EPOCHS = 100  # at most; it stops at FITTED
FITTED = 0.965
"""Mean largest probability, BatchNorm with running statistics, over the images trained on."""
RATE = {"middle": 0.05, "fitted": 0.02}
TEST_IMAGES = 64  # the trainer evaluates after each epoch: kept cheap


@dataclass(frozen=True)
class State:
    network: str
    width: float
    moment: str
    model: nn.Module
    images: Tensor
    """(n, C, H, W) float32, normalised as in training: images that the network is trained on."""
    labels: Tensor
    """(n,) int64, the true ones."""
    confidence: float
    """Mean largest probability over `images`."""
    name: str
    """In file names: network, width, moment and a digest of the recipe."""


def load(data: Path | None) -> Arrays:
    """An .npz with train_images, train_labels, test_images, test_labels (uint8, NHWC); without
    one the gratings that the product generates."""
    if data is None:
        return gratings.generate()
    with np.load(data) as file:
        return Arrays(*(file[f"{s}_{k}"] for s in ("train", "test") for k in ("images", "labels")))


def state(arrays: Arrays, network: str, width: float, moment: str) -> State:
    """A network at a moment, trained now if it never was."""
    count = FITTED_IMAGES[network]
    trainer = Trainer(_config(arrays, network, width, count), _cut(arrays, count))
    trainer.load(_checkpoint(arrays, network, width, moment))
    everything = torch.arange(len(trainer.labels["train"]))
    images, labels = trainer.show("train", everything, [], 0)
    model = trainer.model.eval()
    name = _name(arrays, network, width, moment)
    return State(network, width, moment, model, images, labels, confidence(model, images), name)


def confidence(model: nn.Module, images: Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        largest = [model(part).softmax(1).amax(1) for part in images.split(128)]
    return torch.cat(largest).mean().item()


def _checkpoint(arrays: Arrays, network: str, width: float, moment: str) -> bytes | None:
    if moment == "init":
        return None
    path = CACHE / f"{_name(arrays, network, width, moment)}.safetensors"
    if not path.exists():
        make = {"middle": _middle, "fitted": _fitted}[moment]
        made = make(arrays, network, width)
        CACHE.mkdir(exist_ok=True)
        path.with_suffix(".part").write_bytes(made)
        path.with_suffix(".part").rename(path)
    return path.read_bytes()


def _middle(arrays: Arrays, network: str, width: float) -> bytes:
    trainer = Trainer(_config(arrays, network, width, MIDDLE_IMAGES), _cut(arrays, MIDDLE_IMAGES))
    epochs = round(MIDDLE_STEPS * BATCH / len(trainer.labels["train"]))
    for epoch in range(epochs):
        _say(network, "middle", epoch, trainer.train_epoch(epoch, [], RATE["middle"], lambda: None))
    return trainer.checkpoint()


def _fitted(arrays: Arrays, network: str, width: float) -> bytes:
    count = FITTED_IMAGES[network]
    trainer = Trainer(_config(arrays, network, width, count), _cut(arrays, count))
    trainer.load(_checkpoint(arrays, network, width, "middle"))
    some, _ = trainer.show("train", torch.arange(min(256, count)), [], 0)
    for epoch in range(FITTED_EPOCHS):
        values = trainer.train_epoch(epoch, [], RATE["fitted"], lambda: None)
        reached = confidence(trainer.model, some)
        _say(network, "fitted", epoch, values | {"confidence": reached})
        if reached >= FITTED:
            break
    return trainer.checkpoint()


def _say(network: str, moment: str, epoch: int, values: dict[str, float]) -> None:
    words = " ".join(f"{name} {value:.3f}" for name, value in values.items())
    print(f"# training {network} to {moment}: epoch {epoch}, {words}", flush=True)


def _cut(arrays: Arrays, train: int) -> Arrays:
    """The first images only: a shuffled data set is taken for granted."""
    return Arrays(
        arrays.train_images[:train],
        arrays.train_labels[:train].astype(np.int64),
        arrays.test_images[:TEST_IMAGES],
        arrays.test_labels[:TEST_IMAGES].astype(np.int64),
    )


def _config(arrays: Arrays, network: str, width: float, train: int) -> dict[str, Any]:
    cut = _cut(arrays, train)
    pixels = arrays.train_images[:10000] / 255
    return {
        "dataset": {
            "train_samples": len(cut.train_labels),
            "test_samples": len(cut.test_labels),
            "shape": list(arrays.train_images.shape[1:]),
            "classes": int(arrays.train_labels.max()) + 1,
            "mean": pixels.mean((0, 1, 2)).tolist(),
            "std": pixels.std((0, 1, 2)).tolist(),
        },
        "model": {"name": network, "width": width},
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0},
        "batch_size": BATCH,
        "precision": "float32",
        "augmentation": {"shift": 0, "horizontal_flip": False},
        "seed": 0,
    }


def _name(arrays: Arrays, network: str, width: float, moment: str) -> str:
    shown = hashlib.sha256(_cut(arrays, MIDDLE_IMAGES).train_images.tobytes()).hexdigest()
    recipe = [_config(arrays, network, width, MIDDLE_IMAGES), shown]
    recipe += [MIDDLE_STEPS, FITTED_IMAGES[network], FITTED, RATE]
    return f"{network}-{width}-{moment}-{schedule.digest(recipe)[:12]}"


def main() -> None:
    """Train and cache: python -m tests.bench.states DATA NETWORK:WIDTH ..."""
    import sys

    torch.set_num_threads(1)
    arrays = load(Path(sys.argv[1]))
    for name in sys.argv[2:]:
        network, width = name.split(":")
        for moment in MOMENTS:
            found = state(arrays, network, float(width), moment)
            print(f"{network} {width} {moment}: confidence {found.confidence:.3f}", flush=True)


if __name__ == "__main__":
    main()
