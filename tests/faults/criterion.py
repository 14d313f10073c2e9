"""What a run has to have injected, to say of the service that nothing is lost and nothing wrong."""

from collections.abc import Iterator

from tests.faults.table import Table

FULL_MINUTES = 30
LEAST_FAULTS, LEAST_KINDS, LEAST_AT_PRODUCTION_VALUES = 200, 12, 10


def shortcomings(table: Table, minutes: float, may_skip: bool) -> list[str]:
    """How many faults there have to be holds for the full length, of all kinds."""
    found = [f"{kind}: missed in every round" for kind in table.never_injected]
    if not may_skip:
        found += [f"{kind}: skipped, {why}" for kind, why in table.skipped.items()]
    if not table.total.injected + len(table.skipped):
        found.append("nothing was injected")
    return found + (list(_too_few(table)) if is_full(minutes) else [])


def is_full(minutes: float) -> bool:
    return minutes >= FULL_MINUTES


def _too_few(table: Table) -> Iterator[str]:
    for found, least, what in (
        (table.total.injected, LEAST_FAULTS, "faults"),
        (table.kinds, LEAST_KINDS, "kinds of fault"),
        (table.at_production_values, LEAST_AT_PRODUCTION_VALUES, "faults at production values"),
    ):
        if found < least:
            yield f"{found} {what} were injected, expected {least} at least"
