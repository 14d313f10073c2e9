"""Tables as answers: a bare array by pages, or whole in a stream of CSV, JSON Lines, Parquet."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal

import orjson
from fastapi import Query, Response
from fastapi.responses import StreamingResponse

from api import pages, parquet
from shared import rows
from shared.plan import RunPlan
from shared.results import Results, Row

ROWS = 10_000
MAX_ROWS = 50_000
LINES = 200
"""Of CSV and JSON Lines, sent at a time."""
Whole = Literal["csv", "parquet", "jsonl"]
TYPES: dict[Whole, str] = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "jsonl": "application/jsonl",
}
_KINDS = ["application/json", *(kind.split(";")[0] for kind in TYPES.values())]
CONTENT: dict[str, Any] = {"content": {kind: {} for kind in _KINDS}}

Runs = Annotated[
    list[int] | None, Query(alias="run", max_length=1000, description="These only; repeat it.")
]
Format = Annotated[
    Literal["json", "csv", "parquet", "jsonl"],
    Query(
        description="All but json: every row, in one stream; page_size and page_token are of json"
        " alone. csv and parquet are flat whatever the shape; a line of jsonl is what json has in"
        " its array. What is not finite is null and is named in `non_finite`; in parquet it is"
        " itself."
    ),
]
RowCount = Annotated[
    int | None,
    Query(ge=0, description=f"Of json. Default {ROWS}; more than {MAX_ROWS} is {MAX_ROWS}."),
]


def chosen(runs: list[RunPlan], asked: list[int] | None) -> list[RunPlan]:
    named = None if asked is None else frozenset(asked)
    return [run for run in runs if named is None or run.index in named]


def flat(
    name: str,
    of_run: Callable[[Results, RunPlan], Iterable[Row]],
    columns: Callable[[Results], list[str]],
    id: str,
    results: Results,
    run: list[int] | None,
    format: Literal["json", Whole],
    page_size: int | None,
    page_token: str | None,
) -> Response:
    """The table `name` of flat rows, as its parameters ask for it."""
    given = {"run": run}
    filters = {"list": name, "id": id, **given}
    first = pages.count(page_token, filters)
    found = (row for one in chosen(results.plan.runs, run) for row in of_run(results, one))
    if format != "json":
        filename = f"{id}-{name.replace('_', '-')}"
        return stream(format, found, columns(results), results, filename)
    most = size(page_size)
    page = list(itertools.islice(found, first, first + most + 1))
    token = pages.token(first + most, filters) if len(page) > most else None
    path = f"/v1/experiments/{id}/{name}"
    return array(page[:most], path, given | {"page_size": most}, token)


def size(given: int | None) -> int:
    return min(given or ROWS, MAX_ROWS)


def array(page: list[Row], path: str, given: dict[str, Any], token: str | None) -> Response:
    """The address of the next page is in the Link header."""
    address = pages.address(path, given, token)
    headers = {"Link": f'<{address}>; rel="next"'} if address else {}
    # Of 10,000 rows the standard library's encoder took two thirds of the whole answer's time.
    return Response(orjson.dumps(page), 200, headers, "application/json")


def stream(
    format: Whole, found: Iterable[Row], columns: list[str], results: Results, name: str
) -> Response:
    return streamed(pieces(format, found, columns, results), f"{name}.{format}", TYPES[format])


def streamed(parts: Iterator[bytes], filename: str, media_type: str) -> Response:
    # The first piece is made before the answer begins: a store that is away is still a 503.
    whole = itertools.chain([next(parts)], parts)
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return StreamingResponse(whole, 200, headers, media_type)


def pieces(
    format: Whole, found: Iterable[Row], columns: list[str], results: Results
) -> Iterator[bytes]:
    """A whole table, some rows at a time. JSON Lines need no columns."""
    if format == "parquet":
        return parquet.pieces(found, columns, results)
    if format == "jsonl":
        return _joined(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in found)
    return _joined(line.encode() for line in rows.csv_lines(found, columns))


def _joined(lines: Iterator[bytes]) -> Iterator[bytes]:
    """At least one piece, however empty."""
    yield b"".join(itertools.islice(lines, LINES))
    while some := b"".join(itertools.islice(lines, LINES)):
        yield some
