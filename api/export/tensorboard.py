"""A run's metrics and Fisher traces, with what stands beside them, as a TensorBoard event file: a
step is an epoch, the wall time is when it was trained. NaN and infinity are themselves.

Two formats in one: TFRecord frames, and in each an `Event` of TensorFlow's event.proto. They are
written here, since tensorboardX imports torch wherever it is installed (1.5 s), and the tensorboard
package brings a server with it.
"""

import math
import re
import struct
from collections.abc import Iterable, Iterator
from datetime import datetime

import google_crc32c

from api import parquet
from shared import traces
from shared.plan import RunPlan
from shared.results import METRICS, Results, Row, flat
from shared.ways import Ways

VERSION = b"brain.Event:2"
TAGS = {metric: metric.replace("_", "/", 1) for metric in METRICS} | {
    "learning_rate": "learning_rate"
}
BESIDE = (
    "standard_error", "predictive_entropy", "mean_confidence", *traces.BESIDE_COLUMNS,
)  # fmt: skip
"""Of a whole network, as columns of fisher.csv."""
LARGEST = 3.4028234e38
"""Of float32, in which TensorBoard keeps values."""
MAX_NAME = 100

Scalar = tuple[str, float]


def folder(run: RunPlan) -> str:
    """run-003_deficit.end=20_seed=1: what TensorBoard calls the run."""
    words = [f"run-{run.index:03d}", run.variant or ""]
    words += [f"{path}={flat(value)}" for path, value in run.point.items()]
    words = [re.sub(r"[^A-Za-z0-9.=+-]+", "-", word) for word in words if word]
    return "_".join([*words, f"seed={run.seed}"])[:MAX_NAME]


def event_file(results: Results, run: RunPlan, of: Ways) -> Iterator[bytes]:
    """The file in pieces; nothing for a run of which there is nothing yet."""
    first = True
    for row, scalars in _scalars(results, run, of):
        wall = datetime.fromisoformat(row["time"]).timestamp()
        if first:
            yield _record(_double(1, wall) + _bytes(3, VERSION))
            first = False
        yield _record(_event(wall, row["epoch"], scalars))


def _scalars(results: Results, run: RunPlan, of: Ways) -> Iterator[tuple[Row, list[Scalar]]]:
    for row in results.epochs(run):
        found = {tag: row[metric] for metric, tag in TAGS.items()}
        yield row, [(tag, float(value)) for tag, value in found.items() if value is not None]
    for probe, measured in traces.measured(results, run, "raw"):
        tag = f"fisher ({of.label(probe)})"
        for row in traces.layer_rows([measured]):
            found = {name: _number(row, column) for name, column in _names(row["layer"]).items()}
            there = {name: value for name, value in found.items() if value is not None}
            yield row, [(f"{tag}/{name}", value) for name, value in there.items()]


def _names(layer: str) -> dict[str, str]:
    """What is told of a row of `traces.layer_rows` -> its column."""
    if layer == "total":
        return {"total": "trace"} | {column: column for column in BESIDE}
    return {f"layers/{layer}": "trace", f"standard_errors/{layer}": "standard_error"}


def _number(row: Row, column: str) -> float | None:
    value = row.get(column)
    return parquet.not_finite(row, column) if value is None else float(value)


# --- the formats ---


def _event(wall: float, step: int, scalars: Iterable[Scalar]) -> bytes:
    values = (_bytes(1, tag.encode()) + _float(2, value) for tag, value in scalars)
    summary = b"".join(_bytes(1, value) for value in values)
    return _double(1, wall) + _tag(2, 0) + _varint(step) + _bytes(5, summary)


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """Masked as in TFRecord: the checksum of data that holds checksums would be a weak one."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _tag(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _double(field: int, value: float) -> bytes:
    return _tag(field, 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    if math.isfinite(value) and abs(value) > LARGEST:
        value = math.copysign(math.inf, value)
    return _tag(field, 5) + struct.pack("<f", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _tag(field, 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
