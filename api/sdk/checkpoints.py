"""The stored states of an experiment's runs, as files and as arrays."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from api import connection
from api.sdk.errors import needed, no_answer, refused
from api.sdk.http import Http, whole

Json = dict[str, Any]


class Checkpoints:
    _http: Http
    _path: str

    def checkpoints(self) -> list[Json]:
        """Each with its key, epoch, runs and sha256."""
        pages = self._http.pages(f"{self._path}/checkpoints", "checkpoints", page_size=1000)
        return [state for page in pages for state in page["checkpoints"]]

    def download(self, path: str | Path, run: int = 0, epoch: int | None = None) -> Path:
        """The safetensors file of a run after so many epochs (None: at its end), verified."""
        state = self._state(run, epoch)
        link = self._http.get(state["links"]["self"])["link"]
        target, digest = Path(path), hashlib.sha256()
        with whole(target) as file:
            for piece in _pieces(link):
                digest.update(piece)
                file.write(piece)
            if digest.hexdigest() != state["sha256"]:
                raise OSError(
                    f"What was downloaded for {target.name} is not what was stored: again"
                )
        return target

    def weights(self, run: int = 0, epoch: int | None = None) -> dict[str, Any]:
        """The same as numpy arrays by name. Needs safetensors."""
        load = needed("safetensors.numpy").load_file
        with tempfile.TemporaryDirectory() as folder:
            found: dict[str, Any] = load(self.download(Path(folder, "state"), run, epoch))
        return found

    def _state(self, run: int, epoch: int | None) -> Json:
        states = [state for state in self.checkpoints() if run in state["runs"]]
        epochs = sorted(state["epoch"] for state in states)
        wanted = epochs[-1] if epoch is None and epochs else epoch
        for state in states:
            if state["epoch"] == wanted:
                return state
        at = ", ".join(map(str, epochs)) or "no epoch yet"
        raise LookupError(f"run {run} has no checkpoint at epoch {wanted}: it has them at {at}")


def _pieces(link: str) -> Iterator[bytes]:
    """From the object store itself, which is not to see the service's token."""
    try:
        with connection.opened("", None) as http, http.stream("GET", link) as response:
            if response.status_code >= 400:
                response.read()
                raise refused(response)
            yield from response.iter_bytes()
    except httpx.RequestError as error:
        raise no_answer("the object store", error) from error
