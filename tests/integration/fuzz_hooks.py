"""What schemathesis loads: of the specs that the document allows, every second one is made small
and consistent, so that experiments are accepted, run and end while the rest is tried on them;
and webhooks lead to where nobody listens."""

import json
import zlib

import schemathesis

SMALL = {
    "dataset": {"name": "gratings", "train_samples": 32, "test_samples": 16},
    "model": {"name": "all_cnn", "width": 0.03},
    "training": {"epochs": 2, "batch_size": 16},
    "seeds": [0],
}
NOBODY = "http://127.0.0.1:9/hook"


@schemathesis.hook
def map_case(context, case):
    label = context.operation.label if context.operation is not None else None
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if not positive or not isinstance(case.body, dict):
        return case
    if label == "POST /v1/experiments" and _chance(case.body):
        kept = {k: v for k, v in case.body.items() if k in ("name", "tags", "reuse")}
        case.body = SMALL | kept
    elif label == "POST /v1/webhooks":
        case.body = case.body | {"url": NOBODY}
    return case


def _chance(body):
    """Drawn from the body, so that a seed gives the same cases again."""
    return zlib.crc32(json.dumps(body, sort_keys=True, default=str).encode()) % 2
