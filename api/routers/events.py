"""The stream of an experiment's events."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from api import answers, events
from api.dependencies import ExperimentId, GateIn, Json, PrincipalIn, ServiceIn
from api.errors import responses
from api.points import Points
from api.routers.experiments import shown

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`status`: the status, whenever it has changed. `end`: the outcome, last of"
        " all. With `points`: `points`, a list of {segment, runs, epochs, train_loss, ...}, a"
        " number for each epoch, and `fisher`, a list of {segment, runs, epoch, estimator, name,"
        " total, layers, ...}; their `id` says how far one has come: nothing is repeated or left"
        " out after it. Comments come in between while nothing changes.",
        "content": {events.MEDIA_TYPE: {"schema": answers.EVENT}},
    },
    204: {"description": "The last event there is was received already."},
}


@router.get(
    "/{id}/events",
    operation_id="experiment_events",
    response_class=Response,
    responses={**responses(404, 429), **STREAM},
)
async def stream(
    id: ExperimentId,
    request: Request,
    service: ServiceIn,
    gate: GateIn,
    principal: PrincipalIn,
    last_event_id: Annotated[
        str | None, Header(description="Of the last event received: what changed since is sent.")
    ] = None,
    points: Annotated[
        bool,
        Query(
            description="Also every epoch and every Fisher trace that the experiment asked for,"
            " from the first on. A measurement job has a stream of its own, of the same runs."
        ),
    ] = False,
) -> Response:
    """Server-sent events, from the status as it is now to the experiment's end. A page's
    EventSource reconnects by itself and goes on where it was. A stream ends with its token."""
    await run_in_threadpool(service.accepted, id)
    last = events.Last.read(last_event_id)
    if last.id == events.END:
        return Response(status_code=204)
    hub = _hub(request, service)
    hub.check_room()
    headers = {"Cache-Control": "no-store", "Connection": "close", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        hub.stream(id, last, partial(gate.still_admits, principal), points),
        200,
        headers,
        events.MEDIA_TYPE,
    )


def _hub(request: Request, service: ServiceIn) -> events.Events:
    """One a process, made when somebody first listens."""
    state = request.app.state
    if not hasattr(state, "events"):
        state.events = events.Events(
            lambda id: _status(id, service), lambda id: Points(id, service)
        )
    found: events.Events = state.events
    return found


def _status(id: str, service: ServiceIn) -> Json:
    """As GET of the experiment gives it."""
    links = {"retried_by": service.retries.of(id), "forked_by": service.forks.of(id)}
    return shown(service.statuses.of(id)) | links
