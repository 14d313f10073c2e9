"""Submit, list, look at, cancel and retry experiments."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
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
    Tags,
)
from api.errors import responses
from api.experiment import Experiment
from api.lifecycle import State
from api.service import Service
from api.status import plan_summary
from shared import names, planning
from shared.errors import HubelError
from shared.plan import Plan
from shared.remarks import RemarksPatch
from shared.spec import ExperimentSpec

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])

POLL_SECONDS = 2
PARTS = (
    "spec", "runs", "metrics", "annotations", "fisher", "second_order", "summary", "analysis",
    "checkpoints", "measurements", "events", "failures", "plan", "cancel", "retry", "fork",
    "pruning",
)  # fmt: skip


@router.post(
    "",
    operation_id="submit_experiment",
    status_code=202,
    dependencies=[SUBMIT],
    responses={**responses(400, 408, 409, 413, 415), **openapi.SUBMITTED},
    openapi_extra=openapi.SUBMIT_BODY,
)
def submit(
    service: ServiceIn,
    principal: PrincipalIn,
    raw: RawBody,
    request: Request,
    idempotency_key: IdempotencyKey,
    dry_run: DryRun = False,
) -> Response:
    """Accept an experiment: a spec, or a preset with what is to be other in it.

    With the same Idempotency-Key and body: the first one again.
    """
    with bodies.experiment(request.headers.get("content-type", ""), raw) as spec:
        if dry_run:
            return JSONResponse(planned(spec, service.dry_run(spec)))
        experiment, is_new = service.accept(spec, principal, idempotency_key)
    return accepted(service, experiment, is_new)


def accepted(service: Service, experiment: Experiment, is_new: bool) -> Response:
    headers = {"Location": address(experiment.id), "Retry-After": str(POLL_SECONDS)}
    if not is_new:
        headers["Idempotent-Replayed"] = "true"
    body = shown(service.status(experiment.id)) | {"spec": experiment.accepted.shown}
    return JSONResponse(body, 202, headers)


def planned(spec: ExperimentSpec, plan: Plan) -> Json:
    return {
        "plan": plan_summary(plan),
        # Before a data set is prepared nobody knows what of it is stored already.
        "certain": planning.is_certain(plan),
        "spec": spec.model_dump(mode="json"),
    }


@router.get(
    "", operation_id="list_experiments", responses=responses(400), response_model=dict[str, Any]
)
def listing(
    service: ServiceIn,
    page_size: PageSize,
    tags: Tags,
    page_token: PageToken = None,
    state: State | None = None,
    name: Annotated[
        str | None, Query(max_length=200, description="Part of the name, in any case.")
    ] = None,
) -> Response:
    """Newest first. `next` is the address of the next page, or null. `unreadable` are those of
    which something is damaged in the store, or of a newer version: whether they match a filter
    nobody can tell."""
    filters = {"list": "experiments", "state": state, "tags": tags, "name": name}
    found = service.page(page_size, _entry(page_token, filters), state, tags, name)
    token = None if found.last is None else pages.token(found.last, filters)
    given = {"state": state, "name": name, "tag": tags}
    page = {
        "experiments": [shown(status) for status in found.experiments],
        "unreadable": found.unreadable,
        "next": pages.address(router.prefix, given | {"page_size": page_size}, token),
        "next_page_token": token,
    }
    return _answer(page)


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


@router.get(
    "/{id}",
    operation_id="experiment_status",
    responses=responses(404),
    response_model=dict[str, Any],
)
async def status(
    id: Annotated[str, Path(description="24 hexadecimal digits.")], request: Request
) -> Response:
    """State, progress, time left, failures, plan. Cheap: poll it. `retries` is the experiment that
    this one tries again, `retried_by` are those that try this one again, oldest first; `forks` is
    the experiment from a run of which this one goes on, `forked_by` are those that go on from this
    one."""
    # Most polls are answered here, without a thread; a response of our own is not copied first.
    service: Service = request.app.state.service
    found = await service.statuses.polled(id)
    retried = await service.retries.polled(id, found["state"])
    forked = await service.forks.polled(id)
    return _answer(shown(found) | {"retried_by": retried, "forked_by": forked})


@router.patch(
    "/{id}",
    operation_id="update_experiment",
    dependencies=[SUBMIT],
    responses=responses(400, 404, 408, 409, 413, 415),
    openapi_extra=openapi.PATCH_BODY,
)
def update(id: ExperimentId, service: ServiceIn, raw: RawBody, request: Request) -> Json:
    """Change tags and notes, by a JSON Merge Patch (RFC 7396); of what was accepted nothing
    changes. In every state. Of several at once each stands: tags are merged one by one."""
    patch = bodies.read_patch(RemarksPatch, request.headers.get("content-type", ""), raw)
    service.remarks.patch(id, patch)
    return shown(service.statuses.of(id))


@router.delete(
    "/{id}",
    operation_id="delete_experiment",
    status_code=204,
    dependencies=[SUBMIT],
    responses=responses(404, 408, 409, 413),
)
def delete(id: ExperimentId, service: ServiceIn) -> None:
    """Delete what has ended, with the measurement jobs on it: from now on it is not found. What
    nothing else needs (states, measurements, checkpoints) is freed behind, an hour later or more.
    409 before it has ended, and while a job on it has not. Quotas get nothing back."""
    service.deletion.delete(id)


def _answer(content: Json) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


@router.get("/{id}/spec", operation_id="experiment_spec", responses=responses(404))
def spec(id: ExperimentId, service: ServiceIn) -> Json:
    """What was accepted, with every default written out. Of a measurement job: what it measures."""
    return service.accepted(id).shown


@router.post(
    "/{id}/cancel",
    operation_id="cancel_experiment",
    dependencies=[SUBMIT],
    responses=responses(404, 408, 409, 413),
)
def cancel(id: ExperimentId, service: ServiceIn) -> Json:
    """End it now; what is stored stays. Again: no change. After it has ended by itself: 409."""
    service.cancel(id)
    return shown(service.status(id))


@router.post(
    "/{id}/retry",
    operation_id="retry_experiment",
    status_code=202,
    dependencies=[SUBMIT],
    responses={**responses(404, 408, 409, 413), 202: openapi.SUBMITTED[202]},
)
def retry(
    id: ExperimentId,
    service: ServiceIn,
    principal: PrincipalIn,
    idempotency_key: IdempotencyKey,
) -> Response:
    """Try again what has failed or was cancelled: a new experiment of the same spec, linked to this
    one both ways. What is stored is not trained or measured again, also where `reuse` is off; what
    kept failing gets as many attempts as at first. Of a measurement job: a new job. 409 before the
    end, and after success."""
    return accepted(service, *service.retries.accept(id, principal, idempotency_key))


def address(id: str) -> str:
    return f"{router.prefix}/{id}"


def shown(status: dict[str, Any]) -> Json:
    path = address(status["id"])
    figures = f"{path}/figures/{{name}}"
    links = {"self": path, **{part: f"{path}/{part}" for part in PARTS}, "figures": figures}
    links |= {"export": f"{path}/export.zip"}
    return {**status, "links": links}
