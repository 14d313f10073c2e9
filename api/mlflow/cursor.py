"""How far one experiment is mirrored: what the MLflow server holds of each of its runs.

The object in the store saves asking. What the server itself says is believed over it: whoever takes
an experiment up, or has lost an answer, asks before anything is sent.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from api.mlflow.words import RUN
from shared import names
from shared.errors import Corrupt, NotFound
from shared.storage import Storage

NOTHING: dict[str, Any] = {"runs": {}, "ended": False}
RUNNING, DELETED = "RUNNING", "DELETED"


@dataclass
class Held:
    """What the server holds of one run."""

    id: str
    """MLflow's."""
    status: str = RUNNING
    """DELETED: by somebody there. It is left alone."""
    sent: dict[str, int] = field(default_factory=dict)
    """Of each metric the epoch of its last point."""


@dataclass
class Cursor:
    runs: dict[int, Held] = field(default_factory=dict)
    ended: bool = False
    """All of it is there, and nothing more will come."""
    confirmed: bool = False
    """By the server, to this process, which lost no answer since."""
    params: dict[int, set[str]] = field(default_factory=dict)
    """Those that are there of each run; known once this is confirmed."""
    written: dict[str, Any] = field(default_factory=lambda: NOTHING)
    """As it stands in the store."""

    @classmethod
    def read(cls, store: Storage, id: str) -> "Cursor":
        try:
            stored = store.read_json(names.mirror(id))
            runs = {int(index): Held(**held) for index, held in stored["runs"].items()}
            return cls(runs, bool(stored["ended"]), written=dict(stored))
        except (NotFound, Corrupt):  # the server knows it too
            return cls()

    def write(self, store: Storage, id: str) -> None:
        """Where it says something new."""
        if (found := self._stored()) != self.written:
            store.write_json(names.mirror(id), found)
            self.written = found

    def _stored(self) -> dict[str, Any]:
        runs = {str(index): asdict(held) for index, held in sorted(self.runs.items())}
        return {"runs": runs, "ended": self.ended}

    def confirm(self, found: Iterable[dict[str, Any]]) -> list[str]:
        """Take what the server says. Returns ids of runs to delete: two processes that both took
        themselves for the only one may each have made one, and both keep the same."""
        several: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for run in found:
            said = _read(run["data"].get("tags", [])).get(RUN, "")
            if said.isascii() and said.isdigit():
                several[int(said)].append(run)
        self.runs, self.params, surplus = {}, {}, []
        for index, candidates in several.items():
            candidates.sort(key=lambda run: (_is_deleted(run), run["info"]["run_id"]))
            first, *others = candidates
            self.runs[index] = _held(first)
            self.params[index] = set(_read(first["data"].get("params", [])))
            surplus += [run["info"]["run_id"] for run in others if not _is_deleted(run)]
        self.confirmed = True
        return surplus


def _held(run: dict[str, Any]) -> Held:
    last = {one["key"]: int(one.get("step", 0)) for one in run["data"].get("metrics", [])}
    status = DELETED if _is_deleted(run) else run["info"]["status"]
    return Held(run["info"]["run_id"], status, last)


def _is_deleted(run: dict[str, Any]) -> bool:
    return bool(run["info"].get("lifecycle_stage") == "deleted")


def _read(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in pairs}
