"""What a check of the store finds, one record each, and what was made of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from shared.errors import HubelError, StoreUnavailable

DAMAGED, MISSING, INCONSISTENT = "damaged", "missing", "inconsistent"
"""Bytes that do not verify or say nothing; named but not there; two objects that disagree."""
ORPHAN, UNFINISHED, GARBAGE = "orphan", "unfinished", "garbage"
"""Nothing names it; begun and left; a checkpoint that nothing needs."""
DAMAGE = frozenset({DAMAGED, MISSING, INCONSISTENT})

NONE, REBUILT, REMOVED = "none", "rebuilt", "removed"
ASKED = "asked"
"""A worker will train or measure it again; until then it is as it was."""
IMPOSSIBLE = "impossible"

Mend = Callable[[], str]
"""Does something about a finding, and says which of these actions it was."""


@dataclass(frozen=True)
class Finding:
    kind: str
    object: str
    found: str
    expected: str
    action: str = NONE
    bytes: int = 0

    def shown(self) -> dict[str, Any]:
        return {"type": "finding", **asdict(self)}


@dataclass
class Tally:
    """Counts and bytes of one check."""

    objects: int = 0
    bytes: int = 0
    """Of the objects whose contents were read."""
    unsigned: int = 0
    """JSON objects from before they carried a digest of their own."""
    kinds: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    found_bytes: Counter[str] = field(default_factory=Counter)
    """By kind of finding."""
    damaged: int = 0
    unrepaired: int = 0
    """Damage that is still there: nothing was done, or a worker has yet to do it."""

    def count(self, finding: Finding) -> None:
        self.kinds[finding.kind] += 1
        self.actions[finding.action] += 1
        self.found_bytes[finding.kind] += finding.bytes
        if finding.kind in DAMAGE:
            self.damaged += 1
            self.unrepaired += finding.action not in (REBUILT, REMOVED)

    def shown(self) -> dict[str, Any]:
        return {k: dict(v) if isinstance(v, Counter) else v for k, v in vars(self).items()}


@dataclass
class Report:
    """Makes findings: mends where that is wanted, and counts."""

    repair: bool = False
    tally: Tally = field(default_factory=Tally)

    def finding(
        self,
        kind: str,
        object: str,
        found: str,
        expected: str,
        mend: Mend | None = None,
        bytes: int = 0,
    ) -> Finding:
        """Damage without a `mend` is impossible to repair here."""
        action = NONE
        if self.repair and mend is not None:
            action = self._mended(mend)
        elif mend is None and kind in DAMAGE:
            action = IMPOSSIBLE
        return self.noted(kind, object, found, expected, action, bytes)

    def noted(
        self, kind: str, object: str, found: str, expected: str, action: str, bytes: int
    ) -> Finding:
        made = Finding(kind, object, found, expected, action, bytes)
        self.tally.count(made)
        return made

    def _mended(self, mend: Mend) -> str:
        try:
            return mend()
        except StoreUnavailable:
            raise
        except HubelError:
            return IMPOSSIBLE
