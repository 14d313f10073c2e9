"""Go on otherwise from an epoch of a run that exists."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api import bodies, openapi
from api.dependencies import (
    SUBMIT,
    DryRun,
    ExperimentId,
    IdempotencyKey,
    PrincipalIn,
    RawBody,
    ServiceIn,
)
from api.errors import responses
from api.routers.experiments import accepted, planned
from shared.fork import Fork

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])


@router.post(
    "/{id}/fork",
    operation_id="fork_experiment",
    status_code=202,
    dependencies=[SUBMIT],
    responses={**responses(400, 404, 408, 409, 413, 415), **openapi.SUBMITTED},
    openapi_extra=openapi.FORK_BODY,
)
def fork(
    id: ExperimentId,
    service: ServiceIn,
    principal: PrincipalIn,
    raw: RawBody,
    request: Request,
    idempotency_key: IdempotencyKey,
    dry_run: DryRun = False,
) -> Response:
    """Take a run up to an epoch and go on otherwise: other deficit windows, another length, another
    way of training, other measurements. What comes is a new experiment of an ordinary spec, linked
    to this one both ways, for which all that is stored is free; an epoch between two checkpoints is
    reached by replay. In any state of this experiment but `preparing`, which is 409."""
    asked = bodies.read(Fork, request.headers.get("content-type", ""), raw)
    if dry_run:
        return JSONResponse(planned(*service.forks.dry_run(id, asked)))
    return accepted(service, *service.forks.accept(id, asked, principal, idempotency_key))
