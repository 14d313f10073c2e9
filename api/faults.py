"""What FastAPI found wrong with parameters -> faults that name the parameter."""

from collections.abc import Sequence
from typing import Any

from shared.errors import Fault
from shared.faults import message_of, pointer


def parameter_faults(errors: Sequence[Any]) -> list[Fault]:
    """/query/NAME, /path/NAME, /header/NAME; one of several values stands for its parameter."""
    return [_fault(error, error["loc"][:2]) for error in errors]


def _fault(error: Any, place: Sequence[str | int]) -> Fault:
    return Fault(pointer(place), error["type"], f"{place[-1]}: {message_of(error)}")
