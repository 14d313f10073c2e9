"""The stored states of an experiment's runs as files named by run and epoch, and a list of them."""

import logging
import tempfile
from collections.abc import Collection, Iterator
from typing import IO, Literal

from api.service import Service
from shared.chain import Manifest
from shared.errors import Corrupt, NotFound
from shared.results import Results, Row

log = logging.getLogger(__name__)

Choice = Literal["none", "final", "all"]
COLUMNS = ["run", "epoch", "key", "sha256", "file", "note"]
NOT_CHOSEN = "not asked for"
COLLECTED = "removed from the store to make room"
DAMAGED = "damaged in the store, to be computed again"
PIECE = 1 << 20

File = tuple[str, IO[bytes]]


class Checkpoints:
    """Those of the segments that are done. `rows` is whole once `files` has been read to its end: a
    state that several runs went through is one file."""

    def __init__(
        self, service: Service, results: Results, done: Collection[int], choice: Choice
    ) -> None:
        self.service, self.results, self.done, self.choice = service, results, done, choice
        self.rows: list[Row] = []
        self._names: dict[tuple[str, str], tuple[str, str]] = {}

    def files(self) -> Iterator[File]:
        for run in self.results.plan.runs:
            for index in run.segments:
                segment = self.results.plan.segments[index]
                if segment.only_measures:
                    continue
                manifest = self.service.records.manifest(segment.scope, segment.key)
                if manifest is None or not (segment.stored or index in self.done):
                    break
                row = {"run": run.index, "epoch": manifest.end, "key": segment.key}
                row |= {"sha256": manifest.checkpoint, "file": None, "note": NOT_CHOSEN}
                if self.choice == "all" or (self.choice == "final" and segment.end == run.epochs):
                    yield from self._file(segment.scope, manifest, row)
                self.rows.append(row)

    def _file(self, scope: str, manifest: Manifest, row: Row) -> Iterator[File]:
        """Once for each state, and what came of it in the row."""
        if (scope, manifest.key) not in self._names:
            name = f"checkpoints/run-{row['run']:03d}-epoch-{manifest.end:04d}.safetensors"
            with tempfile.TemporaryFile(dir=self.service.settings.scratch) as file:
                note = self._fetched(scope, manifest, file)
                self._names[scope, manifest.key] = ("", note) if note else (name, "")
                if not note:
                    yield name, file
        row["file"], row["note"] = self._names[scope, manifest.key]

    def _fetched(self, scope: str, manifest: Manifest, file: IO[bytes]) -> str:
        """Why it is not there; nothing where it is. By way of the disk: what is sent has verified,
        and a slow reader keeps no connection to the store."""
        try:
            self.service.store.read_blob_into(manifest.checkpoint, file)
        except (Corrupt, NotFound) as error:
            if self.service.records.is_collected(scope, manifest):
                return COLLECTED
            log.error("left out of an export: %s", error.detail)
            self.service.damage.met_state(scope, manifest)
            return DAMAGED
        return ""


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(PIECE):
        yield piece
