"""Deficit windows of a timeline that goes on otherwise from an epoch on."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from shared.errors import Fault, Invalid
from shared.faults import body_faults, pointer
from shared.spec import AnyWindow, RunSpec

LONGEST = 100_000

Json = dict[str, Any]


def windows(
    old: Sequence[AnyWindow], epoch: int, given: Any, place: Sequence[str | int]
) -> list[Json]:
    """What acted before `epoch`, cut there, and what is given for the time after. A window that
    goes on where another ended is one with it; `place` is where `given` stands in the body."""
    out = [_dumped(w, min(w.epochs.stop, epoch)) for w in old if w.epochs and w.start < epoch]
    kinds = [w.stimulus() for w in old if w.epochs and w.start < epoch]
    for i, window in enumerate(_read(given, place)):
        before = _continued(window, out, kinds, epoch)
        if before is not None:
            out[before]["end"] = window.epochs.stop
        elif window.start >= epoch:
            out.append(_dumped(window, window.epochs.stop))
            kinds.append(window.stimulus())
        else:
            raise _of_the_past(window, epoch, [*place, i, "start"])
    return out


def _continued(
    window: AnyWindow, out: list[Json], kinds: list[dict[str, Any]], epoch: int
) -> int | None:
    """The place of the window that this one goes on with, or repeats up to the epoch."""
    for i, (other, kind) in enumerate(zip(out, kinds, strict=True)):
        begins = window.start == other["end"] == epoch or (
            window.start == other["start"] < epoch
            and other["end"] == min(window.epochs.stop, epoch)
        )
        if kind == window.stimulus() and begins:
            return i
    return None


def _dumped(window: AnyWindow, end: int) -> Json:
    own = window.model_dump(mode="json", exclude_unset=True, exclude={"length"})
    return own | {"start": window.start, "end": end}


def _read(given: Any, place: Sequence[str | int]) -> list[AnyWindow]:
    # As a timeline of its own: windows that overlap are refused too.
    whole = {"training": {"epochs": LONGEST}, "deficits": [] if given is None else given}
    try:
        return RunSpec.model_validate_json(json.dumps(whole), strict=True).deficits
    except ValidationError as error:
        above = pointer(place)
        faults = [
            Fault(above + fault.pointer.removeprefix("/deficits"), fault.code, fault.message)
            for fault in body_faults(error.errors(include_url=False), whole, RunSpec)
        ]
        raise Invalid(faults[0].message, faults) from None


def _of_the_past(window: AnyWindow, epoch: int, place: Sequence[str | int]) -> Invalid:
    message = (
        f"the {window.name} window [{window.start}, {window.epochs.stop}) would change the past:"
        f" what comes before epoch {epoch} is as it was; let it begin at {epoch} or later"
    )
    return Invalid(message, [Fault(pointer(place), "changes-the-past", message)])
