"""The decoded form of a data set: four arrays in memory, four canonical .npy files, one digest."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from shared import npy
from shared.layout import Extremes, Layout, check_layout, count_classes
from shared.part import Part

NAMES = ("train_images", "train_labels", "test_images", "test_labels")
BLOCK_BYTES = 8 << 20

Chunks = Iterable[np.ndarray]
"""One array in C order, cut into flat pieces; a piece of images ends with a whole pixel."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """Images uint8 (N, H, W, C), labels int64 (N,), for training and for test. Each is its own: to
    compare two would take as long as to read them."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...] | None = None


class StoredFile(Part):
    sha256: str
    bytes: int


class Summary(Part):
    """What is known of a data set without its images; its JSON is the stored manifest."""

    digest: str
    """SHA-256 of what the arrays hold: see `_content`."""
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    mean: tuple[float, ...]
    """Of each channel over all training pixels, in units of 0..1."""
    std: tuple[float, ...]
    """The same way, divided by N; a channel that never changes has 1."""
    files: dict[str, StoredFile]
    class_names: tuple[str, ...] | None = None


def load(folder: Path) -> Arrays:
    return Arrays(*(np.load(folder / f"{name}.npy", allow_pickle=False) for name in NAMES))


def subset_indices(split: str, total: int, n: int) -> np.ndarray:
    """The `n` of `total` indices whose SHA-256 of "split:index" sorts first, ascending; int64.

    The same images for every seed and for ever, and a smaller subset lies within a larger one.
    """
    if not 0 <= n <= total:
        raise ValueError(f"cannot take {n} of {total} {split} images")
    if n == total:
        return np.arange(total, dtype=np.int64)
    return np.sort(hash_order(split, total)[:n])


@lru_cache(maxsize=8)
def hash_order(split: str, total: int) -> np.ndarray:
    """All indices in the order of their SHA-256 of "split:index"; int64, to be read only.

    Any first part of it is a fair sample, however the data set is sorted.
    """
    digests = b"".join([hashlib.sha256(f"{split}:{i}".encode()).digest() for i in range(total)])
    words = np.frombuffer(digests, ">u8").reshape(total, 4)
    order = np.lexsort(words.T[::-1]).astype(np.int64)
    order.flags.writeable = False
    return order


def write_arrays(arrays: Arrays, out_dir: Path) -> Summary:
    """Check `arrays` and write their canonical files into `out_dir`: all four, or nothing."""
    found = {name: getattr(arrays, name) for name in NAMES}
    layout = check_layout({n: (a.dtype, a.shape) for n, a in found.items()}, arrays.class_names)
    return write_chunks(layout, {name: blocks(array) for name, array in found.items()}, out_dir)


def blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Any memory order, in C order, copied block by block only where it must be."""
    rows = max(1, BLOCK_BYTES // max(1, array[0].nbytes))
    for start in range(0, len(array), rows):
        yield np.ravel(array[start : start + rows], order="C")


def write_chunks(layout: Layout, chunks: Mapping[str, Chunks], out_dir: Path) -> Summary:
    """Write the four files, in one pass over each array, holding one piece at a time."""
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".arrays-") as folder:
        summary = _write_all(layout, chunks, Path(folder))
        for name in NAMES:
            os.replace(Path(folder) / f"{name}.npy", out_dir / f"{name}.npy")
    return summary


def _write_all(layout: Layout, chunks: Mapping[str, Chunks], folder: Path) -> Summary:
    # Labels first: the number of classes opens the content digest.
    label_files, extremes = {}, {}
    for name, n in (("train_labels", layout.train), ("test_labels", layout.test)):
        extremes[name] = Extremes()
        labels = (extremes[name].see(piece).astype("<i8") for piece in chunks[name])
        label_files[name] = _write(folder / f"{name}.npy", "<i8", (n,), labels)
    classes = count_classes(extremes, layout.class_names)

    content = _content(layout, classes)
    histogram = np.zeros((layout.shape[2], 256), np.int64)
    files = {}
    for split, n in (("train", layout.train), ("test", layout.test)):
        path, pieces = folder / f"{split}_images.npy", chunks[f"{split}_images"]
        if split == "train":
            pieces = _counted(pieces, histogram)
        files[f"{split}_images"] = _write(path, "|u1", (n, *layout.shape), _fed(pieces, content))
        for piece in blocks(np.load(folder / f"{split}_labels.npy", mmap_mode="r")):
            content.update(piece.data)
        files[f"{split}_labels"] = label_files[f"{split}_labels"]
    mean, std = _mean_and_std(histogram)
    return Summary(
        digest=content.hexdigest(),
        shape=layout.shape,
        classes=classes,
        train=layout.train,
        test=layout.test,
        mean=mean,
        std=std,
        files=files,
        class_names=layout.class_names,
    )


def _content(layout: Layout, classes: int) -> "hashlib._Hash":
    """The opened content digest: SHA-256 of one line of sorted JSON with `classes`, `format` 1,
    `shape`, `test` and `train`, a newline, then the bytes of the four arrays in the order of
    NAMES, in C order, labels as little-endian int64. Names of classes are no part of it."""
    facts = {
        "classes": classes,
        "format": 1,
        "shape": layout.shape,
        "test": layout.test,
        "train": layout.train,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def _write(path: Path, descr: str, shape: tuple[int, ...], pieces: Chunks) -> StoredFile:
    header = npy.encode(descr, shape)
    sha = hashlib.sha256(header)
    with path.open("xb") as file:
        file.write(header)
        for piece in _fed(pieces, sha):
            file.write(piece.data)
        return StoredFile(sha256=sha.hexdigest(), bytes=file.tell())


def _fed(pieces: Chunks, digest: "hashlib._Hash") -> Iterator[np.ndarray]:
    for piece in pieces:
        digest.update(piece.data)
        yield piece


def _counted(pieces: Chunks, histogram: np.ndarray) -> Iterator[np.ndarray]:
    channels = len(histogram)
    for piece in pieces:
        for channel in range(channels):
            histogram[channel] += np.bincount(piece[channel::channels], minlength=256)
        yield piece


def _mean_and_std(histogram: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """From integer sums, so that the result is exact and no order of addition matters."""
    mean, std = [], []
    for row in histogram.tolist():
        n = sum(row)
        total = sum(value * count for value, count in enumerate(row))
        squares = sum(value * value * count for value, count in enumerate(row))
        mean.append(total / (255 * n))
        std.append(math.sqrt((n * squares - total * total) / (255 * n) ** 2) or 1.0)
    return tuple(mean), tuple(std)
