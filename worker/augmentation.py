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
    paper's line of code pads. One gather of rows of pixels, so that no loop runs over images. The
    result is in channels_last memory format.
    """
    batch, channels, height, width = images.shape
    pixels = images.permute(0, 2, 3, 1)
    flipped = torch.where(moves.flips[:, None, None, None], pixels.flip(2), pixels)
    padded = F.pad(flipped, (0, 0, shift, shift, shift, shift)).flatten()
    size = width * channels
    windows = padded.as_strided((len(padded) - size + 1, size), (1, 1))
    line = torch.arange(height, device=images.device) + shift - moves.rows[:, None]
    first = torch.arange(batch, device=images.device)[:, None] * (height + 2 * shift) + line
    places = (first * (width + 2 * shift) + shift - moves.columns[:, None]) * channels
    moved = windows.index_select(0, places.flatten())
    return moved.view(batch, height, width, channels).permute(0, 3, 1, 2)
