"""Is the process alive, can it serve, and what does it count?"""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from api import meters
from api.dependencies import READ, Json, ReadinessIn, ServiceIn
from api.errors import refusals, responses
from shared.errors import StoreUnavailable

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="health")
async def health() -> Json:
    """The process answers. Says nothing of the store or of Redis."""
    return {"status": "alive"}


@router.get("/readyz", operation_id="readiness", responses=responses())
def readiness(readiness: ReadinessIn) -> Json:
    """503 names what keeps requests from being served. Without Redis they are: that is degraded."""
    faults = readiness.faults()
    if any(fault.pointer == "/store" for fault in faults):
        raise StoreUnavailable("; ".join(fault.message for fault in faults), faults)
    status = "degraded" if faults else "ready"
    return {"status": status, "errors": [vars(fault) for fault in faults]}


@router.get(
    "/metrics",
    operation_id="prometheus",
    dependencies=[READ],
    response_class=PlainTextResponse,
    responses=refusals(),
)
def metrics(request: Request, service: ServiceIn) -> Response:
    """For Prometheus, in its text format or OpenMetrics; what workers count stands at their own."""
    text, media_type = meters.exposition(service.live, request.headers.get("accept", ""))
    return Response(text, media_type=media_type)
