"""A table as Parquet, row group after row group: numbers as numbers, NaN and infinity among them.

null is where nothing is. JSON and CSV have no words for NaN, and so `non_finite` beside it; here
there is none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from shared.results import Results, Row, flat

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 20_000
"""Rows held at a time: the API's process is as large after 100,000 as after 30,000."""
TIME, WHOLE, TEXT, TRUTH, NUMBER = "time", "int64", "string", "bool", "float64"
KINDS = (
    {"time": TIME}
    | dict.fromkeys(("run", "seed", "epoch", "samples", "max_samples", "directions", "n"), WHOLE)
    | dict.fromkeys(("parameters", "steps", "units", "codes", "classes", "bins"), WHOLE)
    | dict.fromkeys(("variant", "metric", "stimulus", "key", "numerics"), TEXT)
    | dict.fromkeys(("split", "probe_set", "estimator", "norms", "square_root", "noise"), TEXT)
    | dict.fromkeys(("precision", "layer", "normalisation", "covers", "batchnorm_statistics"), TEXT)
    | dict.fromkeys(("reused", "relative_error_reached"), TRUTH)
)
"""Of the columns that are not plain numbers."""
WORDS = "non_finite"


def pieces(rows: Iterable[Row], columns: Sequence[str], results: Results) -> Iterator[bytes]:
    """The file in pieces, a row group each; the first comes with the file's head."""
    import pyarrow as pa  # 0.6 s and 50 MB: not when the API starts
    from pyarrow import parquet

    kinds = {name: NUMBER for name in columns if name != WORDS} | {
        name: kind for name, kind in (KINDS | _swept(results)).items() if name in columns
    }
    if "units" in kinds:
        kinds["layer"] = WHOLE  # numbered, not named
    schema = pa.schema([(name, _type(kind)) for name, kind in kinds.items()])
    sink, rows = _Sink(), iter(rows)
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        first = True
        while (group := list(islice(rows, GROUP))) or first:
            writer.write_table(pa.table(list(_columns(group, kinds)), schema=schema))
            yield sink.taken()
            first = False
    yield sink.taken()


def _swept(results: Results) -> dict[str, str]:
    """Axes of the sweep: by all of their values, since the first rows may not show them."""
    points = [run.point for run in results.plan.runs]
    return {
        path: _kind([flat(point[path]) for point in points if path in point])
        for path in results.paths
    }


def _kind(values: list[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    for kind, wanted in ((TRUTH, {bool}), (WHOLE, {int}), (NUMBER, {int, float})):
        if kinds and kinds <= wanted:
            return kind
    return TEXT


def _type(kind: str) -> "pa.DataType":
    import pyarrow as pa

    return pa.timestamp("ms", tz="UTC") if kind == TIME else pa.type_for_alias(kind)


def _columns(rows: list[Row], kinds: Mapping[str, str]) -> Iterator["pa.Array"]:
    import pyarrow as pa

    for name, kind in kinds.items():
        yield pa.array([_cell(row, name, kind) for row in rows], _type(kind))


def _cell(row: Row, name: str, kind: str) -> Any:
    value = row.get(name)
    if value is None:
        return not_finite(row, name)
    if kind == TIME:
        return datetime.fromisoformat(value)
    return str(value) if kind == TEXT else value


def not_finite(row: Row, name: str) -> float | None:
    """What JSON shows as null and names beside it."""
    word = row.get(WORDS)
    if isinstance(word, dict):
        word = word.get(name)
    elif name != "value":  # a table with a single column of numbers just has the word
        return None
    return None if word is None else float(word)


class _Sink:
    """What a writer writes, until it is taken away."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
