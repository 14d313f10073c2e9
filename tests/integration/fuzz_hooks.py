"""What schemathesis loads: of the specs that the document allows, every second one is made small
and consistent, so that experiments are accepted, run and end while the rest is tried on them."""

import json
import zlib

import schemathesis

SMALL = {
    "dataset": {"name": "gratings", "train_samples": 32, "test_samples": 16},
    "model": {"name": "all_cnn", "width": 0.03},
    "training": {"epochs": 2, "batch_size": 16},
    "seeds": [0],
}


@schemathesis.hook
def map_case(context, case):
    wanted = context.operation is not None and context.operation.label == "POST /v1/experiments"
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if wanted and positive and isinstance(case.body, dict) and _chance(case.body):
        kept = {k: v for k, v in case.body.items() if k in ("name", "tags", "reuse")}
        case.body = SMALL | kept
    return case


def _chance(body):
    """Drawn from the body, so that a seed gives the same cases again."""
    return zlib.crc32(json.dumps(body, sort_keys=True, default=str).encode()) % 2
