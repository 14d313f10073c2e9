"""Submit, list, look at and cancel experiments."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from api import bodies, openapi, pages
from api.dependencies import (
    ExperimentId,
    IdempotencyKey,
    Json,
    PageSize,
    PageToken,
    RawBody,
    ServiceIn,
    Tags,
)
from api.errors import responses
from api.service import Service
from api.status import plan_summary
from shared import names, planning
from shared.errors import HubelError
from shared.spec import ExperimentSpec

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])

State = Literal["preparing", "queued", "running", "succeeded", "failed", "cancelled"]
POLL_SECONDS = 2
PARTS = (
    "spec", "runs", "metrics", "fisher", "second_order", "summary", "analysis", "checkpoints",
    "measurements", "events", "cancel",
)  # fmt: skip


@router.post(
    "",
    operation_id="submit_experiment",
    status_code=202,
    responses={**responses(400, 408, 409, 413, 415), **openapi.SUBMITTED},
    openapi_extra=openapi.SUBMIT_BODY,
)
def submit(
    service: ServiceIn,
    raw: RawBody,
    request: Request,
    idempotency_key: IdempotencyKey,
    dry_run: Annotated[
        bool, Query(description="Answer 200 with the plan; store and queue nothing.")
    ] = False,
) -> Response:
    """Accept an experiment: a spec, or a preset with what is to be other in it.

    With the same Idempotency-Key and body: the first one again.
    """
    with bodies.experiment(request.headers.get("content-type", ""), raw) as spec:
        if dry_run:
            return JSONResponse(_dry_run(service, spec))
        experiment, is_new = service.accept(spec, idempotency_key=idempotency_key)
    headers = {"Location": address(experiment.id), "Retry-After": str(POLL_SECONDS)}
    if not is_new:
        headers["Idempotent-Replayed"] = "true"
    body = shown(service.status(experiment.id)) | {"spec": experiment.accepted.shown}
    return JSONResponse(body, 202, headers)


def _dry_run(service: Service, spec: ExperimentSpec) -> Json:
    plan = service.dry_run(spec)
    return {
        "plan": plan_summary(plan),
        # Before a data set is prepared nobody knows what of it is stored already.
        "certain": planning.is_certain(plan),
        "spec": spec.model_dump(mode="json"),
    }


@router.get("", operation_id="list_experiments", responses=responses(400))
def listing(
    service: ServiceIn,
    page_size: PageSize,
    tags: Tags,
    page_token: PageToken = None,
    state: State | None = None,
    name: Annotated[
        str | None, Query(max_length=200, description="Part of the name, in any case.")
    ] = None,
) -> Json:
    """Newest first. `next` is the address of the next page, or null."""
    filters = {"list": "experiments", "state": state, "tags": tags, "name": name}
    found, last = service.listing(page_size, _entry(page_token, filters), state, tags, name)
    token = None if last is None else pages.token(last, filters)
    given = {"state": state, "name": name, "tag": [f"{k}:{v}" for k, v in tags.items()]}
    return {
        "experiments": [shown(status) for status in found],
        "next": pages.address(router.prefix, given | {"page_size": page_size}, token),
        "next_page_token": token,
    }


def _entry(token: str | None, filters: Json) -> str | None:
    """The index entry after which a page starts."""
    entry = pages.after(token, filters)
    if entry is None:
        return None
    try:
        if names.index_entry(names.experiment_of(entry)) == entry:
            return str(entry)
    except (HubelError, AttributeError):
        pass
    raise pages.refused("is not one that was given out here")


@router.get("/{id}", operation_id="experiment_status", responses=responses(404))
def status(id: ExperimentId, service: ServiceIn) -> Json:
    """State, progress, time left, failures, plan. Cheap: poll it."""
    return shown(service.status(id))


@router.get("/{id}/spec", operation_id="experiment_spec", responses=responses(404))
def spec(id: ExperimentId, service: ServiceIn) -> Json:
    """What was accepted, with every default written out. Of a measurement job: what it measures."""
    return service.accepted(id).shown


@router.post(
    "/{id}/cancel", operation_id="cancel_experiment", responses=responses(404, 408, 409, 413)
)
def cancel(id: ExperimentId, service: ServiceIn) -> Json:
    """End it now; what is stored stays. Again: no change. After it has ended by itself: 409."""
    service.cancel(id)
    return shown(service.status(id))


def address(id: str) -> str:
    return f"{router.prefix}/{id}"


def shown(status: dict[str, Any]) -> Json:
    path = address(status["id"])
    figures = f"{path}/figures/{{name}}"
    links = {"self": path, **{part: f"{path}/{part}" for part in PARTS}, "figures": figures}
    return {**status, "links": links}
