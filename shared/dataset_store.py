"""Data sets in the object store: four files and a manifest by digest, and names that point."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from shared import names
from shared.arrays import NAMES, Summary
from shared.errors import Corrupt, DataDamaged, Invalid, NotFound
from shared.storage import Storage

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Named:
    """What a name points to, with the names of its classes."""

    name: str
    created: str
    summary: Summary


def keep(summary: Summary, folder: Path, store: Storage) -> None:
    """Store the files in `folder`, the manifest last. What is there and whole is not sent again."""
    for name in NAMES:
        file = f"{name}.npy"
        target = names.dataset_object(summary.digest, file)
        if not _verifies(target, summary.files[name].sha256, store):
            store.write_file(target, folder / file)
    # By content only: two uploads of the same arrays may name their classes differently.
    content = summary.model_copy(update={"class_names": None})
    # Also where there is one: it may be damaged, and what was written just now is not collected.
    target = names.dataset_object(summary.digest, MANIFEST)
    store.write_json(target, content.model_dump(mode="json"))
    # A collection that looked before the manifest was written may have removed the rest since.
    for name in NAMES:
        file = names.dataset_object(summary.digest, f"{name}.npy")
        if not store.exists(file):
            store.write_file(file, folder / f"{name}.npy")


def manifest(digest: str, store: Storage) -> Summary:
    """Corrupt where it does not verify."""
    target = names.dataset_object(digest, MANIFEST)
    try:
        return Summary.model_validate(store.read_json(target))
    except ValidationError as error:
        raise Corrupt(f"Object {target!r} is no manifest of a data set: {error}") from error


def point(name: str, summary: Summary, store: Storage) -> bool:
    """Let `name` mean these arrays from now on; False where it already did."""
    try:
        found = find(name, store)
    except (NotFound, Corrupt):
        found = None
    if found is not None and found.summary == summary:
        return False
    store.write_json(names.dataset_pointer(name), _pointer(summary))
    return True


def point_once(name: str, summary: Summary, store: Storage) -> bool:
    """The same for a name that never changes its meaning; False where it had one."""
    target = names.dataset_pointer(name)
    if store.create_json(target, _pointer(summary)):
        return True
    try:
        pointed(name, store)
    except Corrupt:
        store.write_json(target, _pointer(summary))
        return True
    return False


def find(name: str, store: Storage) -> Named:
    """NotFound where nothing is stored by this name; DataDamaged where it cannot be read."""
    try:
        digest, created, class_names = pointed(name, store)
        summary = manifest(digest, store)
    except Corrupt as error:
        raise DataDamaged(
            f"Data set '{name}' is damaged in the store ({error.detail}): PUT the same images to"
            f" /v1/datasets/{name} again"
        ) from error
    return Named(name, created, summary.model_copy(update={"class_names": class_names}))


def pointed(name: str, store: Storage) -> tuple[str, str, tuple[str, ...] | None]:
    """What a name says: the digest, since when, and the names of the classes. Corrupt where it
    does not verify."""
    target = names.dataset_pointer(name)
    try:
        said = store.read_json(target)
        class_names = said["class_names"] and tuple(said["class_names"])
        names.dataset_object(said["digest"], MANIFEST)
        return said["digest"], said["created"], class_names
    except (Invalid, KeyError, TypeError) as error:
        raise Corrupt(f"Object {target!r} names no data set: {error}") from error


def stored_names(store: Storage) -> Iterator[str]:
    """Passes over the folder of the data themselves, however much it holds."""
    after: str | None = None
    while True:
        for entry in store.names(names.DATASETS, after):
            folder, slash, _ = entry.removeprefix(names.DATASETS).partition("/")
            if slash:
                after = f"{names.DATASETS}{folder}/~"
                break
            yield folder.removesuffix(".json")
        else:
            return


def names_of(digest: str, store: Storage) -> list[str]:
    """The names that are known to mean these arrays."""
    found = []
    for name in stored_names(store):
        with contextlib.suppress(NotFound, Corrupt):
            if pointed(name, store)[0] == digest:
                found.append(name)
    return found


def _pointer(summary: Summary) -> dict[str, object]:
    return {
        "class_names": summary.class_names and list(summary.class_names),
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "digest": summary.digest,
    }


def _verifies(target: str, sha256: str, store: Storage) -> bool:
    try:
        return store.digest(target) == sha256
    except NotFound:
        return False
