"""Stored segments end to end: how much of a run's path the store holds already."""

from collections.abc import Collection
from typing import Any, Protocol

from pydantic import BaseModel

from shared.probe import Probe
from shared.schedule import Config, Stretch


class Manifest(BaseModel):
    """The record that makes a segment done. `key` names the state after its last epoch."""

    key: str
    parent: str
    start: int
    end: int
    checkpoint: str
    metrics: str
    provenance: dict[str, Any]
    measured: list[tuple[int, str]] = []
    """(epoch, probe digest) of what was measured on the way. More may have been added later."""


class Stored(Protocol):
    """What planning asks of the store."""

    def manifest(self, scope: str, key: str) -> Manifest | None: ...
    def covering(self, scope: str, key: str) -> str | None:
        """The end key of a stored segment that ends in this state, or else passes through it."""

    def begun(self, scope: str, key: str) -> bool:
        """Whether a segment is stored, or was about to be, whose first epoch ends in this state."""

    def probed(self, scope: str, key: str) -> Collection[str]:
        """Digests of the probes that this state was measured with."""


class Remembered:
    """A store whose answers are kept, the negative ones too: for one plan, not longer."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._answers: dict[tuple[str, ...], Any] = {}

    def manifest(self, scope: str, key: str) -> Manifest | None:
        found: Manifest | None = self._ask("manifest", scope, key)
        return found

    def covering(self, scope: str, key: str) -> str | None:
        found: str | None = self._ask("covering", scope, key)
        return found

    def begun(self, scope: str, key: str) -> bool:
        return bool(self._ask("begun", scope, key))

    def probed(self, scope: str, key: str) -> Collection[str]:
        found: Collection[str] = self._ask("probed", scope, key)
        return found

    def _ask(self, question: str, *about: str) -> Any:
        if (question, *about) not in self._answers:
            self._answers[question, *about] = getattr(self._stored, question)(*about)
        return self._answers[question, *about]


class Path(BaseModel):
    """One run before it is cut: its timeline and the names of all its states."""

    index: int
    scope: str = ""
    """Of the names of its states: "" is shared."""
    variant: str | None
    base: str | None = None
    control: str | None = None
    point: dict[str, Any]
    seed: int
    config: Config
    stretches: list[Stretch]
    windows: list[dict[str, Any]]
    changes: list[dict[str, Any]] = []
    pruning: dict[str, Any] = {}
    keys: list[str]
    probes: list[tuple[int, Probe, str]] = []
    """(epoch, probe, digest)"""
    needs: dict[str, tuple[str, str]] = {}
    """Digest of a probe -> (scope, key) of another run's state that it looks at too."""
    checkpoints: list[int] = []

    @property
    def epochs(self) -> int:
        return len(self.keys) - 1


def stored_chain(path: Path, cuts: set[str], stored: Stored) -> list[Manifest]:
    """Stored segments, end to end from epoch 0, that cover as much of the path as there is."""
    epoch_of = {key: epoch for epoch, key in enumerate(path.keys)}
    chain: list[Manifest] = []
    reached = 0
    while reached < path.epochs:
        found = _stored_step(path, reached, epoch_of, cuts, stored)
        if found is None:
            break
        joined = _join(chain, found, stored, path.scope)
        if joined is None:
            break
        chain, reached = joined, found.end
    return chain


def _stored_step(
    path: Path, reached: int, epoch_of: dict[str, int], cuts: set[str], stored: Stored
) -> Manifest | None:
    """A stored segment that ends on the path beyond `reached`. The next cut is the likeliest; any
    other is found by following what the store knows of the states in between. Most runs are new:
    one question tells."""
    scope = path.scope
    if reached == 0 and not stored.begun(scope, path.keys[1]):
        return None
    following = next(e for e in range(reached + 1, path.epochs + 1) if path.keys[e] in cuts)
    manifest = stored.manifest(scope, path.keys[following])
    if manifest is not None:
        return manifest
    for epoch in range(reached + 1, path.epochs + 1):
        end = stored.covering(scope, path.keys[epoch])
        if end is None:
            return None
        if epoch_of.get(end, -1) > reached:
            return stored.manifest(scope, end)
    return None


def _join(
    chain: list[Manifest], last: Manifest, stored: Stored, scope: str
) -> list[Manifest] | None:
    """`chain` extended to `last`, whose own ancestors may have been cut at other epochs."""
    head, tail = list(chain), [last]
    while (head[-1].end if head else 0) != tail[0].start:
        if head and head[-1].end > tail[0].start:
            head.pop()
            continue
        parent = stored.manifest(scope, tail[0].parent)
        if parent is None:
            return None
        tail.insert(0, parent)
    return head + tail
