"""The three loops that are held against each other: a user's plain one, ours, and the bound."""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from shared.arrays import Arrays
from worker import precision as precisions
from worker.graph import Record
from worker.models import build
from worker.torchvision_import import torchvision_datasets
from worker.train import Trainer

BATCH, SHIFT = 128, 4
OPTIMIZER = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.001}
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


@dataclass(frozen=True)
class Network:
    name: str
    width: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """The fully connected network is the paper's, for MNIST padded."""
        return (32, 32, 1) if self.name == "mlp" else (32, 32, 3)

    def build(self) -> nn.Module:
        return build({"name": self.name, "width": self.width}, self.shape, 10, 0)

    def __str__(self) -> str:
        return f"{self.name}:{self.width:g}"


def config(network: Network, arrays: Arrays, precision: str) -> dict[str, Any]:
    channels = network.shape[2]
    return {
        "dataset": {
            "train_samples": len(arrays.train_labels),
            "test_samples": len(arrays.test_labels),
            "shape": list(network.shape),
            "classes": 10,
            "mean": list(MEAN[:channels]),
            "std": list(STD[:channels]),
        },
        "model": {"name": network.name, "width": network.width},
        "optimizer": OPTIMIZER,
        "batch_size": BATCH,
        "precision": precision,
        "augmentation": {"shift": SHIFT, "horizontal_flip": True},
        "seed": 0,
    }


def options(words: str | None, rounds: int) -> argparse.ArgumentParser:
    """What the benches of training have in common."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=words)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if cuda else "cpu")
    parser.add_argument("--networks", type=str.split, default=[])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--out", type=Path)
    return parser


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


Epoch = Callable[[], float]
"""One pass over the training images -> seconds, evaluation left out."""


def ours(
    network: Network,
    arrays: Arrays,
    precision: str,
    device: str,
    stimulus: list[dict[str, Any]],
    record: Record | None = None,
) -> Epoch:
    """As the product trains: the seconds up to the first step of the evaluation."""
    trainer = Trainer(config(network, arrays, precision), arrays, device, record)
    steps = -(-len(arrays.train_labels) // BATCH)
    epochs = iter(range(10_000))

    def epoch() -> float:
        ticks: list[float] = []
        wait(device)
        begun = time.perf_counter()
        trainer.train_epoch(next(epochs), stimulus, 0.05, lambda: ticks.append(time.perf_counter()))
        return ticks[steps] - begun

    return epoch


def bound(network: Network, images: int, precision: str, device: str) -> Epoch:
    """Forward, backward and step alone, on one batch that is there already: in our memory format
    and precision, deterministic as ours."""
    on = torch.device(device)
    model = network.build().to(on).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    height, width, channels = network.shape
    batch = torch.randn(BATCH, channels, height, width, device=on)
    batch = batch.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (BATCH,), device=on)
    optimizer = _sgd(model, fused=True)

    def epoch() -> float:
        wait(device)
        begun = time.perf_counter()
        with precisions.rounding(precision):
            for _ in range(-(-images // BATCH)):
                with precisions.autocast(precision, on):
                    logits = model(batch)
                _step(optimizer, F.cross_entropy(logits.float(), labels))
        wait(device)
        return time.perf_counter() - begun

    return epoch


def plain(network: Network, arrays: Arrays, device: str, loaders: int) -> Epoch:
    """What one would write instead: Pillow images, torchvision's transforms, a DataLoader, eager,
    float32, torch's usual settings."""
    model = network.build().to(device).train()
    optimizer = _sgd(model)
    loader = DataLoader(
        Pictures(arrays), BATCH, shuffle=True, num_workers=loaders, pin_memory=device == "cuda",
        persistent_workers=loaders > 0,
    )  # fmt: skip

    def epoch() -> float:
        torch.use_deterministic_algorithms(False)
        wait(device)
        begun = time.perf_counter()
        correct = 0
        for images, labels in loader:
            logits = model(images.to(device))
            labels = labels.to(device)
            loss = F.cross_entropy(logits, labels)
            _step(optimizer, loss)
            correct += int((logits.argmax(1) == labels).sum())
        wait(device)
        took = time.perf_counter() - begun
        torch.use_deterministic_algorithms(True)
        return took

    return epoch


class Pictures(Dataset[tuple[Tensor, int]]):
    """As torchvision.datasets.CIFAR10 gives an image."""

    def __init__(self, arrays: Arrays) -> None:
        torchvision_datasets()
        from torchvision import transforms

        self.images, self.labels = arrays.train_images, arrays.train_labels.tolist()
        channels = self.images.shape[3]
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=SHIFT),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN[:channels], STD[:channels]),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        from PIL import Image

        pixels = self.images[place]
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return self.transform(picture), self.labels[place]


def _sgd(model: nn.Module, fused: bool = False) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(),
        OPTIMIZER["learning_rate"],
        OPTIMIZER["momentum"],
        weight_decay=OPTIMIZER["weight_decay"],
        fused=fused or None,
    )


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
