"""Results as tables: every number of every epoch, long or wide, filtered, paged, as CSV."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared import moments, numbers
from shared.errors import Fault, Invalid
from shared.results import METRICS, Results, Row, identity

Position = tuple[int, int, str]
"""(run, epoch, metric) of the last row of a page; a wide row has the metric ""."""


@dataclass(frozen=True)
class Clock:
    """The experiment's own time: its span divided evenly over the epochs of its longest run."""

    created: datetime
    ended: datetime
    """now, while it runs"""
    epochs: int

    def at(self, epoch: int) -> str:
        moment = self.created + (self.ended - self.created) * (epoch / max(1, self.epochs))
        return moments.shown(moment)


@dataclass(frozen=True)
class Query:
    """Which rows, and what their `time` says."""

    metrics: tuple[str, ...] = METRICS
    runs: frozenset[int] | None = None
    """None: all of them"""
    since: datetime | None = None
    until: datetime | None = None
    clock: Clock | None = None
    """None: `time` is when the epoch was trained, for a reused one before the experiment."""

    def __post_init__(self) -> None:
        for metric in self.metrics:
            if metric not in METRICS:
                message = f"there is no metric {metric[:80]!r}: there are {', '.join(METRICS)}"
                raise Invalid(message, [Fault("metric", "no-such-metric", message)])

    def accepts(self, time: str) -> bool:
        if self.since is None and self.until is None:
            return True
        moment = datetime.fromisoformat(time)
        if self.since is not None and moment < self.since:
            return False
        return self.until is None or moment <= self.until


EVERYTHING = Query()


def clock(results: Results, created: str, ended: str | None) -> Clock:
    """`created` and `ended` as RFC 3339; None: now."""
    end = datetime.now(UTC) if ended is None else datetime.fromisoformat(ended)
    longest = max((run.epochs for run in results.plan.runs), default=0)
    return Clock(datetime.fromisoformat(created), end, longest)


def moment(text: str, parameter: str) -> datetime:
    """A point in time: RFC 3339 with its offset, or milliseconds since 1970."""
    try:
        if text.lstrip("-").isascii() and text.lstrip("-").isdigit():
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found
    except (ValueError, OverflowError, OSError):
        pass
    message = (
        f"'{parameter}' is {text[:80]!r}: expected a time such as 2026-01-31T12:00:00Z, or"
        " milliseconds since 1970"
    )
    raise Invalid(message, [Fault(parameter, "not-a-time", message)])


def metric_rows(
    results: Results, query: Query = EVERYTHING, after: Position | None = None
) -> Iterator[Row]:
    """One flat object for each run, epoch and metric, in that order.

    `after` is the `position` of the last row of the page before. A value that JSON cannot hold is
    null, and `non_finite` says what it was.
    """
    wanted = [metric for metric in METRICS if metric in query.metrics]
    for who, row in _epochs(results, query, after):
        for metric in wanted:
            if after and (who["run"], row["epoch"]) == after[:2] and not _later(metric, after[2]):
                continue
            value, name = _cell(row[metric])
            out = {"time": row["time"], **who, "metric": metric, "epoch": row["epoch"]}
            out["value"] = value
            if name:
                out["non_finite"] = name
            yield out


def wide_rows(
    results: Results, query: Query = EVERYTHING, after: Position | None = None
) -> Iterator[Row]:
    """One object for each run and epoch, with a column for each metric."""
    wanted = [metric for metric in METRICS if metric in query.metrics]
    for who, row in _epochs(results, query, after):
        if after and (who["run"], row["epoch"]) == after[:2]:
            continue
        cells = {metric: _cell(row[metric]) for metric in wanted}
        lost = {metric: name for metric, (_, name) in cells.items() if name}
        out = {"time": row["time"], **who, "epoch": row["epoch"]}
        out |= {"stimulus": words(row["stimulus"])}
        out |= {metric: value for metric, (value, _) in cells.items()}
        yield out | {"reused": row["reused"]} | ({"non_finite": lost} if lost else {})


def position(row: Row) -> Position:
    """Where a page that ends with this row ends."""
    return row["run"], row["epoch"], row.get("metric", "")


def _epochs(results: Results, query: Query, after: Position | None) -> Iterator[tuple[Row, Row]]:
    for run in results.plan.runs:
        if query.runs is not None and run.index not in query.runs:
            continue
        if after and run.index < after[0]:
            continue
        who = identity(run)
        for row in results.epochs(run):
            if after and (run.index, row["epoch"]) < after[:2]:
                continue
            time = query.clock.at(row["epoch"]) if query.clock else row["time"]
            if query.accepts(time):
                yield who, row | {"time": time}


def _later(metric: str, than: str) -> bool:
    return than in METRICS and METRICS.index(metric) > METRICS.index(than)


def _cell(value: Any) -> tuple[Any, str | None]:
    if type(value) is float and math.isfinite(value):  # nearly all: there are thousands in a page
        return value, None
    lost: list[dict[str, str]] = []
    shown = numbers.shown(value, "", lost)
    return shown, lost[0]["value"] if lost else None


def words(stimulus: list[dict[str, Any]]) -> str:
    """A stimulus in one cell: clean, or blur(resolution=8)+vertical_flip."""
    return "+".join(map(_deficit_words, stimulus)) or "clean"


def _deficit_words(deficit: dict[str, Any]) -> str:
    settings = ",".join(f"{key}={value}" for key, value in deficit.items() if key != "name")
    return deficit["name"] + (f"({settings})" if settings else "")


# --- CSV ---


def metric_columns(results: Results) -> list[str]:
    head = ["time", "run", "variant", "seed", *results.paths]
    return [*head, "metric", "epoch", "value", "non_finite"]


def wide_columns(results: Results, query: Query = EVERYTHING) -> list[str]:
    head = ["time", "run", "variant", "seed", *results.paths, "epoch", "stimulus"]
    return [*head, *(m for m in METRICS if m in query.metrics), "reused", "non_finite"]


def csv_lines(rows: Iterable[Row], columns: list[str]) -> Iterator[str]:
    """RFC 4180, header first; numbers to their last digit, null as an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_csv_cell(row.get(column)) for column in columns])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict):
        return ";".join(f"{key}={item}" for key, item in value.items())
    return value
