"""What was measured of the information in the activations of an experiment's states."""

from fastapi import APIRouter, Response

from api import tables
from api.dependencies import ExperimentId, MeasuredIn, PageToken
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
    how = (id, results, run, format, page_size, page_token)
    return tables.flat("information", information.of_run, information.columns, *how)
