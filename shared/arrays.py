"""The decoded form of a data set: four arrays in memory, four canonical .npy files, one digest."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.errors import Fault, Invalid
from shared.spec import Part

NAMES = ("train_images", "train_labels", "test_images", "test_labels")
SIDES = range(8, 257)
CHANNELS = (1, 3)
MAX_CLASSES = 1000
BLOCK_BYTES = 8 << 20

Chunks = Iterable[np.ndarray]
"""One array in C order, cut into flat pieces; a piece of images ends with a whole pixel."""


@dataclass(frozen=True)
class Arrays:
    """Images uint8 (N, H, W, C), labels int64 (N,), for training and for test."""

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


@dataclass(frozen=True)
class Layout:
    """What the shapes of the four arrays say, checked."""

    shape: tuple[int, int, int]
    train: int
    test: int
    class_names: tuple[str, ...] | None

    def size(self, name: str) -> int:
        """Bytes of one array in its canonical form."""
        n = self.train if name.startswith("train") else self.test
        return n * (math.prod(self.shape) if name.endswith("images") else 8)


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
    digests = b"".join(hashlib.sha256(b"%s:%d" % (split.encode(), i)).digest() for i in range(total))
    words = np.frombuffer(digests, ">u8").reshape(total, 4)
    return np.sort(np.lexsort(words.T[::-1])[:n]).astype(np.int64)


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


# --- checks --------------------------------------------------------------------------------


def check_layout(
    found: Mapping[str, tuple[np.dtype, tuple[int, ...]]], class_names: tuple[str, ...] | None
) -> Layout:
    """The layout that dtypes and shapes describe; images (N, H, W) count as one channel."""
    faults = [fault for split in ("train", "test") for fault in _split_faults(split, found)]
    refuse(faults)
    train, test = found["train_images"][1], found["test_images"][1]
    shape, other = ((*s[1:], 1)[:3] for s in (train, test))
    if shape != other:
        message = f"test images are {_text(other)}, train images {_text(shape)}: make them equal"
        refuse([Fault("/test_images", "shape", message)])
    return Layout((shape[0], shape[1], shape[2]), train[0], test[0], class_names)


def refuse(faults: list[Fault]) -> None:
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        where = faults[0].pointer.strip("/") or "The file"
        raise Invalid(f"The data set is refused: {where}: {faults[0].message}{more}", faults)


def _split_faults(
    split: str, found: Mapping[str, tuple[np.dtype, tuple[int, ...]]]
) -> Iterator[Fault]:
    images, labels = f"{split}_images", f"{split}_labels"
    (dtype, shape), (label_dtype, label_shape) = found[images], found[labels]
    if dtype != np.uint8:
        message = f"dtype {dtype}; images are uint8, 0 to 255: scale, round and cast them"
        yield Fault(f"/{images}", "dtype", message)
    if problem := _image_shape_problem(shape):
        yield Fault(f"/{images}", "shape", problem)
    if label_dtype.kind not in "iu":
        message = f"dtype {label_dtype}; labels are integers, 0 to K - 1: cast them to int64"
        yield Fault(f"/{labels}", "dtype", message)
    if len(label_shape) != 1:
        message = f"shape {_text(label_shape)}; labels are (N,), one integer an image: not one-hot"
        yield Fault(f"/{labels}", "shape", message)
    elif shape and label_shape[0] != shape[0]:
        message = f"{label_shape[0]} labels for {shape[0]} images: give one label an image"
        yield Fault(f"/{labels}", "count", message)


def _image_shape_problem(shape: tuple[int, ...]) -> str | None:
    if len(shape) not in (3, 4):
        return f"shape {_text(shape)}; images are (N, height, width, channels) or (N, height, width)"
    height, width, channels = (*shape[1:], 1)[:3]
    if shape[0] < 1:
        return "no image; give at least one"
    if height in CHANNELS and channels not in CHANNELS:
        return f"shape {_text(shape)} has the channels first: transpose(0, 2, 3, 1) puts them last"
    if channels not in CHANNELS:
        return f"{channels} channels; 1 (grey) or 3 (RGB) are allowed"
    if height not in SIDES or width not in SIDES:
        return f"{height}x{width} pixels; {SIDES[0]} to {SIDES[-1]} a side are allowed: resize them"
    return None


def _text(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


# --- writing -------------------------------------------------------------------------------


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
        extremes[name] = _Extremes()
        pieces = (extremes[name].see(piece).astype("<i8") for piece in chunks[name])
        label_files[name] = _write(folder / f"{name}.npy", "<i8", (n,), pieces)
    classes = _count_classes(extremes, layout.class_names)

    content = _content(layout, classes)
    histogram = np.zeros((layout.shape[2], 256), np.int64)
    files = {}
    for split, n in (("train", layout.train), ("test", layout.test)):
        path, pieces = folder / f"{split}_images.npy", iter(chunks[f"{split}_images"])
        if split == "train":
            pieces = _counted(pieces, histogram)
        files[f"{split}_images"] = _write(
            path, "|u1", (n, *layout.shape), _fed(pieces, content)
        )
        labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False)
        content.update(labels.astype("<i8").tobytes())
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
    sha = hashlib.sha256()
    with path.open("xb") as file:
        for data in (_npy_header(descr, shape), *()):
            file.write(data)
            sha.update(data)
        for piece in pieces:
            file.write(piece.data)
            sha.update(piece.data)
        return StoredFile(sha256=sha.hexdigest(), bytes=file.tell())


def _npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    """Version 1.0, spelled here because numpy's own padding has changed between releases."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {_text(shape)}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def _fed(pieces: Iterable[np.ndarray], digest: "hashlib._Hash") -> Iterator[np.ndarray]:
    for piece in pieces:
        digest.update(piece.data)
        yield piece


def _counted(pieces: Iterable[np.ndarray], histogram: np.ndarray) -> Iterator[np.ndarray]:
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


class _Extremes:
    """Smallest and largest label, and where each was first seen."""

    def __init__(self) -> None:
        self.seen = 0
        self.least: tuple[int, int] | None = None
        self.most: tuple[int, int] | None = None

    def see(self, piece: np.ndarray) -> np.ndarray:
        # In the piece's own dtype: a large uint64 would come out negative as int64.
        low, high = int(piece.argmin()), int(piece.argmax())
        least, most = (int(piece[low]), self.seen + low), (int(piece[high]), self.seen + high)
        if self.least is None or least[0] < self.least[0]:
            self.least = least
        if self.most is None or most[0] > self.most[0]:
            self.most = most
        self.seen += len(piece)
        return piece


def _count_classes(
    extremes: Mapping[str, _Extremes], class_names: tuple[str, ...] | None
) -> int:
    allowed = MAX_CLASSES if class_names is None else len(class_names)
    faults, largest = [], 0
    for name, seen in extremes.items():
        assert seen.least is not None
        assert seen.most is not None
        largest = max(largest, seen.most[0])
        for label, index in {seen.least, seen.most}:
            if not 0 <= label < allowed:
                message = f"label {label} at index {index}; 0 to {allowed - 1} are allowed"
                if class_names is not None:
                    message += f", since 'classes' names {allowed}"
                faults.append(Fault(f"/{name}", "label", message))
    if not faults and class_names is None and largest < 1:
        message = "every label is 0; a data set has at least two classes"
        faults.append(Fault("/train_labels", "label", message))
    refuse(faults)
    return largest + 1 if class_names is None else allowed
