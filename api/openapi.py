"""The OpenAPI 3.1 document: what FastAPI cannot see by itself."""

import json
from functools import cache
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from api import answers, examples, parameters
from api.bodies import MERGE_PATCH
from api.errors import PROBLEM_SCHEMA
from api.webhooks import NewWebhook
from shared.fork import Fork
from shared.measurements import LaterMeasurements
from shared.presets import ABOUT, PRESETS, SCALES
from shared.prune import Prune
from shared.remarks import RemarksPatch
from shared.spec import ExperimentSpec
from shared.tokens import NewToken

REFERENCE = "#/components/schemas/{model}"


PRESET_EXPERIMENT = {
    "title": "PresetExperiment",
    "type": "object",
    "description": "A figure of the paper. All further fields are a JSON Merge Patch (RFC 7396) on"
    " the spec of the preset, which GET /v1/presets/{name} shows: objects are merged, null removes"
    " a field, anything else replaces it. What comes of it is an ordinary experiment.",
    "required": ["preset", "scale"],
    "properties": {
        "preset": {"type": "string", "enum": list(PRESETS)},
        "scale": {
            "type": "string",
            "enum": list(SCALES),
            "description": " ".join(f"{scale}: {text}." for scale, text in ABOUT.items()),
        },
    },
    "additionalProperties": True,
}


def _body(shown: dict[str, Any], *models: str) -> dict[str, Any]:
    schemas = [{"$ref": REFERENCE.format(model=model)} for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    content = {"application/json": {"schema": schema, "examples": shown}}
    return {"requestBody": {"required": True, "content": content}}


SUBMIT_BODY = _body(examples.EXAMPLES, "ExperimentSpec", "PresetExperiment")
MEASURE_BODY = _body(examples.LATER_EXAMPLES, "LaterMeasurements")
PATCH_BODY = _body(examples.PATCH_EXAMPLES, "RemarksPatch")
PATCH_BODY["requestBody"]["content"][MERGE_PATCH] = PATCH_BODY["requestBody"]["content"][
    "application/json"
]
FORK_BODY = _body(examples.FORK_EXAMPLES, "Fork")
PRUNE_BODY = _body(examples.PRUNE_EXAMPLES, "Prune")
TOKEN_BODY = _body(examples.TOKEN_EXAMPLES, "NewToken")
WEBHOOK_BODY = _body(examples.WEBHOOK_EXAMPLES, "NewWebhook")

_FOLLOW = {
    operation: {"operationId": operation, "parameters": {"id": "$response.body#/id"}}
    for operation in (
        "experiment_status",
        "experiment_spec",
        "experiment_runs",
        "experiment_metrics",
        "experiment_annotations",
        "experiment_fisher",
        "experiment_second_order",
        "experiment_information",
        "experiment_summary",
        "experiment_checkpoints",
        "measure_experiment",
        "list_measurements",
        "cancel_experiment",
        "retry_experiment",
        "fork_experiment",
        "experiment_analysis",
        "export_experiment",
        "experiment_events",
        "experiment_failures",
        "experiment_plan",
        "update_experiment",
        "delete_experiment",
        "prune_experiment",
        "experiment_pruning",
    )
} | {
    "experiment_figure": {
        "operationId": "experiment_figure",
        "parameters": {"id": "$response.body#/id", "name": "critical_period"},
    }
}
_TEXT_HEADER = {"schema": {"type": "string"}}

SUBMITTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The plan of a dry run."},
    202: {
        "description": "Accepted. `Location` is where its status is.",
        "headers": {"Location": _TEXT_HEADER, "Retry-After": _TEXT_HEADER},
        "links": _FOLLOW,
    },
}


def _made(secret: str, *operations: str) -> dict[int | str, dict[str, Any]]:
    """What follows is told by the id."""
    links = {
        operation: {"operationId": operation, "parameters": {"id": "$response.body#/id"}}
        for operation in operations
    }
    description = f"Made. `{secret}` is shown this once."
    headers = {"Location": _TEXT_HEADER}
    return {201: {"description": description, "headers": headers, "links": links}}


TOKEN_MADE = _made("token", "show_token", "revoke_token")
WEBHOOK_MADE = _made(
    "secret", "show_webhook", "test_webhook", "webhook_deliveries", "delete_webhook"
)


def install(app: FastAPI, tokens_required: bool) -> None:
    """Replaces the app's document by one with the spec and the problem among its schemas."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
            if not tokens_required:
                _open(app.openapi_schema)
        return app.openapi_schema

    @cache
    def written() -> bytes:
        return json.dumps(document(), separators=(",", ":")).encode()

    async def served(request: Request) -> Response:
        return Response(written(), media_type="application/json")

    app.openapi = document  # type: ignore[method-assign]
    # FastAPI's own route writes all 120 kB anew for whoever asks, in the event loop.
    app.router.routes[:] = [r for r in app.routes if getattr(r, "path", "") != app.openapi_url]
    app.add_route(app.openapi_url or "/openapi.json", served, include_in_schema=False)


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        openapi_version="3.1.0",
        routes=app.routes,
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for model in (
        ExperimentSpec, Fork, LaterMeasurements, NewToken, NewWebhook, Prune, RemarksPatch,
    ):  # fmt: skip
        schema = model.model_json_schema(ref_template=REFERENCE)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    schemas["PresetExperiment"] = PRESET_EXPERIMENT
    schemas["Problem"] = PROBLEM_SCHEMA
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    answers.declare(made)
    parameters.declare(made)
    return made


def _open(document: dict[str, Any]) -> None:
    """Here a token may be left out."""
    for path in document["paths"].values():
        for operation in path.values():
            if "security" in operation:
                operation["security"].insert(0, {})
