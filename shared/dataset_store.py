"""Data sets in the object store: four files and a manifest by digest, and names that point."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shared import names
from shared.arrays import NAMES, Summary
from shared.errors import NotFound
from shared.storage import Storage

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Named:
    """What a name points to, with the names of its classes."""

    name: str
    created: str
    summary: Summary


def keep(summary: Summary, folder: Path, store: Storage) -> None:
    """Store the files in `folder`, the manifest last. Files that are there are not sent again."""
    for name in NAMES:
        file = f"{name}.npy"
        target = names.dataset_object(summary.digest, file)
        if _size(target, store) != summary.files[name].bytes:
            store.write_file(target, folder / file)
    # By content only: two uploads of the same arrays may name their classes differently.
    content = summary.model_copy(update={"class_names": None})
    target = names.dataset_object(summary.digest, MANIFEST)
    store.create_json(target, content.model_dump(mode="json"))


def manifest(digest: str, store: Storage) -> Summary:
    return Summary.model_validate(store.read_json(names.dataset_object(digest, MANIFEST)))


def point(name: str, summary: Summary, store: Storage) -> bool:
    """Let `name` mean these arrays from now on; False where it already did."""
    try:
        found = find(name, store)
    except NotFound:
        found = None
    if found is not None and found.summary == summary:
        return False
    store.write_json(names.dataset_pointer(name), _pointer(summary))
    return True


def point_once(name: str, summary: Summary, store: Storage) -> bool:
    """The same for a name that never changes its meaning; False where it had one."""
    return store.create_json(names.dataset_pointer(name), _pointer(summary))


def find(name: str, store: Storage) -> Named:
    """NotFound where nothing is stored by this name."""
    pointer = store.read_json(names.dataset_pointer(name))
    class_names = pointer["class_names"] and tuple(pointer["class_names"])
    summary = manifest(pointer["digest"], store)
    return Named(name, pointer["created"], summary.model_copy(update={"class_names": class_names}))


def _pointer(summary: Summary) -> dict[str, object]:
    return {
        "class_names": summary.class_names and list(summary.class_names),
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "digest": summary.digest,
    }


def _size(target: str, store: Storage) -> int | None:
    try:
        return store.size(target)
    except NotFound:
        return None
