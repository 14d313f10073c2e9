"""What each operation answers when all is well, as JSON Schemas for the OpenAPI document."""

from typing import Any

from api.lifecycle import STATES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TRUTH: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
TIME: Schema = {"type": "string", "description": "RFC 3339, UTC."}
DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{24}$"}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def mapping(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def record(**fields: Schema) -> Schema:
    """An object that always has these fields, and may grow others."""
    return {"type": "object", "required": list(fields), "properties": fields}


def among(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _page(what: str, items: Schema) -> Schema:
    return record(**{what: array(items)}, next=maybe(TEXT), next_page_token=maybe(TEXT))


def _and(schema: Schema, **fields: Schema) -> Schema:
    return {
        **schema,
        "required": [*schema["required"], *fields],
        "properties": {**schema["properties"], **fields},
    }


ANYTHING: Schema = {"type": "object"}
LINKS = mapping(TEXT)
FAILURE = _and(record(reason=TEXT), run=maybe(COUNT))
ATTEMPT = record(
    started=TIME, worker=TEXT,
    **dict.fromkeys(("ended", "kind", "error", "message", "log"), maybe(TEXT)),
)  # fmt: skip
EPOCHS = record(alone=COUNT, shared=COUNT, stored=COUNT, new=COUNT, replayed=COUNT)
PLAN = record(
    runs=COUNT, segments=COUNT, epochs=EPOCHS, device_seconds=NUMBER, bytes=maybe(COUNT)
)  # fmt: skip
PROGRESS = record(
    epochs=record(done=COUNT, planned=COUNT, reused=COUNT, trained=COUNT),
    measurements=mapping(COUNT),
    runs=record(total=COUNT, **dict.fromkeys(STATES[1:], COUNT)),
)
STATUS = record(
    id=ID,
    name=TEXT,
    state=among(*STATES),
    created=TIME,
    finished=maybe(TIME),
    progress=maybe(PROGRESS),
    time_left_seconds=maybe(NUMBER),
    failures=array(FAILURE),
    plan=maybe(PLAN),
    tags=mapping(TEXT),
    notes=TEXT,
    measures=maybe(ID),
    forks=maybe(ID),
    forked_at=maybe(record(run=COUNT, epoch=COUNT)),
    links=LINKS,
)
EVENT = {
    **record(id=TEXT, event=among("status", "points", "fisher", "end"), data=TEXT),
    "description": "Each event; `data` is JSON.",
}
SHOWN_SPEC = {**ANYTHING, "description": "The spec with every default written out."}
RUN = record(
    run=COUNT,
    variant=maybe(TEXT),
    point=ANYTHING,
    seed=COUNT,
    state=among(*STATES[1:]),
    epochs=COUNT,
    windows=array(ANYTHING),
    changes=array(ANYTHING),
    score=maybe(NUMBER),
)
METRIC = record(time=TIME, run=COUNT, seed=COUNT, epoch=COUNT)
TRACE = record(time=TIME, run=COUNT, seed=COUNT, epoch=COUNT, key=DIGEST, numerics=TEXT)
DATASET = record(
    name=TEXT,
    built_in=TRUTH,
    prepared=TRUTH,
    shape=array(COUNT),
    classes=COUNT,
    train_samples=COUNT,
    test_samples=COUNT,
    digest=maybe(DIGEST),
)
KIND = record(name=TEXT, description=TEXT, parameters=array(record(name=TEXT, required=TRUTH)))
PRESET = record(name=TEXT, title=TEXT, reproduces=TEXT, figures=array(record(name=TEXT)))
SUMMARY = record(
    id=ID,
    name=TEXT,
    score=TEXT,
    interval=TEXT,
    points=array(ANYTHING),
    mixed_numerics=TRUTH,
    choices=array(ANYTHING),
)
CHECKPOINT = record(key=DIGEST, epoch=COUNT, sha256=DIGEST)
JOB = record(id=ID, state=among(*STATES), created=TIME, asked=ANYTHING)

PLANNED_RUN = record(
    run=COUNT, variant=maybe(TEXT), point=ANYTHING, seed=COUNT, epochs=COUNT,
    windows=array(ANYTHING), changes=array(ANYTHING), segments=array(COUNT),
)  # fmt: skip
SEGMENT = record(
    segment=COUNT, parent=maybe(COUNT), start=COUNT, end=COUNT, runs=array(COUNT),
    state=among("stored", "queued", "running", "done", "failed", "cancelled", "waiting"),
    epoch=COUNT,
)  # fmt: skip
WORKER = record(
    name=TEXT,
    state=among("idle", "training", "preparing", "repairing"),
    unfit=TRUTH,
    **dict.fromkeys(("device", "device_name", "dataset"), maybe(TEXT)),
    experiment=maybe(ID),
    **dict.fromkeys(("segment", "start", "end", "epoch"), maybe(COUNT)),
    since=TIME,
    seen=TIME,
)

TOKEN = record(
    id=TEXT,
    name=TEXT,
    scopes=array(TEXT),
    state=TEXT,
    created=TIME,
    expires=maybe(TIME),
    revoked=maybe(TIME),
    requests_per_minute=maybe(COUNT),
    device_seconds=record(allowed=maybe(NUMBER), used=maybe(NUMBER)),
)

WEBHOOK = record(
    id=TEXT,
    url=TEXT,
    events=array(TEXT),
    description=TEXT,
    created=TIME,
    created_by=TEXT,
    state=among("live", "disabled"),
    disabled=maybe(record(at=TIME, reason=TEXT)),
    links=LINKS,
)
DELIVERY = record(
    id={"type": "string", "description": "Sent as the header webhook-id."},
    type=TEXT,
    experiment=maybe(ID),
    state=among("waiting", "delivered", "failed"),
    next_try=maybe(TIME),
    tries=array(record(at=TIME, seconds=NUMBER, status=maybe(COUNT), reason=TEXT)),
)

PRUNING = record(
    id=ID,
    name=TEXT,
    score=TEXT,
    interval=TEXT,
    curves=array(
        record(variant=maybe(TEXT), criterion=TEXT, points=array(ANYTHING), area=ANYTHING)
    ),
    differences=array(
        record(by=among("criterion", "setting"), one=COUNT, other=COUNT, area=ANYTHING)
    ),
    differences_left_out=COUNT,
    correlations=array(ANYTHING),
    numerics=array(TEXT),
)

UNREADABLE = array(record(id=TEXT, detail=TEXT))
ANSWERS: dict[str, dict[str, Schema]] = {
    "submit_experiment": {
        "200": record(plan=PLAN, certain=TRUTH, spec=SHOWN_SPEC),
        "202": _and(STATUS, spec=SHOWN_SPEC),
    },
    "list_experiments": {"200": _and(_page("experiments", STATUS), unreadable=UNREADABLE)},
    "experiment_status": {"200": _and(STATUS, retried_by=array(ID), forked_by=array(ID))},
    "update_experiment": {"200": STATUS},
    "retry_experiment": {"202": _and(STATUS, spec=SHOWN_SPEC)},
    "fork_experiment": {
        "200": record(plan=PLAN, certain=TRUTH, spec=SHOWN_SPEC),
        "202": _and(STATUS, spec=SHOWN_SPEC),
    },
    "list_tokens": {"200": _and(_page("tokens", TOKEN), unreadable=UNREADABLE)},
    "create_token": {"201": _and(TOKEN, token=TEXT)},
    "show_token": {"200": TOKEN},
    "list_webhooks": {"200": record(webhooks=array(WEBHOOK), unreadable=UNREADABLE)},
    "create_webhook": {"201": _and(WEBHOOK, secret=TEXT)},
    "show_webhook": {"200": WEBHOOK},
    "test_webhook": {"200": DELIVERY},
    "webhook_deliveries": {"200": _and(_page("deliveries", DELIVERY), unreadable=UNREADABLE)},
    "experiment_spec": {"200": SHOWN_SPEC},
    "cancel_experiment": {"200": STATUS},
    "measure_experiment": {
        "200": record(plan=PLAN, asked=ANYTHING),
        "202": _and(STATUS, asked=ANYTHING),
    },
    "list_measurements": {"200": _page("measurements", _and(JOB, links=LINKS))},
    "experiment_plan": {
        "200": record(certain=TRUTH, runs=array(PLANNED_RUN), segments=array(SEGMENT)),
    },
    "list_workers": {
        "200": record(
            workers=array(WORKER),
            queue=record(
                **dict.fromkeys(("messages", "queued", "running", "waiting"), maybe(COUNT))
            ),
            known=TRUTH,
        ),
    },
    "experiment_failures": {
        "200": record(failures=array(_and(FAILURE, attempts=array(ATTEMPT)))),
    },
    "experiment_runs": {"200": _page("runs", RUN)},
    "experiment_metrics": {"200": array(METRIC)},
    "experiment_annotations": {
        "200": array(record(time=TIME, timeEnd=TIME, title=TEXT, text=TEXT, tags=TEXT))
    },
    "experiment_fisher": {"200": array(TRACE)},
    "experiment_second_order": {"200": array(TRACE)},
    "experiment_information": {"200": array(_and(TRACE, layer=COUNT, units=COUNT))},
    "experiment_summary": {"200": SUMMARY},
    "experiment_figure": {"200": record(title=TEXT, data=array(ANYTHING))},
    "experiment_analysis": {
        "200": record(
            id=ID,
            name=TEXT,
            phases=array(ANYTHING),
            stages=array(ANYTHING),
            bottleneck=array(ANYTHING),
            intervals=TEXT,
        )
    },
    "experiment_checkpoints": {
        "200": _page("checkpoints", _and(CHECKPOINT, runs=array(COUNT), links=LINKS))
    },
    "checkpoint": {
        "200": _and(CHECKPOINT, bytes=COUNT, link=TEXT, expires=TIME, provenance=ANYTHING)
    },
    "list_datasets": {"200": record(datasets=array(DATASET))},
    "dataset": {"200": DATASET},
    "put_dataset": {"200": DATASET, "201": DATASET},
    "list_models": {"200": record(models=array(KIND))},
    "list_deficits": {"200": record(deficits=array(KIND))},
    "list_optimizers": {"200": record(optimizers=array(KIND))},
    "list_schedules": {"200": record(schedules=array(KIND))},
    "list_estimators": {
        "200": record(
            estimators=array(record(name=TEXT, description=TEXT)),
            parameters=array(record(name=TEXT, required=TRUTH)),
        )
    },
    "list_presets": {"200": record(presets=array(_and(PRESET, scales=mapping(ANYTHING))))},
    "show_preset": {
        "200": _and(PRESET, scale=TEXT, about=TEXT, spec=ANYTHING, open_questions=array(ANYTHING))
    },
    "prune_experiment": {
        "200": record(plan=PLAN, certain=TRUTH, spec=SHOWN_SPEC),
        "202": _and(STATUS, spec=SHOWN_SPEC),
    },
    "experiment_pruning": {"200": PRUNING},
    "health": {"200": record(status=among("alive"))},
    "readiness": {
        "200": record(
            status=among("ready", "degraded"),
            errors=array(record(pointer=TEXT, code=TEXT, message=TEXT)),
        )
    },
}
"""operationId -> status -> the JSON of that answer. Other content types stay as declared."""


def declare(document: dict[str, Any]) -> None:
    """Put these schemas where the document says what an operation answers."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, schema in ANSWERS.get(operation["operationId"], {}).items():
                answer = operation["responses"][status]
                answer.setdefault("content", {})["application/json"] = {"schema": schema}
