"""Is the process alive, and can it serve?"""

from fastapi import APIRouter

from api.dependencies import Json, ReadinessIn
from api.errors import responses
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
