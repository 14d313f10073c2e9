"""Measure an experiment that exists, and see which jobs do."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api import bodies, openapi, pages
from api.dependencies import (
    SUBMIT,
    DryRun,
    ExperimentId,
    IdempotencyKey,
    Json,
    PageSize,
    PageToken,
    PrincipalIn,
    RawBody,
    ServiceIn,
)
from api.errors import responses
from api.measurements import asked_of
from api.routers.experiments import POLL_SECONDS, address, shown
from api.status import plan_summary
from shared import job
from shared.measurements import LaterMeasurements
from shared.plan import Plan

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])


@router.post(
    "/{id}/measurements",
    operation_id="measure_experiment",
    status_code=202,
    dependencies=[SUBMIT],
    responses={**responses(400, 404, 408, 409, 413, 415), **openapi.SUBMITTED},
    openapi_extra=openapi.MEASURE_BODY,
)
def measure(
    id: ExperimentId,
    service: ServiceIn,
    principal: PrincipalIn,
    raw: RawBody,
    request: Request,
    idempotency_key: IdempotencyKey,
    dry_run: DryRun = False,
) -> Response:
    """Measure states that are stored: a job, which is an experiment that trains nothing.

    Epochs between two checkpoints are replayed from the one before; what is measured already is
    not measured again. Without `every` and `epochs`: at epoch 0 and at every kept checkpoint. What
    the job measures joins the results of this experiment. 409 while there is nothing to measure.
    """
    asked = bodies.read(LaterMeasurements, request.headers.get("content-type", ""), raw)
    if dry_run:
        plan = _planned(service.jobs.plan(id, asked))
        return JSONResponse({"plan": plan, "asked": asked.model_dump(mode="json")})
    made, is_new = service.jobs.accept(id, asked, principal, idempotency_key)
    headers = {"Location": address(made.id), "Retry-After": str(POLL_SECONDS)}
    if not is_new:
        headers["Idempotent-Replayed"] = "true"
    assert made.plan is not None
    body = shown(service.status(made.id)) | {"plan": _planned(made.plan)}
    return JSONResponse(body | {"asked": asked_of(made.accepted.shown)}, 202, headers)


def _planned(plan: Plan) -> Json:
    return plan_summary(plan) | {"measurements": job.counts(plan)}


@router.get("/{id}/measurements", operation_id="list_measurements", responses=responses(400, 404))
def listing(
    id: ExperimentId, service: ServiceIn, page_size: PageSize, page_token: PageToken = None
) -> Json:
    """The jobs that measure this experiment, oldest first: each has a status of its own."""
    service.accepted(id)
    path = f"{address(id)}/measurements"

    def show(job: str) -> Json:
        return service.jobs.shown(job) | {"links": {"self": address(job)}}

    return pages.listed("measurements", path, service.jobs.ids(id), page_size, page_token, show)
