"""What is kept in memory of what was read."""

import random
import tracemalloc

import pytest

from shared import names, records
from shared.records import Records

pytestmark = pytest.mark.services

KEPT = 3 << 20


def measurement(layers):
    of_layers = [{"name": f"conv{i}", "trace": random.random() * 1e-3} for i in range(layers)]
    return {"key": "a" * 64, "values": {"trace": random.random(), "layers": of_layers}}


def test_records_are_kept_by_the_bytes_that_they_take_not_by_their_number(storage, monkeypatch):
    monkeypatch.setattr(records, "KEPT_BYTES", KEPT)
    digests = [f"{number:064x}" for number in range(40)]
    for digest in digests:
        storage.write_json(names.measurement("", "a" * 64, digest), measurement(2000))
    reader = Records(storage)
    reader.measurement("", "a" * 64, digests[0])
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for digest in digests:
        reader.measurement("", "a" * 64, digest)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert KEPT / 4 < after - before < 1.5 * KEPT
    for digest in digests[-3:]:  # these are not asked for again
        storage.remove(names.measurement("", "a" * 64, digest))
        assert reader.measured("", "a" * 64, digest)
    reader.forget()
    assert not reader.measured("", "a" * 64, digests[-1])
