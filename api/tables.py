"""Tables as answers: a bare array by pages, or CSV in one stream."""

import itertools
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import orjson
from fastapi import Query, Response
from fastapi.responses import StreamingResponse

from api import pages
from shared.plan import RunPlan
from shared.results import Row

ROWS = 10_000
MAX_ROWS = 50_000
LINES = 200
"""Of CSV, sent at a time."""
CSV: dict[str, Any] = {"content": {"text/csv": {}, "application/json": {}}}

Runs = Annotated[
    list[int] | None, Query(alias="run", max_length=1000, description="These only; repeat it.")
]
Format = Annotated[Literal["json", "csv"], Query(description="csv: every row, in one stream.")]
RowCount = Annotated[
    int | None, Query(ge=0, description=f"Default {ROWS}; more than {MAX_ROWS} is {MAX_ROWS}.")
]


def chosen(runs: list[RunPlan], asked: list[int] | None) -> list[RunPlan]:
    named = None if asked is None else frozenset(asked)
    return [run for run in runs if named is None or run.index in named]


def size(given: int | None) -> int:
    return min(given or ROWS, MAX_ROWS)


def array(page: list[Row], path: str, given: dict[str, Any], token: str | None) -> Response:
    """The address of the next page is in the Link header."""
    address = pages.address(path, given, token)
    headers = {"Link": f'<{address}>; rel="next"'} if address else {}
    # Of 10,000 rows the standard library's encoder took two thirds of the whole answer's time.
    return Response(orjson.dumps(page), 200, headers, "application/json")


def limited(found: Iterator[Row], page_size: int | None) -> Iterator[Row]:
    return itertools.islice(found, min(page_size, sys.maxsize) if page_size else None)


def csv(lines: Iterator[str], name: str) -> Response:
    # The first rows are read before the answer begins: a store that is away is still a 503.
    whole = itertools.chain([_some(lines)], iter(lambda: _some(lines), ""))
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(whole, 200, headers, "text/csv; charset=utf-8")


def _some(lines: Iterator[str]) -> str:
    """Sent together: the server hands each piece from one thread to another."""
    return "".join(itertools.islice(lines, LINES))
