"""The demo's data are what they say they are, for ever."""

import hashlib

import numpy as np
import pytest

from shared.arrays import Arrays
from worker.gratings import CLASS_NAMES, generate, in_phase


@pytest.fixture(scope="module")
def gratings() -> Arrays:
    return generate()


def test_the_demo_has_2000_and_1000_small_grey_images(gratings: Arrays) -> None:
    assert gratings.train_images.shape == (2000, 16, 16, 1)
    assert gratings.test_images.shape == (1000, 16, 16, 1)
    assert gratings.train_images.dtype == np.uint8
    assert gratings.train_labels.dtype == np.int64


def test_the_eight_classes_are_balanced(gratings: Arrays) -> None:
    assert len(CLASS_NAMES) == 8
    assert np.bincount(gratings.train_labels).tolist() == [250] * 8
    assert np.bincount(gratings.test_labels).tolist() == [125] * 8


def test_the_bytes_never_change(gratings: Arrays) -> None:
    digest = hashlib.sha256()
    for array in (gratings.train_images, gratings.train_labels):
        digest.update(array.tobytes())
    for array in (gratings.test_images, gratings.test_labels):
        digest.update(array.tobytes())
    assert digest.hexdigest() == "11bd2f001ced383f575452e2e138c159252c2cc8fc3b868a3084e45ac16209bd"


def test_in_phase_the_bytes_never_change_either() -> None:
    digest, arrays = hashlib.sha256(), in_phase()
    for array in (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels):
        digest.update(array.tobytes())
    assert digest.hexdigest() == "ceefa393eb7f8a6ed1047253aeb0aae58c38e1df5af6c5b4b7a50058df94815d"


def test_a_linear_rule_tells_them_apart_only_in_phase(gratings: Arrays) -> None:
    assert _linear(in_phase()) > 0.9
    assert _linear(gratings) < 0.25


def test_in_phase_labels_are_those_of_the_demo(gratings: Arrays) -> None:
    assert np.array_equal(in_phase().train_labels, gratings.train_labels)


def test_the_test_images_do_not_depend_on_how_many_train() -> None:
    assert np.array_equal(generate(8, 16).test_images, generate(64, 16).test_images)


def test_seeds_and_splits_differ() -> None:
    first, second = generate(16, 16, seed=0), generate(16, 16, seed=1)
    assert not np.array_equal(first.train_images, second.train_images)
    assert not np.array_equal(first.train_images, first.test_images)


def test_brightness_says_nothing_and_stripes_say_all(gratings: Arrays) -> None:
    means = [gratings.train_images[gratings.train_labels == label].mean() for label in range(8)]
    assert np.ptp(means) < 1
    assert _nearest_spectrum(gratings.train_images, gratings.test_images, gratings) > 0.95


def test_at_4x4_little_is_left_to_tell_the_classes_apart(gratings: Arrays) -> None:
    def small(images: np.ndarray) -> np.ndarray:
        return images.reshape(-1, 4, 4, 4, 4, 1).mean((2, 4))

    right = _nearest_spectrum(small(gratings.train_images), small(gratings.test_images), gratings)
    assert right < 0.4


def _linear(arrays: Arrays) -> float:
    """Share of test images nearest to their own class's mean image."""
    train, test = (images.reshape(len(images), -1) / 32.0 - 4
                   for images in (arrays.train_images, arrays.test_images))  # fmt: skip
    means = np.stack([train[arrays.train_labels == label].mean(0) for label in range(8)])
    nearest = ((test[:, None] - means) ** 2).sum(2).argmin(1)
    return float((nearest == arrays.test_labels).mean())


def _nearest_spectrum(train: np.ndarray, test: np.ndarray, arrays: Arrays) -> float:
    """Share of test images nearest to their own class's mean amplitude spectrum."""
    seen, asked = (np.abs(np.fft.rfft2(images[..., 0] / 32.0 - 4)) for images in (train, test))
    means = np.stack([seen[arrays.train_labels == label].mean(0) for label in range(8)])
    nearest = ((asked[:, None] - means) ** 2).sum((2, 3)).argmin(1)
    return float((nearest == arrays.test_labels).mean())
