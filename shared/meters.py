"""What every process counts of its calls to the object store and to Redis, for Prometheus.

No run, experiment, segment or token in a label: a series must not be born with each of them.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from shared.forked import shared_values

disable_created_metrics()  # a second sample of each, which nobody asks for

OPERATIONS = ("get", "put", "head", "list", "delete", "post")
ERRORS = ("unavailable", "unsuitable", "corrupt")

BUILD = Gauge("hubel_build_info", "1, of the version that runs", ["component", "version"])

with shared_values():
    _store = Histogram(
        "hubel_store_request_duration_seconds",
        "Requests to the object store, until the answer begins, with those that were sent again",
        ["operation"],
        buckets=(0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 15),
    )
    STORE = {operation: _store.labels(operation) for operation in OPERATIONS}
    _store_errors = Counter(
        "hubel_store_errors",
        "Failures of the object store: it gave no answer, refuses us or breaks a promise, or what"
        " it gave does not verify",
        ["kind"],
    )
    STORE_ERRORS = {kind: _store_errors.labels(kind) for kind in ERRORS}
    REDIS = Histogram(
        "hubel_redis_request_duration_seconds",
        "Calls to Redis, but for Celery's own",
        buckets=(0.0005, 0.001, 0.0025, 0.005, 0.025, 0.1, 0.5, 2),
    )
    REDIS_ERRORS = Counter("hubel_redis_errors", "Calls that Redis did not answer")


def version() -> str:
    """Of the product."""
    try:
        return metadata.version("hubel")
    except metadata.PackageNotFoundError:
        return "0"


@contextmanager
def timed(meter: Histogram) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        meter.observe(time.perf_counter() - began)
