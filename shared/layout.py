"""What a data set may look like: dtypes, shapes, labels, and what is said of any other."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from shared.errors import Fault, Invalid

SIDES = range(8, 257)
CHANNELS = (1, 3)
MAX_CLASSES = 1000

Found = Mapping[str, tuple[np.dtype, tuple[int, ...]]]
"""Name of an array -> its dtype and shape."""


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


def check_layout(found: Found, class_names: tuple[str, ...] | None) -> Layout:
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


def _split_faults(split: str, found: Found) -> Iterator[Fault]:
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
        return (
            f"shape {_text(shape)}; images are (N, height, width, channels) or (N, height, width)"
        )
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


class Extremes:
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


def count_classes(extremes: Mapping[str, Extremes], class_names: tuple[str, ...] | None) -> int:
    """As many as there are names; without names, one more than the largest label."""
    allowed = MAX_CLASSES if class_names is None else len(class_names)
    faults, largest = [], 0
    for name, seen in extremes.items():
        assert seen.least is not None
        assert seen.most is not None
        largest = max(largest, seen.most[0])
        for label, index in sorted({seen.least, seen.most}):
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
