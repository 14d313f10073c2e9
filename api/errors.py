"""Every error of the service as RFC 9457 problem+json, FastAPI's own included."""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import Scope

from api.faults import parameter_faults
from shared.errors import Corrupt, Fault, HubelError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 20
MAX_TEXT = 600

PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "errors", "request_id"],
    "properties": {
        "type": {
            "type": "string",
            "description": "Stable name of this kind of error, and where it is explained.",
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was found, expected, and to be done."},
        "instance": {"type": "string", "description": "Path of the request."},
        "request_id": {"type": "string", "description": "As in the X-Request-ID header."},
        "errors": {
            "type": "array",
            "description": f"What is wrong with the request, at most {MAX_FAULTS}.",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "message"],
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "JSON pointer into the body; for a parameter /query/NAME, "
                        "/path/NAME or /header/NAME.",
                    },
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}


def problem(
    scope: Scope,
    status: int,
    code: str,
    title: str,
    detail: str,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error as a response. Nothing from the request is repeated at length."""
    body = {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": _short(detail),
        "instance": _short(scope.get("path", "")),
        "errors": [
            {"pointer": _short(_pointer(f.pointer)), "code": f.code, "message": _short(f.message)}
            for f in faults[:MAX_FAULTS]
        ],
        "request_id": scope.get("state", {}).get("request_id", ""),
    }
    # As ASCII: a lone surrogate out of the request must not break the answer about it.
    return Response(json.dumps(body).encode(), status, dict(headers or {}), MEDIA_TYPE)


def of_error(scope: Scope, error: HubelError) -> Response:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == 408:  # the rest of the request may still come
        headers["Connection"] = "close"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(
        scope, error.status, error.code, error.title, error.detail, error.faults, headers
    )


def install(app: FastAPI) -> None:
    app.add_exception_handler(HubelError, _hubel_error)
    app.add_exception_handler(RequestValidationError, _invalid_parameters)
    app.add_exception_handler(HTTPException, _http_exception)


def unexpected(scope: Scope) -> Response:
    """For an error that nobody foresaw: the log has it, the answer does not."""
    return problem(
        scope,
        500,
        "internal",
        "Internal error",
        "Something went wrong here that is not your request's fault. The service's log has it "
        "under this request_id",
    )


async def _hubel_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubelError)
    if error.status >= 500:
        log.error("request %s: %s", request.scope["state"].get("request_id"), error.detail)
    if isinstance(error, Corrupt) and (id := request.path_params.get("id")):
        request.app.state.service.damage.met(id)
    return of_error(request.scope, error)


async def _invalid_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = parameter_faults(error.errors())
    return problem(request.scope, 422, "invalid", "Invalid", faults[0].message, faults)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request)) or headers.get("Allow", "")
    details = {
        404: "There is nothing at this path: /openapi.json lists what there is",
        405: f"{request.method[:20]} is not possible here: "
        f"{headers.get('Allow') or 'see /openapi.json'} is",
    }
    return problem(
        request.scope,
        error.status_code,
        phrase.lower().replace(" ", "-"),
        phrase,
        details.get(error.status_code, str(error.detail)),
        headers=headers,
    )


def _allowed(request: Request) -> list[str]:
    """Every method that this path has: the router speaks of its first route only."""
    paths = request.app.openapi()["paths"]
    known = [o for path, o in paths.items() if compile_path(path)[0].match(request.url.path)]
    methods = {method.upper() for operations in known for method in operations}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declares these errors, and those that any call may have, in the OpenAPI document."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*statuses, 400, 415, 422, 500, 503})
    }


def refusals() -> dict[int | str, dict[str, Any]]:
    """What every operation answers that asks who is there."""
    return responses(401, 403, 429)


def _pointer(text: str) -> str:
    """The bare name of a parameter as a pointer."""
    return text if text.startswith("/") or not text else f"/query/{text}"


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
