"""Workers and the queue, as a person looks at them."""

from fastapi import APIRouter

from api import workers
from api.dependencies import Json, ServiceIn

router = APIRouter(prefix="/v1", tags=["service"])


@router.get("/workers", operation_id="list_workers")
def listing(service: ServiceIn) -> Json:
    """The workers that have been heard of in the last 20 s: what each does and since when; of a
    segment under way how far it is. `unfit`: its device, its disk or the store keeps it from
    working. `queue` counts pieces of work; `messages` is the length of the queue itself. All of it
    is what Redis knows: `known` is false while that is away."""
    return workers.of(service.live)
