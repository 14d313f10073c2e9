"""Data sets on their way through a real object store."""

import asyncio
import io
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api import limits
from api.uploads import receive
from shared import dataset_store, names
from shared.arrays import NAMES, Arrays, Summary, write_arrays
from shared.datasets import CATALOG
from shared.errors import (
    Cancelled,
    Conflict,
    Corrupt,
    DatasetUnavailable,
    Invalid,
    NotFound,
    TooLarge,
)
from shared.settings import Settings
from shared.storage import Storage
from worker.datasets import BUILTIN
from worker.gratings import generate
from worker.preparation import fetch, prepare

pytestmark = pytest.mark.services


def npz(**changes: Any) -> bytes:
    rng = np.random.RandomState(0)
    arrays = {
        "train_images": rng.randint(0, 256, (40, 8, 8, 3), np.uint8),
        "train_labels": np.arange(40) % 4,
        "test_images": rng.randint(0, 256, (8, 8, 8, 3), np.uint8),
        "test_labels": np.arange(8) % 4,
    }
    file = io.BytesIO()
    np.savez(file, **arrays | changes)
    return file.getvalue()


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def always() -> None:
    """Whoever sends it may go on."""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def upload(settings: Settings, storage: Storage, scratch: Path) -> "Upload":
    return Upload(settings.model_copy(update={"scratch_dir": scratch}), storage)


class Upload:
    def __init__(self, settings: Settings, store: Storage) -> None:
        self.settings, self.store = settings, store

    def __call__(
        self, name: str, data: bytes | AsyncIterator[bytes], length: int | None = None
    ) -> tuple[Summary, bool]:
        body = pieces(data) if isinstance(data, bytes) else data
        return asyncio.run(receive(name, body, length, self.store, self.settings, always))


def objects(store: Storage) -> list[str]:
    return list(store.names(names.DATASETS))


# --- uploads -------------------------------------------------------------------------------


def test_an_upload_can_be_trained_on(
    upload: Upload, storage: Storage, tmp_path: Path, scratch: Path
) -> None:
    data = npz()
    summary, new = upload("mine", data)
    assert new
    assert dataset_store.find("mine", storage).summary == summary
    fetched = fetch(summary.digest, storage, tmp_path / "cache")
    with np.load(io.BytesIO(data)) as sent:
        for name in NAMES:
            assert np.array_equal(sent[name], getattr(fetched, name))
    assert list(scratch.iterdir()) == []


def test_a_data_set_that_comes_in_slowly_is_no_hang_and_can_be_given_up(
    upload: Upload, storage: Storage, tmp_path: Path
) -> None:
    images = np.random.RandomState(0).randint(0, 256, (1000, 64, 64, 1), np.uint8)
    summary, _ = upload("mine", npz(train_images=images, train_labels=np.arange(1000) % 4,
                                    test_images=images[:8]))  # fmt: skip
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            raise Cancelled("given up")

    with pytest.raises(Cancelled):
        fetch(summary.digest, storage, tmp_path / "cache", tick)
    assert list((tmp_path / "cache").iterdir()) == []
    fetch(summary.digest, storage, tmp_path / "cache", tick)
    assert len(ticks) >= 3 + images.nbytes >> 20


def test_the_same_upload_again_changes_nothing(upload: Upload, storage: Storage) -> None:
    first, _ = upload("mine", npz())
    before = {name: storage.read(name) for name in objects(storage)}
    assert upload("mine", npz()) == (first, False)
    assert {name: storage.read(name) for name in objects(storage)} == before


def test_two_names_share_what_is_the_same_and_keep_their_own_class_names(
    upload: Upload, storage: Storage
) -> None:
    first, _ = upload("one", npz(classes=np.array(list("abcd"))))
    second, _ = upload("two", npz(classes=np.array(list("wxyz"))))
    assert first.digest == second.digest
    assert dataset_store.find("one", storage).summary.class_names == tuple("abcd")
    assert dataset_store.find("two", storage).summary.class_names == tuple("wxyz")
    assert len(objects(storage)) == 4 + 1 + 2


