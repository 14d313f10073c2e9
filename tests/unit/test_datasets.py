"""The built-in data sets, read by torchvision from files that are made here in its formats."""

import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from shared.arrays import NAMES, Arrays, write_arrays
from shared.datasets import CATALOG
from shared.errors import DatasetUnavailable
from shared.spec import Dataset
from worker.datasets import BUILTIN
from worker.torchvision_import import torchvision_datasets

TRAIN, TEST = 30, 10
GENERATED = ("gratings", "gratings_in_phase")
Written = dict[str, np.ndarray]


def images(rng: np.random.RandomState, n: int, *shape: int) -> np.ndarray:
    return rng.randint(0, 256, (n, *shape), np.uint8)


@pytest.fixture
def rng() -> np.random.RandomState:
    return np.random.RandomState(0)


def write_pickle(path: Path, value: Any) -> list[str]:
    """The entry of the file in torchvision's lists: name and MD5."""
    path.parent.mkdir(exist_ok=True)
    data = pickle.dumps(value, protocol=2)
    path.write_bytes(data)
    return [path.name, hashlib.md5(data).hexdigest()]


def cifar(
    folder: Path, rng: np.random.RandomState, patch: pytest.MonkeyPatch, kind: str, classes: int
) -> Written:
    """Pickled batches; torchvision's MD5 sums are those of the real ones, so they give way."""
    dataset = getattr(torchvision_datasets(), kind)
    label = "labels" if kind == "CIFAR10" else "fine_labels"
    written, lists = {}, {"train": [], "test": []}
    for split, n, batches in (
        ("train", TRAIN, dataset.train_list),
        ("test", TEST, dataset.test_list),
    ):
        pixels, labels = images(rng, n, 32, 32, 3), np.arange(n) * 7 % classes
        written |= {f"{split}_images": pixels, f"{split}_labels": labels}
        parts = zip(np.array_split(np.arange(n), len(batches)), batches, strict=True)
        for rows, (name, _) in parts:
            planes = pixels[rows].transpose(0, 3, 1, 2).reshape(len(rows), 3072)
            batch = {"data": planes, label: labels[rows].tolist()}
            lists[split].append(write_pickle(folder / dataset.base_folder / name, batch))
    meta = {dataset.meta["key"]: [f"class {i}" for i in range(classes)]}
    name, md5 = write_pickle(folder / dataset.base_folder / dataset.meta["filename"], meta)
    patch.setattr(dataset, "train_list", lists["train"])
    patch.setattr(dataset, "test_list", lists["test"])
    patch.setattr(dataset, "meta", dataset.meta | {"md5": md5})
    return written


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist(folder: Path, rng: np.random.RandomState, kind: str, packed: bool = False) -> Written:
    """Four idx files; of 28x28 images, which are padded to 32x32."""
    raw = folder / kind / "raw"
    raw.mkdir(parents=True)
    written = {}
    for split, stem, n in (("train", "train", TRAIN), ("test", "t10k", TEST)):
        digits, labels = images(rng, n, 28, 28), (np.arange(n) % 10).astype(np.uint8)
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(idx(digits))
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))
        padded = np.zeros((n, 32, 32, 1), np.uint8)
        padded[:, 2:30, 2:30, 0] = digits
        written |= {f"{split}_images": padded, f"{split}_labels": labels.astype(np.int64)}
    return written


def svhn(folder: Path, rng: np.random.RandomState, patch: pytest.MonkeyPatch) -> Written:
    """MATLAB files, image index last, the digit 0 labelled 10."""
    written, lists = {}, {}
    for split, n in (("train", TRAIN), ("test", TEST)):
        pixels, labels = images(rng, n, 32, 32, 3), np.arange(n) % 10
        path = folder / f"{split}_32x32.mat"
        marked = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        scipy.io.savemat(path, {"X": pixels.transpose(1, 2, 3, 0), "y": marked})
        lists[split] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
        written |= {f"{split}_images": pixels, f"{split}_labels": labels}
    patch.setattr(torchvision_datasets().SVHN, "split_list", lists)
    return written


def check(arrays: Arrays, written: Written, folder: Path) -> None:
    for name in NAMES:
        assert np.array_equal(written[name], getattr(arrays, name))
    assert arrays.train_images.dtype == np.uint8
    assert arrays.train_labels.dtype == np.int64
    assert write_arrays(arrays, folder).train == TRAIN


