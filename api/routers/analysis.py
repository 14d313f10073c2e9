"""What follows from an experiment's measurements: phases, fits, plasticity, the bottleneck."""

from fastapi import APIRouter

from api import overview
from api.dependencies import ExperimentId, Json, MeasuredIn
from api.errors import responses

router = APIRouter(prefix="/v1", tags=["results"])


@router.get(
    "/experiments/{id}/analysis", operation_id="experiment_analysis", responses=responses(404)
)
def analysis(id: ExperimentId, results: MeasuredIn) -> Json:
    """Of the Fisher traces measured so far, by point of the sweep and way of measuring.

    `phases`: where the trace peaks and has fallen to half, where accuracy reaches its plateau.
    `fits`: the trace of the clean runs against the sensitivity to a window, F = a exp(c S) + b.
    `plasticity`: how far the layers' shares of the trace move between the deficit's removal and the
    end. `stages`: where each run stood when its deficit was removed and at the end: memorising,
    crossing or forgetting. `bottleneck`: over the epoch of removal, the trace left at the end, the
    layers' shares of it, and the loss along the straight line to the run without a deficit, with
    the height of its barrier. What is not determined is null; `reason` says why. Critical periods,
    sensitivity and controls, which need no measurement, are in the summary.
    """
    return overview.analysis(id, results)
