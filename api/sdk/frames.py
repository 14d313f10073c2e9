"""Tables of the service as pandas frames."""

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from api.sdk.errors import needed

if TYPE_CHECKING:
    from pandas import DataFrame

Json = dict[str, Any]

TEXT = (
    "variant", "stimulus", "layer", "key", "numerics", "non_finite", "metric", "dataset.name",
)  # fmt: skip
"""Columns that are text, whatever a value looks like: a variant may be called 0.1, or NA."""


def of_csv(content: bytes) -> "DataFrame":
    """Every digit as it was sent; `time` in UTC; an empty cell is a missing value, but infinity is
    itself."""
    pandas = needed("pandas")
    found: DataFrame = pandas.read_csv(
        io.BytesIO(content),
        **_exactly(pandas.__version__),
        keep_default_na=False,
        na_values=[""],
        dtype=dict.fromkeys(TEXT, "object"),
        parse_dates=["time"],
    )
    lost = found["non_finite"].dropna()
    for row, words in lost[lost.str.contains("Infinity")].items():
        for word in words.split(";"):
            column, _, value = word.rpartition("=")  # of a single number just the word
            found.loc[row, column or "value"] = float(value)
    return found


def _exactly(version: str) -> Json:
    """pandas 2.2 and 3.0 read a third of all numbers with another last digit unless they are told
    not to; 3.1 does not, and warns of being told."""
    is_exact = tuple(map(int, version.split(".")[:2])) >= (3, 1)
    return {} if is_exact else {"float_precision": "round_trip"}


def runs(found: Iterable[Json]) -> "DataFrame":
    """A row for each run, with a column for each axis of the sweep."""
    rows = [{**_before(run, "point"), **run["point"], **_after(run, "point")} for run in found]
    return needed("pandas").DataFrame(rows)


def points(summary: Json) -> "DataFrame":
    """A row for each point of the sweep. Of the mean over seeds the 95 % interval is low to high;
    drop is what the deficit cost against the same seeds without it."""
    return needed("pandas").DataFrame([_point(one) for one in summary["points"]])


def _point(one: Json) -> Json:
    drop = one["drop"] or {}
    low, high = one["interval"] or (None, None)
    drop_low, drop_high = drop.get("interval") or (None, None)
    row = {"variant": one["variant"], **one["point"], "n": one["n"], "runs": one["runs"]}
    row |= {"mean": one["mean"], "low": low, "high": high}
    return row | {"drop": drop.get("mean"), "drop_low": drop_low, "drop_high": drop_high}


def _before(row: Json, name: str) -> Json:
    names = list(row)
    return {field: row[field] for field in names[: names.index(name)]}


def _after(row: Json, name: str) -> Json:
    names = list(row)
    return {field: row[field] for field in names[names.index(name) + 1 :]}
