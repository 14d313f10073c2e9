"""Whether each data set's name leads to whole arrays."""

from collections.abc import Iterator

from pydantic import ValidationError

from shared import dataset_store, names
from shared.arrays import Summary
from shared.errors import Corrupt, Invalid, NotFound
from shared.findings import ASKED, DAMAGED, MISSING, Finding, Mend
from shared.inspection import Inspection
from shared.storage import Entry

ADVICE = "PUT the same images to /v1/datasets/ again; a built-in one is prepared again by itself"


class Datasets:
    """`quick`: that the arrays are there and as long as they were, not what they hold."""

    def __init__(self, inspection: Inspection, quick: bool) -> None:
        self.inspection, self.quick = inspection, quick
        self.store = inspection.store
        self._finding = inspection.report.finding

    def findings(self) -> Iterator[Finding]:
        for kind, look in (("dataset", self._pointer), ("dataset manifest", self._manifest)):
            for entry in self.store.entries(names.DATASETS):
                parts = names.parts(entry.name)
                if parts.kind == kind:
                    yield from look(entry, parts.word or parts.key)

    def _pointer(self, entry: Entry, name: str) -> Iterator[Finding]:
        try:
            digest = self.inspection.json(entry)["digest"]
            target = names.dataset_object(digest, dataset_store.MANIFEST)
        except (Corrupt, Invalid, KeyError, TypeError) as error:
            mend = self._removal(entry.name)
            yield self.inspection.damaged(entry, error, f"the digest of its arrays: {ADVICE}", mend)
            return
        if self.inspection.is_gone(target):
            yield self._finding(
                MISSING, target, f"nothing, although data set '{name}' points here",
                f"a manifest of its arrays. With repair the name is removed: {ADVICE}",
                self._removal(entry.name),
            )  # fmt: skip

    def _manifest(self, entry: Entry, digest: str) -> Iterator[Finding]:
        try:
            summary = Summary.model_validate(self.inspection.json(entry))
        except (Corrupt, ValidationError) as error:
            expected = f"a manifest of four arrays. With repair it is removed: {ADVICE}"
            yield self.inspection.damaged(entry, error, expected, self._removal(entry.name))
            return
        for file, stored in summary.files.items():
            yield from self._file(names.dataset_object(digest, f"{file}.npy"), stored.bytes,
                                  stored.sha256, entry.name)  # fmt: skip

    def _file(self, name: str, size: int, sha256: str, manifest: str) -> Iterator[Finding]:
        """With a part damaged the manifest goes as well: the data set counts as not prepared."""
        try:
            found = self._found(name, size, sha256)
        except NotFound:
            found = "nothing"
        if found is not None:
            yield self._finding(
                MISSING if found == "nothing" else DAMAGED, name, found,
                f"{size} bytes with the digest {sha256}. With repair what is left of it and its"
                f" manifest are removed: {ADVICE}",
                self._removal(name, manifest),
                bytes=size,
            )  # fmt: skip

    def _found(self, name: str, size: int, sha256: str) -> str | None:
        """None where it is as it should be."""
        entry = self.store.entry(name)
        if entry.bytes != size:
            return f"{entry.bytes} bytes"
        digest = sha256 if self.quick else self.inspection.digest(entry, sha256)
        return None if digest == sha256 else f"{size} bytes with the digest {digest}"

    def _removal(self, *damaged: str) -> Mend:
        """So that whoever stores it again does not take it for being there."""

        def mend() -> str:
            for name in damaged:
                self.store.remove(name)
            return ASKED

        return mend
