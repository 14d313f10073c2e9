"""The plan of an experiment, whole: what is trained once for several runs, and how far that is."""

import orjson
from fastapi import APIRouter, Response

from api import plan_view
from api.dependencies import ExperimentId, ServiceIn
from api.errors import responses

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])


@router.get("/{id}/plan", operation_id="experiment_plan", responses=responses(404))
def plan(id: ExperimentId, service: ServiceIn) -> Response:
    """Runs and the segments that they go through, each segment once: who shares it, which one it
    follows, and its state. `stored`: it was there before; `queued`: it can be trained now;
    `waiting`: its parent first. Whole, however large. While a data set is being prepared it is what
    is expected, and not `certain`."""
    return Response(orjson.dumps(plan_view.of(service, id)), media_type="application/json")
