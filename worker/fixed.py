"""The training images under a stimulus that shows them alike in every epoch: made once and kept."""

from collections.abc import Callable

import torch
from torch import Tensor

from worker.deficits import Batch, Stimulus

COSTLY = frozenset({"blur", "noise", "oriented_filter"})
"""1.4, 2.6 and 5.8 ms for 128 images of 32x32x3 on one core; each of the others below 0.7."""
KEPT_BYTES = 1 << 30
"""CIFAR-10 takes 614 MB. A larger data set is shown a batch at a time."""
CHUNK = 512

Show = Callable[[Tensor], Batch]
"""indices (B,) int64 on the device -> images and labels"""


def is_worth_it(stimulus: Stimulus, bytes: int) -> bool:
    """bytes: of all images in float32."""
    costly = any(entry["name"] in COSTLY for entry in stimulus)
    return costly and bytes <= KEPT_BYTES and not any(map(_changes, stimulus))


def _changes(entry: dict[str, object]) -> bool:
    """Whether an image looks otherwise in another epoch."""
    return entry.get("redraw") == "every_epoch" or entry.get("position") == "random"


class Fixed:
    """Under one stimulus at a time. An image is shown the same whatever else is in its batch, so
    that what is kept has the bits that each batch would have."""

    def __init__(self) -> None:
        self._stimulus: Stimulus | None = None
        self._kept: list[Tensor] = []

    def of(self, stimulus: Stimulus, count: int, device: torch.device, show: Show) -> Show:
        if stimulus != self._stimulus:
            self.forget()
            self._keep(count, device, show)
            self._stimulus = stimulus
        images, labels = self._kept
        return lambda rows: (images.index_select(0, rows).permute(0, 3, 1, 2), labels[rows])

    def forget(self) -> None:
        self._stimulus, self._kept = None, []

    def _keep(self, count: int, device: torch.device, show: Show) -> None:
        for rows in torch.arange(count, device=device).split(CHUNK):
            images, labels = show(rows)
            pixels = images.permute(0, 2, 3, 1)
            if not self._kept:
                whole = pixels.new_empty(count, *pixels.shape[1:])
                self._kept = [whole, labels.new_empty(count)]
            self._kept[0][rows], self._kept[1][rows] = pixels, labels
