"""All of an experiment as one file: everything that is needed to go on without this service."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api import tables
from api.dependencies import ExperimentId, MeasuredIn, RendererIn, ServiceIn
from api.errors import responses
from api.export.archive import Archive
from api.export.checkpoints import Choice
from shared.errors import Conflict

router = APIRouter(prefix="/v1", tags=["results"])

ZIP = "application/zip"


@router.get(
    "/experiments/{id}/export.zip",
    operation_id="export_experiment",
    response_class=Response,
    responses={**responses(404, 409), 200: {"content": {ZIP: {}}}},
)
def export(
    id: ExperimentId,
    service: ServiceIn,
    results: MeasuredIn,
    renderer: RendererIn,
    checkpoints: Annotated[
        Choice, Query(description="final: the last state of each run that has ended.")
    ] = "none",
) -> Response:
    """What was asked for, the plan, every number as CSV and Parquet, figures, TensorBoard event
    files, checkpoints by choice, a README.md that says what each file is, and a script that draws
    the figures again. Of an experiment that runs: what is there so far. 409 while a data set is
    being prepared. It is made while it is sent: one that breaks off is no whole archive."""
    experiment = service.experiment(id)
    if experiment.plan is None and experiment.outcome is None:
        error = Conflict("The experiment's data set is being prepared: there are no runs to export")
        error.retry_after = 5
        raise error
    archive = Archive(service, experiment, results, renderer, checkpoints)
    return tables.streamed(archive.pieces(), f"{id}.zip", ZIP)
