"""The decoded form of a data set, its digest, and the subset that every seed shares."""

import hashlib
import io
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.arrays import NAMES, Arrays, Summary, load, subset_indices, write_arrays
from shared.errors import Invalid
from worker.gratings import generate


@pytest.fixture
def arrays() -> Arrays:
    rng = np.random.RandomState(0)
    return Arrays(
        rng.randint(0, 256, (20, 9, 8, 3), np.uint8),
        np.arange(20, dtype=np.int64) % 4,
        rng.randint(0, 256, (6, 9, 8, 3), np.uint8),
        np.arange(6, dtype=np.int64) % 4,
    )


def test_what_was_written_is_what_is_loaded(arrays: Arrays, tmp_path: Path) -> None:
    write_arrays(arrays, tmp_path)
    loaded = load(tmp_path)
    for name in NAMES:
        assert np.array_equal(getattr(arrays, name), getattr(loaded, name))
        assert getattr(loaded, name).flags.c_contiguous
    assert sorted(f"{name}.npy" for name in NAMES) == sorted(p.name for p in tmp_path.iterdir())


def test_the_summary_names_each_file_by_its_bytes(arrays: Arrays, tmp_path: Path) -> None:
    summary = write_arrays(arrays, tmp_path)
    for name in NAMES:
        data = (tmp_path / f"{name}.npy").read_bytes()
        assert summary.files[name].sha256 == hashlib.sha256(data).hexdigest()
        assert summary.files[name].bytes == len(data)


def test_the_summary_says_shape_classes_and_counts(arrays: Arrays, tmp_path: Path) -> None:
    summary = write_arrays(arrays, tmp_path)
    assert summary.shape == (9, 8, 3)
    assert (summary.classes, summary.train, summary.test) == (4, 20, 6)
    assert summary.class_names is None


def test_the_summary_survives_json(arrays: Arrays, tmp_path: Path) -> None:
    summary = write_arrays(replace(arrays, class_names=("a", "b", "c", "ü")), tmp_path)
    assert Summary.model_validate_json(summary.model_dump_json()) == summary


def test_mean_and_std_are_those_of_the_training_pixels(arrays: Arrays, tmp_path: Path) -> None:
    summary = write_arrays(arrays, tmp_path)
    pixels = arrays.train_images / 255
    assert summary.mean == pytest.approx(pixels.mean((0, 1, 2)), rel=1e-12)
    assert summary.std == pytest.approx(pixels.std((0, 1, 2)), rel=1e-12)


def test_a_channel_that_never_changes_has_std_one(arrays: Arrays, tmp_path: Path) -> None:
    images = arrays.train_images.copy()
    images[..., 1] = 51
    summary = write_arrays(replace(arrays, train_images=images), tmp_path)
    assert summary.mean[1] == 0.2
    assert summary.std[1] == 1.0
    assert summary.std[0] < 1


def test_the_content_digest_is_that_of_the_documented_stream(
    arrays: Arrays, tmp_path: Path
) -> None:
    head = b'{"classes":4,"format":1,"shape":[9,8,3],"test":6,"train":20}\n'
    body = b"".join(getattr(arrays, name).tobytes() for name in NAMES)
    assert write_arrays(arrays, tmp_path).digest == hashlib.sha256(head + body).hexdigest()


def test_the_digest_of_the_gratings_is_pinned(tmp_path: Path) -> None:
    digest = "3918de0eb70dcfc6bfc99e1104f3469a15588438ee98716a066c6d088568a650"
    assert write_arrays(generate(), tmp_path).digest == digest


def test_memory_order_and_names_of_classes_do_not_change_the_digest(
    arrays: Arrays, tmp_path: Path
) -> None:
    digest = write_arrays(arrays, tmp_path).digest
    turned = replace(arrays, train_images=np.asfortranarray(arrays.train_images))
    assert write_arrays(turned, tmp_path).digest == digest
    named = replace(arrays, class_names=("a", "b", "c", "d"))
    assert write_arrays(named, tmp_path).digest == digest


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_value_changes_the_digest(arrays: Arrays, tmp_path: Path, name: str) -> None:
    changed = getattr(arrays, name).copy()
    changed.flat[0] ^= 1
    digests = {
        write_arrays(each, tmp_path).digest for each in (arrays, replace(arrays, **{name: changed}))
    }
    assert len(digests) == 2


def test_a_file_has_the_bytes_that_numpy_would_read(arrays: Arrays, tmp_path: Path) -> None:
    write_arrays(arrays, tmp_path)
    data = (tmp_path / "train_labels.npy").read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    assert (len(data) - 20 * 8) % 64 == 0
    assert np.load(io.BytesIO(data), allow_pickle=False).dtype == np.dtype("<i8")


def test_what_is_refused_leaves_nothing(arrays: Arrays, tmp_path: Path) -> None:
    wrong = replace(arrays, test_labels=arrays.test_labels - 1)
    with pytest.raises(Invalid, match="test_labels: label -1 at index 0"):
        write_arrays(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_subset_is_those_whose_hash_sorts_first() -> None:
    by_hash = sorted(range(100), key=lambda i: hashlib.sha256(f"train:{i}".encode()).digest())
    assert sorted(by_hash[:30]) == subset_indices("train", 100, 30).tolist()


def test_a_smaller_subset_lies_within_a_larger_one() -> None:
    small, large = (set(subset_indices("test", 1000, n).tolist()) for n in (100, 400))
    assert small < large


def test_the_subset_of_all_is_all_and_splits_differ() -> None:
    assert np.array_equal(np.arange(50), subset_indices("train", 50, 50))
    assert subset_indices("train", 50, 10).dtype == np.int64
    assert not np.array_equal(subset_indices("train", 50, 10), subset_indices("test", 50, 10))


def test_a_subset_is_pinned() -> None:
    assert subset_indices("train", 50_000, 3).tolist() == [1642, 26454, 33146]


def test_more_than_there_are_cannot_be_taken() -> None:
    with pytest.raises(ValueError, match="cannot take 11 of 10"):
        subset_indices("train", 10, 11)


def test_a_subset_of_the_largest_set_is_quick() -> None:
    start = time.process_time()
    subset_indices("train", 73_257, 2000)
    assert time.process_time() - start < 1
