"""Built-in data sets into the store, and any data set out of it."""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared import dataset_store, names
from shared.arrays import NAMES, Arrays, Summary, load, write_arrays
from shared.datasets import CATALOG
from shared.errors import Corrupt, DataDamaged, DatasetUnavailable, NotFound
from shared.scratch import FETCH, PREPARE, Folder
from shared.settings import Settings
from shared.storage import READS, Storage
from worker.datasets import BUILTIN

Tick = Callable[[], None]
log = logging.getLogger(__name__)


def prepare(name: str, store: Storage, settings: Settings) -> Summary:
    """Decode a built-in data set, store it by its digest, and let the name point there for ever.
    Again where what is stored of it does not verify."""
    try:
        return dataset_store.find(name, store).summary
    except (NotFound, DataDamaged):
        if name not in BUILTIN:
            raise
    with _made(name, settings) as (summary, folder):
        dataset_store.keep(summary, folder, store)
    dataset_store.point_once(name, summary, store)
    return dataset_store.find(name, store).summary


@contextmanager
def _made(name: str, settings: Settings) -> Iterator[tuple[Summary, Path]]:
    arrays = BUILTIN[name](settings.data_dir, settings.allow_download)
    with Folder(settings.scratch, PREPARE) as folder:
        summary = write_arrays(arrays, folder)
        _check_whole(name, summary)
        yield summary, folder


def _check_whole(name: str, summary: Summary) -> None:
    known = CATALOG[name]
    expected = (known.shape, known.classes, known.train, known.test)
    found = (summary.shape, summary.classes, summary.train, summary.test)
    if found != expected:
        raise DatasetUnavailable(
            f"The files of '{name}' hold {_described(found)}; the data set of this name has "
            f"{_described(expected)}: put the whole files there, or PUT yours by another name"
        )


def _described(facts: tuple[tuple[int, int, int], int, int, int]) -> str:
    shape, classes, train, test = facts
    sides = "x".join(map(str, shape))
    return f"{train} + {test} images of {sides} in {classes} classes"


def make_again(name: str, digest: str, store: Storage, settings: Settings, found: str) -> None:
    """What does not verify in the store. DataDamaged where that does not give the same."""
    if name not in BUILTIN:
        raise _users_own(name, digest, store, found)
    log.error("data set %s (%s) is made again: %s", name, digest, found)
    try:
        with _made(name, settings) as (summary, folder):
            if summary.digest == digest:
                dataset_store.keep(summary, folder, store)
                return
            made = f"its files now give {summary.digest}"
    except DatasetUnavailable as error:
        made = error.detail
    raise DataDamaged(
        f"Data set '{name}' ({digest}) is damaged in the store ({found}) and cannot be made again:"
        f" {made}"
    )


def _users_own(name: str, digest: str, store: Storage, found: str) -> DataDamaged:
    """`name` may mean other arrays by now, or nothing."""
    others = dataset_store.names_of(digest, store)
    now = f"now named {', '.join(map(repr, others))}" if others else "no name means it now"
    return DataDamaged(
        f"Data set '{name}' with the digest {digest} ({now}) is damaged in the store ({found}), and"
        f" only you have it: PUT the same images to /v1/datasets/{others[0] if others else name}"
        " again, and it goes on; where it has failed by then, retry goes on from there"
    )


def fetch(digest: str, store: Storage, cache: Path, tick: Tick = lambda: None) -> Arrays:
    """The arrays of a stored data set, verified, by way of the local folder `cache`.

    Processes may share `cache`: a data set appears there whole or not at all. `tick` is called as
    it comes in: however slowly that is, it is no hang.
    """
    summary = dataset_store.manifest(digest, store)
    folder = cache / digest
    if not _verifies(folder, summary):
        _download(summary, store, folder, tick)
    return load(folder)


def _verifies(folder: Path, summary: Summary) -> bool:
    try:
        return all(_sha(folder / f"{n}.npy") == summary.files[n].sha256 for n in NAMES)
    except FileNotFoundError:
        return False


def _download(summary: Summary, store: Storage, folder: Path, tick: Tick) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Folder(folder.parent, FETCH) as passing:
        fresh = passing / "arrays"
        fresh.mkdir()
        for name in NAMES:
            _read_checked(name, summary, store, fresh / f"{name}.npy", tick)
        _replace(fresh, folder, summary)


def _read_checked(name: str, summary: Summary, store: Storage, path: Path, tick: Tick) -> None:
    """What arrives damaged is asked for again: it may have happened on the way."""
    source, expected = names.dataset_object(summary.digest, path.name), summary.files[name].sha256
    for _ in range(READS):
        store.read_file(source, path, tick)
        if (found := _sha(path)) == expected:
            return
    raise Corrupt(f"Object {source!r} has the digest {found}, its manifest says {expected}")


def _replace(fresh: Path, folder: Path, summary: Summary) -> None:
    try:
        os.rename(fresh, folder)
    except OSError:
        if _verifies(folder, summary):  # another process was quicker
            return
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(fresh, folder)


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
