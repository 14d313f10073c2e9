"""What follows from an experiment's measurements: phases of learning, fits, plasticity."""

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
    end. What is not determined is null; `reason` says why. Critical periods, sensitivity and
    controls, which need no measurement, are in the summary.
    """
    return overview.analysis(id, results)
