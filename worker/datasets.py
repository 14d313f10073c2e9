"""The built-in data sets as arrays, from torchvision's files or generated."""

import fcntl
import pickle
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shared.arrays import Arrays
from shared.errors import DatasetUnavailable
from worker.gratings import generate, in_phase

Loader = Callable[[Path, bool], Arrays]
Images = tuple[np.ndarray, np.ndarray]
DOWNLOAD_SILENCE_SECONDS = 30.0
DIGITS = tuple("0123456789")

_UNREADABLE = (
    RuntimeError,
    OSError,
    ValueError,
    AssertionError,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    TypeError,
    pickle.UnpicklingError,
    struct.error,
)
"""What torchvision raises on missing files, damaged files and failing downloads."""


def _cifar(data: Any) -> Images:
    return data.data, np.asarray(data.targets, np.int64)


def _mnist(data: Any) -> Images:
    """Zero-padded from 28x28 to 32x32, as the paper does."""
    padded = np.pad(data.data.numpy(), ((0, 0), (2, 2), (2, 2)))
    return padded[..., None], data.targets.numpy().astype(np.int64)


def _svhn(data: Any) -> Images:
    return data.data.transpose(0, 2, 3, 1), data.labels.astype(np.int64)


def _from_torchvision(
    kind: str, decode: Callable[[Any], Images], folder: Path, allow_download: bool
) -> Arrays:
    splits = (
        ({"split": "train"}, {"split": "test"})
        if kind == "SVHN"
        else ({"train": True}, {"train": False})
    )
    train, test = (_open(kind, split, folder, allow_download) for split in splits)
    names = tuple(getattr(train, "classes", DIGITS))
    return Arrays(*decode(train), *decode(test), class_names=names)


BUILTIN: dict[str, Loader] = {
    "cifar10": partial(_from_torchvision, "CIFAR10", _cifar),
    "cifar100": partial(_from_torchvision, "CIFAR100", _cifar),
    "mnist": partial(_from_torchvision, "MNIST", _mnist),
    "fashion_mnist": partial(_from_torchvision, "FashionMNIST", _mnist),
    "svhn": partial(_from_torchvision, "SVHN", _svhn),
    "gratings": lambda folder, allow_download: generate(),
    "gratings_in_phase": lambda folder, allow_download: in_phase(),
}
"""Name -> loader(folder of torchvision's data sets, whether to download what is not there)."""


def _open(kind: str, split: dict[str, Any], folder: Path, allow_download: bool) -> Any:
    # Here, because it takes seconds, and what is generated or fetched needs no torch.
    from worker.torchvision_import import torchvision_datasets

    dataset = getattr(torchvision_datasets(), kind)
    try:
        return dataset(str(folder), download=False, **split)
    except _UNREADABLE as error:
        if not allow_download:
            tried = (
                f"its files are not in {folder} ({_said(error)}), and downloads are switched off"
            )
            raise _unavailable(kind, folder, tried) from error
    try:
        with _alone(folder), _patience():
            return dataset(str(folder), download=True, **split)
    except _UNREADABLE as error:
        tried = f"its files are not in {folder}, and the download failed ({_said(error)})"
        raise _unavailable(kind, folder, tried) from error


def _unavailable(kind: str, folder: Path, tried: str) -> DatasetUnavailable:
    return DatasetUnavailable(
        f"{kind}: {tried}. Put the files where torchvision's {kind} looks for them under"
        f" {folder} (HUBEL_DATA_DIR), or allow downloads (HUBEL_ALLOW_DOWNLOAD=true), or PUT the"
        " images as an .npz to /v1/datasets/{a name of your own} and use that name"
    )


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:400]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """torchvision writes its files in place, so two downloads at once would spoil each other."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".download.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _patience() -> Iterator[None]:
    """torchvision gives no timeout, and a network that swallows packets would hang us for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
