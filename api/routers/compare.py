"""Several experiments on one axis."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from api import comparison, pictures
from api.dependencies import RendererIn, ServiceIn
from api.errors import responses
from api.figures import FIGURES
from api.figures.learning_curves import Metric
from shared import names
from shared.errors import Fault, Invalid

router = APIRouter(prefix="/v1", tags=["results"])


@router.get(
    "/compare",
    operation_id="compare_experiments",
    responses={**responses(404, 406, 409), 200: pictures.CONTENT},
)
def compare(
    request: Request,
    service: ServiceIn,
    renderer: RendererIn,
    experiments: Annotated[
        list[str], Query(max_length=64, description="2 to 8 ids, repeated or with commas.")
    ],
    figure: Literal["critical_period", "learning_curves", "fisher_trace"] = "critical_period",
    metric: Annotated[
        Metric | None, Query(description="Of learning_curves; test_accuracy without it.")
    ] = None,
    format: Annotated[
        pictures.Format | None, Query(description="Without it, what Accept prefers.")
    ] = None,
) -> Response:
    """A figure of several experiments on one axis, each curve named by its experiment. In every
    form that figures have. 409 while there is nothing to draw."""
    ids = [id.strip() for part in experiments for id in part.split(",") if id.strip()]
    for id in ids:
        names.experiment_object(id, "spec.json")
    if metric is not None and figure != "learning_curves":
        message = f"the figure {figure} has no 'metric': learning_curves has"
        raise Invalid(message, [Fault("/query/metric", "unknown-parameter", message)])
    results = comparison.of(list(dict.fromkeys(ids)), service, figure == "fisher_trace")
    options = {"metric": metric} if metric else {}
    accept = request.headers.get("accept", "*/*")
    return pictures.answer(lambda: FIGURES[figure](results, **options), format, accept, renderer)
