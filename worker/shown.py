"""The labelled images that a measurement looks at, made a chunk at a time when they are needed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shared.arrays import hash_order

if TYPE_CHECKING:
    from worker.deficits import Stimulus
    from worker.train import Trainer

# Images in one pass. Fixed: the last bits of a sum depend on it, so no setting may change it.
CHUNK = 32


@dataclass(frozen=True)
class Chunk:
    rows: Tensor
    """(B,) int64 on the images' device: each image's place among those shown."""
    images: Tensor
    """(B, C, H, W) float32, normalised, under the stimulus, not augmented."""
    labels: Tensor
    """(B,) int64, as the stimulus has them."""


@dataclass(frozen=True)
class Shown:
    count: int
    make: Callable[[slice], tuple[Tensor, Tensor]]
    """Images and labels of consecutive rows."""

    @classmethod
    def of(cls, images: Tensor, labels: Tensor | None = None) -> "Shown":
        """Of tensors that are there already; without labels, of class 0."""
        if labels is None:
            labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        known = labels
        return cls(len(images), lambda rows: (images[rows], known[rows]))

    def chunks(self, size: int | None = None) -> Iterator[Chunk]:
        size = size or CHUNK
        for first in range(0, self.count, size):
            images, labels = self.make(slice(first, min(first + size, self.count)))
            rows = torch.arange(first, first + len(images), device=images.device)
            yield Chunk(rows, images, labels)


def first_of(trainer: "Trainer", split: str, count: int) -> Tensor:
    """(n,) int64: the first images in hash order, a fair sample however many they are."""
    order = hash_order(split, len(trainer.labels[split]))
    return torch.tensor(order[:count]).to(trainer.device)


def shown_by(
    trainer: "Trainer", split: str, indices: Tensor, stimulus: "Stimulus", epoch: int
) -> Shown:
    """Images (C, H, W), not augmented.

    Noise that is redrawn in every epoch is shown as in the last epoch that was trained.
    """
    epoch_shown = max(epoch - 1, 0)

    def make(rows: slice) -> tuple[Tensor, Tensor]:
        return trainer.show(split, indices[rows], stimulus, epoch_shown)

    return Shown(len(indices), make)
