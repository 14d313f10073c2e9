"""One page of the list of experiments: those that match, and those of which nobody can tell."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from shared import names
from shared.errors import Corrupt, HubelError, NotFound, TooNew
from shared.spec import ExperimentSpec

if TYPE_CHECKING:
    from api.service import Service

LOOKED_AT = 500
"""Experiments that one page of a filtered list looks at, at most."""
UNREADABLE = (Corrupt, NotFound, TooNew)
"""Of one experiment; what else goes wrong would go wrong with the next one too."""

Status = dict[str, Any]


@dataclass
class Page:
    experiments: list[Status] = field(default_factory=list)
    unreadable: list[dict[str, str]] = field(default_factory=list)
    """Id and what was found of each that cannot be read, whatever the filter."""
    last: str | None = None
    """The index entry after which the next page starts; None after the last page."""


@dataclass(frozen=True)
class Filter:
    state: str | None = None
    tags: Sequence[str] = ()
    """Each "key:value"."""
    name: str | None = None


def page(service: "Service", size: int, token: str | None, wanted: Filter) -> Page:
    """Newest first. `token` is the index entry after which the page starts. A page may be short,
    even empty, with more behind it: filters look at a bounded number of experiments."""
    made, entries = Page(), islice(service.index.entries(token), LOOKED_AT + 1)
    looked_at = 0
    while some := list(islice(entries, size)):
        if len(made.experiments) == size:
            return made
        found = _found(service, [names.experiment_of(entry) for entry in some], wanted)
        for entry in some:
            if len(made.experiments) == size or looked_at == LOOKED_AT:
                return made
            made.last, looked_at = entry, looked_at + 1
            _add(made, found.get(names.experiment_of(entry)), names.experiment_of(entry), wanted)
    made.last = None
    return made


def _add(made: Page, found: Status | HubelError | None, id: str, wanted: Filter) -> None:
    if isinstance(found, HubelError):
        made.unreadable.append({"id": id, "detail": found.detail})
    elif found is not None and wanted.state in (None, found["state"]):
        made.experiments.append(found)


def _found(service: "Service", ids: list[str], wanted: Filter) -> dict[str, Status | HubelError]:
    """Of those that match the status, or why there is none."""
    found: dict[str, Status | HubelError] = {}
    matching = []
    for id in ids:
        if id in service.deletion:  # of late: the list that is kept in memory has it
            continue
        try:
            if _is_named(service.accepted(id).spec, wanted):
                matching.append(id)
        except UNREADABLE as error:
            found[id] = error
    if wanted.tags:
        said = zip(matching, service.remarks.many(matching), strict=True)
        matching = [id for id, one in said if _has(one["tags"], wanted.tags)]
    found |= zip(matching, service.statuses.many(matching, UNREADABLE), strict=True)
    for id, one in found.items():
        if isinstance(one, Corrupt):
            service.damage.met(id)
    return found


def _is_named(spec: ExperimentSpec, wanted: Filter) -> bool:
    return wanted.name is None or wanted.name.lower() in spec.name.lower()


def _has(tags: dict[str, str], wanted: Sequence[str]) -> bool:
    return {f"{key}:{value}" for key, value in tags.items()} >= set(wanted)
