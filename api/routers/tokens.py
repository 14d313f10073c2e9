"""Tokens: make one, see which there are, revoke one."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api import bodies, openapi, pages
from api.dependencies import (
    ADMIN,
    GateIn,
    Json,
    PageSize,
    PageToken,
    PrincipalIn,
    RawBody,
    ServiceIn,
)
from api.errors import responses
from api.service import Service
from shared import moments, names
from shared.errors import Corrupt
from shared.tokens import SCOPES, NewToken, Token

router = APIRouter(prefix="/v1/tokens", tags=["tokens"], dependencies=[ADMIN])


@router.get("", operation_id="list_tokens", responses=responses(400))
def listing(
    gate: GateIn, service: ServiceIn, page_size: PageSize, page_token: PageToken = None
) -> Json:
    """Oldest first, those that no longer count too. No secrets: nobody has them. `unreadable` are
    those that are damaged in the store: they let nobody in, and can be revoked."""
    unreadable: list[Json] = []

    def show(id: str) -> Json | None:
        try:
            return _shown(gate.tokens.find(id), service)
        except Corrupt as error:
            unreadable.append({"id": id, "detail": error.detail})
            return None

    ids = (names.token_of(name) for name in service.store.names(names.TOKENS))
    page = pages.listed("tokens", router.prefix, ids, page_size, page_token, show)
    found = [token for token in page["tokens"] if token is not None]
    return page | {"tokens": found, "unreadable": unreadable}


@router.post(
    "",
    operation_id="create_token",
    status_code=201,
    responses={**responses(400, 408, 413, 415), **openapi.TOKEN_MADE},
    openapi_extra=openapi.TOKEN_BODY,
)
def create(
    gate: GateIn, service: ServiceIn, principal: PrincipalIn, raw: RawBody, request: Request
) -> Response:
    """Make a token. `token` in the answer is the only time that it is shown: keep it."""
    wanted = bodies.read(NewToken, request.headers.get("content-type", ""), raw)
    made, text = gate.tokens.make(wanted, principal.id)
    headers = {"Location": f"{router.prefix}/{made.id}", "Cache-Control": "no-store"}
    return JSONResponse(_shown(made, service) | {"token": text}, 201, headers)


@router.get("/{id}", operation_id="show_token", responses=responses(404))
def show(id: str, gate: GateIn, service: ServiceIn) -> Json:
    """One token: its scopes, its limits, what of its quota is used."""
    return _shown(gate.tokens.find(id), service)


@router.delete(
    "/{id}", operation_id="revoke_token", status_code=204, responses=responses(404, 408, 413)
)
def revoke(id: str, gate: GateIn) -> None:
    """For good, and within seconds in every process of the API. Again: no change."""
    gate.tokens.revoke(id)
    gate.forget(id)


def _shown(token: Token, service: Service) -> Json:
    limited = token.device_seconds is not None
    about: dict[str, Any] = token.model_dump(exclude={"hash", "scope", "device_seconds"})
    times = {name: about[name] and moments.shown(about[name]) for name in ("created", "expires",
                                                                        "revoked")}  # fmt: skip
    used = service.quotas.used(token.id) if limited else None
    return {
        **about,
        **times,
        "scopes": SCOPES[: SCOPES.index(token.scope) + 1],
        "state": token.state,
        "device_seconds": {"allowed": token.device_seconds, "used": used},
    }
