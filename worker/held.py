"""Data sets as tensors on a device: made once, held while this process holds their arrays."""

from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from shared.arrays import Arrays

_held: WeakKeyDictionary[Arrays, dict[str, "Held"]] = WeakKeyDictionary()


class Held:
    """By split: images (N, H, W, C) uint8 and labels (N,) int64. Never written to: on a processor
    they are the arrays themselves."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        self.images = {
            "train": _images(arrays.train_images, device),
            "test": _images(arrays.test_images, device),
        }
        self.labels = {
            "train": _labels(arrays.train_labels, device),
            "test": _labels(arrays.test_labels, device),
        }


def on(device: torch.device, arrays: Arrays) -> Held:
    """Bounded by what bounds the arrays: `datasets_cache.HELD_BYTES`."""
    made = _held.setdefault(arrays, {})
    if str(device) not in made:
        made[str(device)] = Held(arrays, device)
    return made[str(device)]


def _images(images: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).to(device)


def _labels(labels: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64)).to(device)
