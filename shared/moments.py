"""Moments as answers and provenance show them: RFC 3339 in UTC, to the millisecond."""

from datetime import UTC, datetime


def shown(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def at(seconds: float) -> str:
    """`seconds` since 1970."""
    return shown(datetime.fromtimestamp(seconds, UTC))


def now() -> str:
    return shown(datetime.now(UTC))