def test_a_name_can_be_given_to_other_data_and_the_old_data_stay(
    upload: Upload, storage: Storage, tmp_path: Path
) -> None:
    old, _ = upload("mine", npz())
    new, changed = upload("mine", npz(train_labels=np.arange(40) % 5))
    assert changed
    assert dataset_store.find("mine", storage).summary == new
    assert len(fetch(old.digest, storage, tmp_path / "cache").train_labels) == 40


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zip at all",
        npz()[:-100],
        npz(train_labels=np.arange(40) - 1),
        npz(train_labels=np.array([{}] * 40)),
        npz(train_images=np.zeros((40, 8, 8), np.float64)),
    ],
)
def test_nothing_of_a_refused_upload_stays_behind(
    upload: Upload, storage: Storage, scratch: Path, data: bytes
) -> None:
    with pytest.raises(Invalid):
        upload("mine", data)
    assert objects(storage) == []
    assert list(scratch.iterdir()) == []


def test_an_announced_length_is_refused_before_a_byte_is_read(upload: Upload) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    with pytest.raises(TooLarge, match="HUBEL_MAX_DATASET_BYTES"):
        upload("mine", untouched(), upload.settings.max_dataset_bytes + 1)


def test_an_endless_body_is_cut_off(upload: Upload, storage: Storage, scratch: Path) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1 << 16
            yield bytes(1 << 16)

    upload.settings = upload.settings.model_copy(update={"max_dataset_bytes": 3 << 20})
    with pytest.raises(TooLarge):
        upload("mine", endless())
    assert read <= (3 << 20) + (1 << 16)
    assert objects(storage) == []
    assert list(scratch.iterdir()) == []


def test_what_unpacks_to_too_much_is_refused(upload: Upload, scratch: Path) -> None:
    data = io.BytesIO()
    images = np.zeros((100_000, 8, 8, 3), np.uint8)
    np.savez_compressed(data, train_images=images, test_images=images[:2], test_labels=[0, 1],
                        train_labels=np.arange(100_000) % 2)  # fmt: skip
    upload.settings = upload.settings.model_copy(update={"max_dataset_bytes": 4 << 20})
    assert len(data.getvalue()) < 1 << 20
    with pytest.raises(TooLarge, match="unpacks to"):
        upload("mine", data.getvalue())
    assert list(scratch.iterdir()) == []


def test_a_client_that_goes_away_leaves_nothing(
    upload: Upload, storage: Storage, scratch: Path
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield npz()[:2000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        upload("mine", broken())
    assert objects(storage) == []
    assert list(scratch.iterdir()) == []


def test_an_upload_that_stalls_is_ended_and_one_that_is_only_slow_is_not(
    upload: Upload, storage: Storage, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.5)

    async def stalled() -> AsyncIterator[bytes]:
        yield npz()[:2000]
        await asyncio.sleep(60)

    async def slow() -> AsyncIterator[bytes]:
        async for piece in pieces(npz(), 2500):
            await asyncio.sleep(0.1)
            yield piece

    with pytest.raises(limits.TooSlow, match="No byte"):
        upload("mine", stalled())
    assert objects(storage) == []
    assert list(scratch.iterdir()) == []
    _, is_new = upload("mine", slow())
    assert is_new


def test_a_caller_that_is_cancelled_leaves_no_files(upload: Upload, scratch: Path) -> None:
    async def cancelled() -> None:
        body = pieces(npz())
        task = asyncio.create_task(
            receive("mine", body, None, upload.store, upload.settings, always)
        )
        while not any(scratch.glob("*/arrays")):
            await asyncio.sleep(0)
            if task.done():
                return
        task.cancel()

    asyncio.run(cancelled())  # waits for its threads at the end
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "../a", "a\n", ".a", "x" * 65, "é"])
def test_names_that_a_spec_cannot_hold_are_refused(upload: Upload, name: str) -> None:
    with pytest.raises(Invalid, match="cannot name a data set"):
        upload(name, npz())


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_a_built_in_name_cannot_be_taken(upload: Upload, name: str) -> None:
    with pytest.raises(Conflict, match="built in"):
        upload(name, npz())


# --- preparation ---------------------------------------------------------------------------


