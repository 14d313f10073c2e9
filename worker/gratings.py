"""Noisy oriented gratings: the demo's data, made by a seeded procedure, nothing to download.

The kitten's own stimulus: what a class is lies in fine stripes alone. Both periods are shorter
than the 8 pixels that 4 samples on 16 can hold, so blur down to 4x4 removes nearly all that tells
the classes apart (nearest mean spectrum: 99.9 % right on sharp images, 27 % on blurred ones,
through aliasing, where chance is 12.5 %), while vertical flip, in random phase, only swaps the two
diagonal orientations. Mean brightness, contrast and position (random phase) say nothing about the
class. In phase, the classes are 8 fixed patterns under noise, which a linear network can tell apart
too.
"""

import numpy as np

from shared.arrays import Arrays

SIDE = 16
ORIENTATIONS = (0, 45, 90, 135)  # degrees between the x axis and the direction of change
PERIODS = (3.2, 5.5)  # pixels
AMPLITUDE = 0.5
IN_PHASE_AMPLITUDE = 0.3
NOISE = 0.9
SCALE, OFFSET = 32, 128  # pixel = clip(round(128 + 32 x), 0, 255): clips beyond 4, over 4 sd

CLASS_NAMES = tuple(
    f"{angle} degrees, period {period}" for angle in ORIENTATIONS for period in PERIODS
)


def generate(train: int = 2000, test: int = 1000, seed: int = 0) -> Arrays:
    """Class 2i + j shows orientation i with period j, in random phase under Gaussian noise.

    x[r, c] = 0.5 sin(2 pi (c cos a + r sin a) / p + phase) + 0.9 n[r, c],
        phase ~ U(0, 2 pi), n ~ N(0, 1); pixel = clip(round(128 + 32 x), 0, 255).
    Images are uint8 (N, 16, 16, 1), labels int64 (N,), 8 classes, balanced, in random order.
    Train and test are drawn from two streams, so neither changes with the other's size.
    """
    train_images, train_labels = _split(train, np.random.RandomState([seed, 0]))
    test_images, test_labels = _split(test, np.random.RandomState([seed, 1]))
    return Arrays(train_images, train_labels, test_images, test_labels, CLASS_NAMES)


def in_phase(train: int = 2000, test: int = 1000, seed: int = 0) -> Arrays:
    """The same with every phase 0 and amplitude 0.3: labels and noise of the same draws."""
    train_images, train_labels = _split(train, np.random.RandomState([seed, 0]), in_phase=True)
    test_images, test_labels = _split(test, np.random.RandomState([seed, 1]), in_phase=True)
    return Arrays(train_images, train_labels, test_images, test_labels, CLASS_NAMES)


def _split(
    n: int, rng: np.random.RandomState, in_phase: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    # RandomState, because numpy promises that its streams never change; default_rng's may.
    labels = rng.permutation(np.arange(n, dtype=np.int64) % len(CLASS_NAMES))
    phase = rng.uniform(0, 2 * np.pi, size=(n, 1, 1))
    noise = rng.standard_normal((n, SIDE, SIDE))
    amplitude = AMPLITUDE
    if in_phase:
        phase, amplitude = np.zeros_like(phase), IN_PHASE_AMPLITUDE
    angle = np.radians(ORIENTATIONS)[labels // len(PERIODS)][:, None, None]
    period = np.array(PERIODS)[labels % len(PERIODS)][:, None, None]
    row, column = np.mgrid[:SIDE, :SIDE]
    wave = np.sin(2 * np.pi * (column * np.cos(angle) + row * np.sin(angle)) / period + phase)
    pixels = np.rint(OFFSET + SCALE * (amplitude * wave + NOISE * noise))
    return np.clip(pixels, 0, 255).astype(np.uint8)[..., None], labels