def test_cifar10_is_read_from_its_batches(
    tmp_path: Path, rng: np.random.RandomState, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = cifar(tmp_path, rng, monkeypatch, "CIFAR10", 10)
    arrays = BUILTIN["cifar10"](tmp_path, False)
    check(arrays, written, tmp_path)
    assert arrays.class_names is not None
    assert arrays.class_names[3] == "class 3"


def test_cifar100_is_read_with_its_fine_labels(
    tmp_path: Path, rng: np.random.RandomState, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = cifar(tmp_path, rng, monkeypatch, "CIFAR100", 100)
    arrays = BUILTIN["cifar100"](tmp_path, False)
    check(arrays, written, tmp_path)
    assert arrays.class_names is not None
    assert len(arrays.class_names) == 100


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_digits_and_clothes_are_read_and_padded_to_32(
    tmp_path: Path, rng: np.random.RandomState, name: str, kind: str
) -> None:
    written = mnist(tmp_path, rng, kind)
    check(BUILTIN[name](tmp_path, False), written, tmp_path)


def test_svhn_is_read_with_zero_as_zero(
    tmp_path: Path, rng: np.random.RandomState, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = svhn(tmp_path, rng, monkeypatch)
    check(BUILTIN["svhn"](tmp_path, False), written, tmp_path)


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_needs_no_files(tmp_path: Path, name: str) -> None:
    assert len(BUILTIN[name](tmp_path / "nowhere", False).train_images) == 2000


@pytest.mark.parametrize("name", sorted(set(BUILTIN) - set(GENERATED)))
def test_missing_files_are_said_with_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetUnavailable) as caught:
        BUILTIN[name](tmp_path, False)
    for hint in (str(tmp_path), "HUBEL_DATA_DIR", "HUBEL_ALLOW_DOWNLOAD", "/v1/datasets/"):
        assert hint in caught.value.detail


@pytest.mark.parametrize("name", sorted(set(BUILTIN) - set(GENERATED)))
def test_a_failing_download_is_said_with_what_to_do(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(kind: Any, value: Any) -> None:
        monkeypatch.setattr(getattr(torchvision_datasets(), kind), *value)

    # Port 9 of this machine: refused at once, everywhere.
    here = "http://127.0.0.1:9/"
    nobody("CIFAR10", ("url", f"{here}cifar-10-python.tar.gz"))
    nobody("CIFAR100", ("url", f"{here}cifar-100-python.tar.gz"))
    nobody("MNIST", ("mirrors", [here]))
    nobody("FashionMNIST", ("mirrors", [here]))
    lists = {split: [here + split, f"{split}.mat", "0" * 32] for split in ("train", "test")}
    nobody("SVHN", ("split_list", lists))
    with pytest.raises(DatasetUnavailable, match="the download failed") as caught:
        BUILTIN[name](tmp_path / "made", True)
    assert "HUBEL_ALLOW_DOWNLOAD" in caught.value.detail


def test_a_download_is_unpacked_from_an_archive_that_is_there(
    tmp_path: Path, rng: np.random.RandomState, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = mnist(tmp_path, rng, "MNIST")
    resources = []
    for path in sorted((tmp_path / "MNIST" / "raw").iterdir()):
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        resources.append((packed.name, hashlib.md5(packed.read_bytes()).hexdigest()))
        path.unlink()
    monkeypatch.setattr(torchvision_datasets().MNIST, "resources", resources)
    check(BUILTIN["mnist"](tmp_path, True), written, tmp_path)


@pytest.mark.parametrize("spoil", [lambda d: d[:-5], lambda d: b"\x00\x00\x08\x09" + d[4:]])
def test_damaged_files_are_said(
    tmp_path: Path, rng: np.random.RandomState, spoil: Callable[[bytes], bytes]
) -> None:
    mnist(tmp_path, rng, "MNIST")
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DatasetUnavailable, match="MNIST"):
        BUILTIN["mnist"](tmp_path, False)


def test_each_data_set_of_the_catalog_has_a_loader() -> None:
    assert list(CATALOG) == list(BUILTIN)


def test_the_spec_takes_every_name_of_the_catalog() -> None:
    for name, known in CATALOG.items():
        assert Dataset(name=name).name == name
        assert all(len(stat) == known.shape[2] for stat in (known.mean, known.std) if stat)


@pytest.mark.parametrize("name", GENERATED)
def test_the_catalog_knows_what_is_generated(tmp_path: Path, name: str) -> None:
    known, summary = CATALOG[name], write_arrays(BUILTIN[name](tmp_path, False), tmp_path)
    assert (known.shape, known.classes) == (summary.shape, summary.classes)
    assert (known.train, known.test) == (summary.train, summary.test)