def test_a_built_in_data_set_is_stored_by_its_digest_and_named_once(
    settings: Settings, storage: Storage, tmp_path: Path
) -> None:
    summary = prepare("gratings", storage, settings)
    assert summary == write_arrays(generate(), tmp_path)
    before = {name: storage.read(name) for name in objects(storage)}
    assert prepare("gratings", storage, settings) == summary
    assert {name: storage.read(name) for name in objects(storage)} == before
    assert np.array_equal(
        fetch(summary.digest, storage, tmp_path / "cache").train_images, generate().train_images
    )


def test_files_that_are_not_the_whole_data_set_are_refused(
    settings: Settings, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILTIN, "gratings", lambda folder, allow_download: generate(64, 64))
    with pytest.raises(DatasetUnavailable, match=r"64 \+ 64 images .* 2000 \+ 1000 images"):
        prepare("gratings", storage, settings)
    assert objects(storage) == []


def test_a_built_in_data_set_without_files_says_what_to_do(
    settings: Settings, storage: Storage
) -> None:
    offline = settings.model_copy(update={"allow_download": False})
    with pytest.raises(DatasetUnavailable, match="HUBEL_DATA_DIR"):
        prepare("cifar10", storage, offline)


def test_a_name_that_nobody_knows_is_not_found(settings: Settings, storage: Storage) -> None:
    with pytest.raises(NotFound):
        prepare("nobody", storage, settings)
    with pytest.raises(NotFound):
        dataset_store.find("nobody", storage)


def test_an_unfinished_store_is_completed(
    settings: Settings, storage: Storage, tmp_path: Path
) -> None:
    summary = prepare("gratings", storage, settings)
    for name in (
        names.dataset_pointer("gratings"),
        names.dataset_object(summary.digest, dataset_store.MANIFEST),
        names.dataset_object(summary.digest, "test_labels.npy"),
    ):
        storage.remove(name)
    assert prepare("gratings", storage, settings) == summary
    assert len(fetch(summary.digest, storage, tmp_path / "cache").test_labels) == 1000


# --- fetching ------------------------------------------------------------------------------


@pytest.fixture
def stored(settings: Settings, storage: Storage) -> Summary:
    return prepare("gratings", storage, settings)


def test_what_was_fetched_is_not_fetched_again(
    stored: Summary, storage: Storage, tmp_path: Path
) -> None:
    fetch(stored.digest, storage, tmp_path / "cache")
    for name in NAMES:
        storage.remove(names.dataset_object(stored.digest, f"{name}.npy"))
    assert len(fetch(stored.digest, storage, tmp_path / "cache").train_labels) == 2000


def test_a_damaged_object_is_never_trained_on(
    stored: Summary, storage: Storage, tmp_path: Path
) -> None:
    target = names.dataset_object(stored.digest, "train_images.npy")
    data = bytearray(storage.read(target))
    data[500] ^= 1
    storage.write(target, bytes(data))
    with pytest.raises(Corrupt, match=r"train_images\.npy"):
        fetch(stored.digest, storage, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("spoil", ["flip", "remove"])
def test_a_damaged_cache_is_fetched_again(
    stored: Summary, storage: Storage, tmp_path: Path, spoil: str
) -> None:
    cache = tmp_path / "cache"
    fetch(stored.digest, storage, cache)
    path = cache / stored.digest / "train_images.npy"
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.unlink()
    if spoil == "flip":
        path.write_bytes(bytes(data))
    whole = fetch(stored.digest, storage, cache)
    assert np.array_equal(whole.train_images, generate().train_images)
    assert [path.name for path in cache.iterdir()] == [stored.digest]


def _fetch(digest: str, settings: Settings, cache: Path) -> Arrays:
    return fetch(digest, Storage(settings), cache)


def test_processes_that_fetch_at_once_all_get_the_whole(
    stored: Summary, settings: Settings, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_fetch, stored.digest, settings, cache) for _ in range(8)]
        for each in waiting:
            assert np.array_equal(each.result().train_images, generate().train_images)
    assert [path.name for path in cache.iterdir()] == [stored.digest]
