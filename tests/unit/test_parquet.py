"""Tables as Parquet: every cell as in JSON, but NaN and infinity are themselves."""

import io
import math
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from results_by_hand import (
    epoch_row,
    experiment_of,
    information_measurement,
    measurement,
    plan_of,
    results_of,
    run_plan,
    second_order_measurement,
    segment,
)

from api import parquet, tables
from shared import information, numbers, rows, second_order, traces
from shared.traces import Normalisation


def table_of(found, columns, results):
    data = b"".join(tables.pieces("parquet", found, columns, results))
    return pq.read_table(io.BytesIO(data))


def same(cell, value):
    if isinstance(cell, float) and math.isnan(cell):
        return value == "NaN"
    if isinstance(cell, float) and math.isinf(cell):
        return float(value) == cell
    return cell == value


@pytest.fixture
def lost():
    """Two runs with a swept integer, a swept number and a swept word; NaN and infinity."""
    rate = "training.optimizer.learning_rate"
    points = [{"deficit.end": 2, rate: 1, "model.name": "mlp"},
              {"deficit.end": 4, rate: 0.5, "model.name": None}]  # fmt: skip
    runs = [run_plan(i, [i], 2, point=point, seed=2**32 - 1) for i, point in enumerate(points)]
    epochs = {
        "a": [epoch_row(1), epoch_row(2, train_loss="NaN", stimulus=[{"name": "noise"}])],
        "b": [epoch_row(1, test_loss="-Infinity"), epoch_row(2, test_accuracy=1 / 3)],
    }
    return results_of(plan_of([segment("a", 0, 2), segment("b", 0, 2)], runs), epochs)


@pytest.mark.parametrize("shape", ["rows", "wide"])
def test_metrics_come_back_cell_by_cell(lost, shape):
    make, columns = {
        "rows": (rows.metric_rows, rows.metric_columns(lost)),
        "wide": (rows.wide_rows, rows.wide_columns(lost)),
    }[shape]
    table, expected = table_of(make(lost), columns, lost), list(make(lost))
    assert table.column_names == [name for name in columns if name != "non_finite"]
    assert table.num_rows == len(expected) > 0
    for cells, row in zip(table.to_pylist(), expected, strict=True):
        named = row.get("non_finite", {})
        named = {"value": named} if isinstance(named, str) else named
        assert cells.pop("time") == datetime.fromisoformat(row["time"])
        for name, cell in cells.items():
            value = row[name] if row[name] is not None else named.get(name)
            assert same(cell, value), (name, cell, row)


def test_columns_have_the_types_of_what_they_hold(lost):
    schema = table_of(rows.wide_rows(lost), rows.wide_columns(lost), lost).schema
    assert schema.field("time").type == pa.timestamp("ms", tz="UTC")
    assert schema.field("deficit.end").type == pa.int64()
    assert schema.field("training.optimizer.learning_rate").type == pa.float64()
    assert schema.field("model.name").type == pa.string()
    assert schema.field("reused").type == pa.bool_()
    assert {schema.field(name).type for name in ("train_loss", "test_accuracy")} == {pa.float64()}


@pytest.mark.parametrize("normalisation", Normalisation.__args__)
def test_traces_come_back_cell_by_cell(normalisation):
    layers = {"a": 1.0, "b": "Infinity"}
    results = experiment_of(
        {"accuracies": [0.5, 0.5], "measured": {
            (0, "p"): measurement(0, 2.0, relative_error=0.1, max_samples=500, norms="exact"),
            (2, "p"): measurement(2, "NaN", layers=layers),
        }},
    )  # fmt: skip

    def flat():
        return traces.layer_rows(traces.of_run(results, results.plan.runs[0], normalisation))

    columns = traces.layer_columns(results)
    table, expected = table_of(flat(), columns, results), list(flat())
    assert [row["layer"] for row in expected] == ["total", "0.conv", "total", "a", "b"]
    for cells, row in zip(table.to_pylist(), expected, strict=True):
        cells.pop("time")
        for name, cell in cells.items():
            value = row.get(name)
            value = row.get("non_finite", {}).get(name) if value is None else value
            assert same(cell, value), (name, cell, row)
    assert math.isnan(table["trace"][2].as_py())
    assert table.schema.field("samples").type == pa.int64()


def test_the_second_order_comes_back_cell_by_cell():
    one = second_order_measurement(1, ratios=(1.05, math.inf))
    one = one | {"values": numbers.storable(one["values"])}
    results = experiment_of({"accuracies": [0.5], "measured": {(1, "q"): one}})
    (run,) = results.plan.runs
    table = table_of(second_order.of_run(results, run), second_order.columns(results), results)
    assert table["ratio"].to_pylist() == [1.05, math.inf]
    assert table["n"].to_pylist() == [1024, 1024]
    assert table["time"][0].as_py() is not None


def test_the_information_plane_comes_back_cell_by_cell():
    one = information_measurement(1, upper=math.nan, decoder=None)
    one = one | {"values": numbers.storable(one["values"])}
    results = experiment_of({"accuracies": [0.5], "measured": {(1, "q"): one}})
    (run,) = results.plan.runs
    rows = list(information.of_run(results, run))
    assert [row["non_finite"].keys() for row in rows] == [{"i_xt_lower", "i_xt_upper"}] * 2
    assert {name for row in rows for name in row} == set(information.columns(results))
    table = table_of(iter(rows), information.columns(results), results)
    assert [str(value) for value in table["i_xt_upper"].to_pylist()] == ["nan", "nan"]
    assert table["layer"].to_pylist() == [0, 3]
    assert table["i_ty_binned"].to_pylist() == [2.0, 1.0]
    assert table["i_ty_decoder"].null_count == 2


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_no_more_rows_are_held_than_one_piece_takes(lost, format):
    """Of 100,000 rows, what has been drawn has been sent, but for those of the next piece."""
    drawn = 0

    def rows_of(run=0):
        nonlocal drawn
        for drawn in range(1, 100_001):
            yield {"time": None, "run": run, "metric": "test_loss", "epoch": drawn, "value": 0.5}

    held = parquet.GROUP if format == "parquet" else tables.LINES + 1
    columns = rows.metric_columns(lost)
    for sent, piece in enumerate(tables.pieces(format, rows_of(), columns, lost), 1):
        assert drawn <= sent * held
        assert len(piece) < 2 << 20
    assert drawn == 100_000


def test_a_long_table_is_made_of_row_groups_and_an_empty_one_of_its_columns(lost, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP", 3)
    columns = rows.metric_columns(lost)
    parts = list(parquet.pieces(rows.metric_rows(lost), columns, lost))
    file = pq.ParquetFile(io.BytesIO(b"".join(parts)))
    assert len(parts) == file.num_row_groups + 1 == 7 + 1
    assert file.metadata.num_rows == 20
    nothing = table_of(iter(()), columns, lost)
    assert (nothing.num_rows, nothing.column_names) == (0, columns[:-1])
