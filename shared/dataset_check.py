"""Whether each data set's name leads to whole arrays."""

import contextlib
from collections.abc import Iterator

from pydantic import ValidationError

from shared import dataset_store, names
from shared.arrays import Summary
from shared.datasets import CATALOG
from shared.errors import Corrupt, Invalid, NotFound
from shared.findings import ASKED, DAMAGED, MISSING, Finding, Mend
from shared.inspection import Inspection
from shared.storage import Entry

AGAIN = "With repair it is removed, and a worker prepares it again"
PUT = "Only you have it: PUT the same images to /v1/datasets/ again"


class Datasets:
    """`quick`: that the arrays are there and as long as they were, not what they hold."""

    def __init__(self, inspection: Inspection, quick: bool) -> None:
        self.inspection, self.quick = inspection, quick
        self.store = inspection.store
        self._finding = inspection.report.finding
        self._built_in = set(self._of_built_in())

    def _of_built_in(self) -> Iterator[str]:
        """Digests of what can be prepared again. What is a user's own is never removed."""
        for name in CATALOG:
            with contextlib.suppress(Corrupt, NotFound):
                yield dataset_store.pointed(name, self.store)[0]

    def findings(self) -> Iterator[Finding]:
        for kind, look in (("dataset", self._pointer), ("dataset manifest", self._manifest)):
            for entry in self.store.entries(names.DATASETS):
                parts = names.parts(entry.name)
                if parts.kind == kind:
                    yield from look(entry, parts.word or parts.key)

    def _pointer(self, entry: Entry, name: str) -> Iterator[Finding]:
        advice, removal = self._mending(name in CATALOG, entry.name)
        try:
            digest = self.inspection.json(entry)["digest"]
            target = names.dataset_object(digest, dataset_store.MANIFEST)
        except (Corrupt, Invalid, KeyError, TypeError) as error:
            expected = f"the digest of the arrays of '{name}'. {advice}"
            yield self.inspection.damaged(entry, error, expected, removal)
            return
        if self.inspection.is_gone(target):
            yield self._finding(
                MISSING, target, f"nothing, although data set '{name}' points here",
                f"a manifest of its arrays. {advice}", removal,
            )  # fmt: skip

    def _manifest(self, entry: Entry, digest: str) -> Iterator[Finding]:
        advice, removal = self._mending(digest in self._built_in, entry.name)
        try:
            summary = Summary.model_validate(self.inspection.json(entry))
        except (Corrupt, ValidationError) as error:
            expected = f"a manifest of four arrays. {advice}"
            yield self.inspection.damaged(entry, error, expected, removal)
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
            digest = names.parts(manifest).key
            advice, removal = self._mending(digest in self._built_in, name, manifest)
            yield self._finding(
                MISSING if found == "nothing" else DAMAGED, name, found,
                f"{size} bytes with the digest {sha256}. {advice}", removal, bytes=size,
            )  # fmt: skip

    def _found(self, name: str, size: int, sha256: str) -> str | None:
        """None where it is as it should be."""
        entry = self.store.entry(name)
        if entry.bytes != size:
            return f"{entry.bytes} bytes"
        digest = sha256 if self.quick else self.inspection.digest(entry, sha256)
        return None if digest == sha256 else f"{size} bytes with the digest {digest}"

    def _mending(self, is_built_in: bool, *damaged: str) -> tuple[str, Mend | None]:
        """Advice, and the removal of what is damaged where it can be prepared again."""
        if not is_built_in:
            return PUT, None

        def mend() -> str:
            for name in damaged:
                self.store.remove(name)
            return ASKED

        return AGAIN, mend
