"""The OpenAPI 3.1 document: what FastAPI cannot see by itself."""

import json
from functools import cache
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from api import answers, parameters
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

EXAMPLES = {
    "removal_sweep": {
        "summary": "When is the deficit removed? The paper's All-CNN on CIFAR-10",
        "value": {
            "name": "blur, removal sweep",
            "dataset": {"name": "cifar10"},
            "model": {"name": "all_cnn", "width": 1.0},
            "training": {"epochs_after_deficit": 160},
            "deficit": {"name": "blur", "resolution": 8, "start": 0, "end": 40},
            "fisher": {"every": 10, "samples": 2000},
            "seeds": [0, 1, 2],
            "sweep": {"deficit.end": [0, 20, 40, 60, 80, 100, 120, 140]},
            "tags": {"lab": "vision"},
        },
    },
    "small": {
        "summary": "Two small runs",
        "value": {
            "dataset": {"name": "gratings", "train_samples": 500},
            "model": {"name": "all_cnn", "width": 0.1},
            "training": {"epochs": 4, "batch_size": 64, "augmentation": {"shift": 2}},
            "deficit": {"name": "vertical_flip", "end": 2},
            "seeds": [0, 1],
        },
    },
    "preset": {
        "summary": "The paper's Fig 1 A at the small scale, with five seeds and without twins",
        "value": {
            "preset": "fig1a",
            "scale": "mini",
            "seeds": [0, 1, 2, 3, 4],
            "controls": None,
        },
    },
}

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

LATER_EXAMPLES = {
    "checkpoints": {
        "summary": "Fisher traces of every kept checkpoint, on training and on test images",
        "value": {"fisher": {"split": ["train", "test"], "images": ["current", "clean"]}},
    },
    "publication": {
        "summary": "Exact norms, to 1 % of the total, of two runs",
        "value": {
            "fisher": {"epochs": [0, 2], "norms": "exact", "relative_error": 0.01},
            "runs": [0, 1],
        },
    },
    "quadratic": {
        "summary": "How far the quadratic picture holds",
        "value": {"second_order": {"every": 2}},
    },
    "activations": {
        "summary": "Information in the activations of the first and the last layer",
        "value": {"information_plane": {"layers": [0, -1], "samples": 500}},
    },
}

FORK_EXAMPLES = {
    "rate": {
        "summary": "The first run from epoch 2 on with a learning rate that starts again, lower",
        "value": {
            "run": 0,
            "epoch": 2,
            "set": {
                "training.optimizer.learning_rate": 0.01,
                "training.learning_rate_restart": True,
            },
        },
    },
    "second_deficit": {
        "summary": "A second deficit, of several lengths, from epoch 2 on",
        "value": {
            "run": 0,
            "epoch": 2,
            "set": {"deficits": [{"name": "blur", "resolution": 4, "start": 2, "end": 3}]},
            "sweep": {"training.epochs": [4, 6]},
        },
    },
    "measured": {
        "summary": "The same training, with other measurements",
        "value": {"run": 1, "epoch": 0, "gradients": {"every": 1}},
    },
}

PRUNE_EXAMPLES = {
    "criteria": {
        "summary": "The first run at its end by three criteria, with two epochs of fine-tuning",
        "value": {
            "run": 0,
            "epoch": 2,
            "criterion": ["magnitude", "fisher", "random"],
            "sparsities": [0, 0.5, 0.9],
            "fine_tuning_epochs": 2,
            "samples": 64,
        },
    },
    "iterative": {
        "summary": "Channels, in two steps, by an earlier state",
        "value": {
            "run": 1,
            "epoch": 2,
            "scored_at": 1,
            "criterion": "theis",
            "granularity": "channels",
            "sparsities": [0, 0.5],
            "steps": 2,
            "fine_tuning_epochs": 1,
            "learning_rate_restart": True,
        },
    },
}

TOKEN_EXAMPLES = {
    "student": {
        "summary": "May submit, for ten device hours in all and until the end of 2030",
        "value": {
            "name": "a student's sweeps",
            "scopes": ["submit"],
            "requests_per_minute": 600,
            "device_seconds": 36000,
            "expires": "2030-12-31T23:59:59Z",
        },
    },
    "dashboard": {"summary": "Only looks", "value": {"name": "wall", "scopes": ["read"]}},
}


PATCH_EXAMPLES = {
    "tag": {
        "summary": "Set one tag, remove another, say something",
        "value": {"tags": {"lab": "vision", "draft": None}, "notes": "Seed 3 looks odd."},
    }
}


WEBHOOK_EXAMPLES = {
    "all": {"summary": "However it ends", "value": {"url": "https://hooks.example.org/hubel"}},
    "failures": {
        "summary": "Failures only",
        "value": {
            "url": "https://hooks.example.org/pager?team=vision",
            "events": ["experiment.failed"],
            "description": "whoever is on call",
        },
    },
}


def _body(examples: dict[str, Any], *models: str) -> dict[str, Any]:
    schemas = [{"$ref": REFERENCE.format(model=model)} for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


SUBMIT_BODY = _body(EXAMPLES, "ExperimentSpec", "PresetExperiment")
MEASURE_BODY = _body(LATER_EXAMPLES, "LaterMeasurements")
PATCH_BODY = _body(PATCH_EXAMPLES, "RemarksPatch")
PATCH_BODY["requestBody"]["content"][MERGE_PATCH] = PATCH_BODY["requestBody"]["content"][
    "application/json"
]
FORK_BODY = _body(FORK_EXAMPLES, "Fork")
PRUNE_BODY = _body(PRUNE_EXAMPLES, "Prune")
TOKEN_BODY = _body(TOKEN_EXAMPLES, "NewToken")
WEBHOOK_BODY = _body(WEBHOOK_EXAMPLES, "NewWebhook")

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
