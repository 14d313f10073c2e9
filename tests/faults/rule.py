"""Which requests to the store a fault hits, and when: before the store hears of one, or after it
has answered and nobody has been told."""

import re
import time
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["before", "after"]
BEFORE: Phase = "before"
AFTER: Phase = "after"
WRITES = ("PUT", "DELETE", "POST")

_IDS = re.compile(r"[0-9a-f]{12,}(-[0-9a-f]{12,})?(-\d{15,})?")
_ALONE = re.compile(r"^experiments/\*/alone/\w+/")


@dataclass(frozen=True)
class Call:
    """One request to the store."""

    method: str
    name: str
    """Of the object; of what a listing asks for, its prefix."""
    pid: int | None
    """Who sent it."""
    who: str = ""
    """What that is: api, worker-1, ...; "" for whoever is none of ours."""
    at: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> str:
        """The name without ids: what sort of object this is, whoever's."""
        return _ALONE.sub("", _IDS.sub("*", self.name))

    @property
    def is_write(self) -> bool:
        return self.method in WRITES


@dataclass
class Rule:
    """`action` for the requests that match, the `nth` of them first, `times` of them."""

    action: str
    phase: Phase
    method: str = "|".join(WRITES)
    kind: str = ".*"
    who: str = ".*"
    """Regular expressions, these three, which have to match from end to end."""
    nth: int = 1
    times: int | None = 1
    """None: every one from the nth on, until the rule is lifted."""
    argument: float = 0
    """Of the action: a status, bytes a second, the place of a bit as a share of the body."""
    hits: list[Call] = field(default_factory=list)
    _seen: int = 0

    def takes(self, call: Call, phase: Phase) -> bool:
        if phase != self.phase or not self._matches(call):
            return False
        self._seen += 1
        if self._seen < self.nth or (self.times is not None and len(self.hits) >= self.times):
            return False
        self.hits.append(call)
        return True

    @property
    def is_spent(self) -> bool:
        return self.times is not None and len(self.hits) >= self.times

    def _matches(self, call: Call) -> bool:
        return bool(
            re.fullmatch(self.method, call.method)
            and re.fullmatch(self.kind, call.kind)
            and re.fullmatch(self.who, call.who)
        )
