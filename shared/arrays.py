"""The decoded form of a data set: four arrays in memory."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Arrays:
    """Images uint8 (N, H, W, C), labels int64 (N,), for training and for test."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...] | None = None
