"""What endpoints are given: who asks, the service, the raw body, checked headers and parameters."""

import re
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query, Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from api import auth, found
from api.auth import Gate
from api.readiness import Readiness
from api.renderer import Renderer
from api.service import Service
from shared import names
from shared.errors import BadRequest, Fault, Invalid
from shared.faults import unknown
from shared.records import Records
from shared.results import Results
from shared.settings import Settings
from shared.tokens import SCOPES, Principal

MAX_PAGE = 200
DEFAULT_PAGE = 50
KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def _readiness(request: Request) -> Readiness:
    found: Readiness = request.app.state.readiness
    return found


def _renderer(request: Request) -> Renderer:
    found: Renderer = request.app.state.renderer
    return found


def _settings(service: Annotated[Service, Depends(_service)]) -> Settings:
    return service.settings


def _records(service: Annotated[Service, Depends(_service)]) -> Records:
    return service.records


def _gate(request: Request) -> Gate:
    found: Gate = request.app.state.gate
    return found


class _Bearer(SecurityBase):
    """The security scheme of the OpenAPI document. The header is read in `_principal`."""

    def __init__(self) -> None:
        text = "A token, as `hubel token create` or POST /v1/tokens gives it."
        self.model = HTTPBearer(bearerFormat="hubel_<id>_<secret>", description=text)
        self.scheme_name = "token"

    async def __call__(self) -> None:
        pass


async def _principal(request: Request, gate: Annotated[Gate, Depends(_gate)]) -> Principal:
    principal = await gate.admit(request)
    request.state.principal = principal.name
    return principal


async def _allowed(
    scopes: SecurityScopes,
    principal: Annotated[Principal, Depends(_principal)],
    _: Annotated[None, Depends(_Bearer())],
) -> None:
    for scope in SCOPES:
        if scope in scopes.scopes:
            auth.check(principal, scope)


async def known_parameters(request: Request) -> None:
    """Invalid for a parameter that the operation does not have: a misspelt dry_run must not
    submit."""
    path = request.app.openapi()["paths"].get(request.scope["route"].path_format, {})
    parameters = path.get(request.method.lower(), {}).get("parameters", [])
    known = sorted(p["name"] for p in parameters if p["in"] == "query")
    for name in request.query_params:
        if name not in known:
            message = f"'{name[:80]}': {unknown('parameter', name, known)}"
            raise Invalid(message, [Fault(f"/query/{name}", "unknown-parameter", message)])


async def _raw_body(request: Request) -> bytes:
    return await request.body()


def _experiment_id(id: Annotated[str, Path(description="24 hexadecimal digits.")]) -> str:
    """NotFound for what cannot be an id, before anything else is made of it."""
    names.experiment_object(id, "spec.json")
    return id


def _results(
    id: Annotated[str, Depends(_experiment_id)], service: Annotated[Service, Depends(_service)]
) -> Results:
    return found.results(id, service)


def _with_later(
    id: Annotated[str, Depends(_experiment_id)],
    service: Annotated[Service, Depends(_service)],
    results: Annotated[Results, Depends(_results)],
) -> Results:
    return found.with_later(id, service, results)


def _idempotency_key(
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="1 to 255 printable characters."),
    ] = None,
) -> str | None:
    if key is not None and not KEY.fullmatch(key):
        message = f"An Idempotency-Key is 1 to 255 printable ASCII characters; found {len(key)}"
        raise BadRequest(message, [Fault("/header/Idempotency-Key", "idempotency-key", message)])
    return key


def _page_size(
    page_size: Annotated[
        int, Query(ge=0, description=f"0: the default. More than {MAX_PAGE} is read as {MAX_PAGE}.")
    ] = DEFAULT_PAGE,
) -> int:
    return min(page_size, MAX_PAGE) or DEFAULT_PAGE


def _tags(
    tag: Annotated[
        list[str] | None, Query(max_length=32, description="key:value, and all of them.")
    ] = None,
) -> list[str]:
    """As they are written: where a key ends that holds a colon, only its experiment knows."""
    for pair in tag or []:
        if ":" not in pair:
            message = f"a tag is given as key:value; found '{pair[:80]}'"
            raise Invalid(message, [Fault("/query/tag", "tag", message)])
    return sorted(set(tag or []))


READ, SUBMIT, ADMIN = (Security(_allowed, scopes=[scope]) for scope in SCOPES)
"""Of a router or a route: the scope that it needs. Every router of the API has READ."""
PrincipalIn = Annotated[Principal, Depends(_principal)]
GateIn = Annotated[Gate, Depends(_gate)]
ResultsIn = Annotated[Results, Depends(_results)]
"""What is there so far; while a data set is being prepared, nothing."""
MeasuredIn = Annotated[Results, Depends(_with_later)]
"""The same, with what measurement jobs have added."""
ServiceIn = Annotated[Service, Depends(_service)]
ReadinessIn = Annotated[Readiness, Depends(_readiness)]
RendererIn = Annotated[Renderer, Depends(_renderer)]
SettingsIn = Annotated[Settings, Depends(_settings)]
RecordsIn = Annotated[Records, Depends(_records)]
RawBody = Annotated[bytes, Depends(_raw_body)]
ExperimentId = Annotated[str, Depends(_experiment_id)]
DryRun = Annotated[bool, Query(description="Answer 200 with the plan; store and queue nothing.")]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
PageSize = Annotated[int, Depends(_page_size)]
PageToken = Annotated[
    str | None, Query(max_length=2000, description="`next_page_token` of the page before.")
]
Tags = Annotated[list[str], Depends(_tags)]
Json = dict[str, Any]
