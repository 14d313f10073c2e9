"""Random shifts and horizontal flips, on the device, for a whole batch at once."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from worker import rng


class Moves(NamedTuple):
    """For each image: rows and columns to move by (N,) int64, whether to flip it (N,) bool."""

    rows: Tensor
    columns: Tensor
    flips: Tensor


def draw(augmentation: dict[str, Any], seed: int, epoch: int, count: int) -> Moves:
    """One epoch's moves, by position in the epoch's order.

    Shifts are even over -shift..shift in each direction; every other image or so is flipped.
    """
    generator, shift = rng.generator(seed, "augmentation", epoch), augmentation["shift"]
    rows, columns = torch.randint(-shift, shift + 1, (2, count), generator=generator)
    flips = torch.randint(0, 2, (count,), generator=generator) > 0
    return Moves(rows, columns, flips & augmentation["horizontal_flip"])


def augment(images: Tensor, moves: Moves, shift: int) -> Tensor:
    """Each image flipped, then moved, by no more than `shift` pixels.

    images (B, C, H, W) normalised: what moves in from outside is zero, the mean colour, as the
    paper's line of code pads. One gather, so that no loop runs over images.
    """
    rows, columns, flips = moves
    batch, channels, height, width = images.shape
    padded = F.pad(images, (shift, shift, shift, shift))
    y = torch.arange(height, device=images.device) - rows[:, None] + shift
    x = torch.arange(width, device=images.device) - columns[:, None]
    x = torch.where(flips[:, None], width - 1 - x, x) + shift
    source = y[:, :, None] * (width + 2 * shift) + x[:, None, :]
    source = source.view(batch, 1, height * width).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, source).view_as(images)
