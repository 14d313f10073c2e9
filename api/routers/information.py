"""What was measured of the information in the activations of an experiment's states."""

import itertools

from fastapi import APIRouter, Response

from api import pages, tables
from api.dependencies import ExperimentId, Json, MeasuredIn, PageToken
from api.errors import responses
from shared import information

router = APIRouter(prefix="/v1", tags=["results"])


@router.get(
    "/experiments/{id}/information",
    operation_id="experiment_information",
    responses={**responses(400, 404), 200: tables.CONTENT},
)
def plane(
    id: ExperimentId,
    results: MeasuredIn,
    run: tables.Runs = None,
    format: tables.Format = "json",
    page_size: tables.RowCount = None,
    page_token: PageToken = None,
) -> Response:
    """The information plane: a bare array, one flat row for each run, epoch, images and layer, in
    bits.

    X is one of the N images shown, all equally likely, Y its label, T the layer's activations: not
    its weights. `binned`: T rounded to bins of `bin_size`. `lower` and `upper`: bounds for T with
    Gaussian noise of `noise_variance` in every unit; `i_ty_kl` and `i_ty_bhattacharyya` are
    estimates between those of I(T;Y), and bounds of nothing. `i_ty_decoder`: what a decoder finds
    in images that it has not seen, a lower bound without noise, with its standard error. A network
    is deterministic, so that each I(X;T) is of its noise or bins, and none is above `log2_samples`;
    no I(T;Y) is above `label_entropy`. Whether layers compress as they learn is contested.
    """
    given: Json = {"run": run}
    filters = {"list": "information", "id": id, **given}
    first = pages.count(page_token, filters)
    wanted = tables.chosen(results.plan.runs, run)
    found = (row for one in wanted for row in information.of_run(results, one))
    if format != "json":
        columns = information.columns(results)
        return tables.stream(format, found, columns, results, f"{id}-information")
    size = tables.size(page_size)
    page = list(itertools.islice(found, first, first + size + 1))
    token = pages.token(first + size, filters) if len(page) > size else None
    path = f"/v1/experiments/{id}/information"
    return tables.array(page[:size], path, given | {"page_size": size}, token)
