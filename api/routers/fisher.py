"""What was measured of an experiment's states: Fisher traces with what stands beside them, and
where the quadratic picture holds."""

import itertools
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from api import pages, tables
from api.dependencies import ExperimentId, Json, MeasuredIn, PageToken
from api.errors import responses
from shared import second_order, traces
from shared.traces import Normalisation

router = APIRouter(prefix="/v1", tags=["results"])

NormalisationIn = Annotated[
    Normalisation,
    Query(
        description="Of the layers' traces and errors. raw: as measured; share: of the total;"
        " per_parameter: over the layer's number of parameters; panel_max: over the largest trace"
        " that a layer of the run has at any epoch, by one method."
    ),
]


@router.get(
    "/experiments/{id}/fisher",
    operation_id="experiment_fisher",
    responses={**responses(400, 404), 200: tables.CONTENT},
)
def fisher(
    id: ExperimentId,
    results: MeasuredIn,
    run: tables.Runs = None,
    normalisation: NormalisationIn = "raw",
    shape: Annotated[
        Literal["nested", "rows"], Query(description="rows: one flat object for each layer.")
    ] = "nested",
    format: tables.Format = "json",
    page_size: tables.RowCount = None,
    page_token: PageToken = None,
) -> Response:
    """Fisher traces, in total and by layer, with their standard errors: a bare array.

    With each stands how and on what it was measured, and under `beside` what else was measured of
    the same state on the same images. A page counts measurements; the next one is in the Link
    header. Measurements of the estimator `empirical` are here and in no figure: they are of the
    true labels and not the Fisher information.
    """
    given: Json = {"run": run, "shape": shape, "normalisation": normalisation}
    filters = {"list": "fisher", "id": id, **given}
    first = pages.count(page_token, filters)
    wanted = tables.chosen(results.plan.runs, run)
    found = (row for one in wanted for row in traces.of_run(results, one, normalisation))
    if format != "json":
        nested = format == "jsonl" and shape == "nested"
        some = found if nested else traces.layer_rows(found)
        return tables.stream(format, some, traces.layer_columns(results), results, f"{id}-fisher")
    size = tables.size(page_size)
    page = list(itertools.islice(found, first, first + size + 1))
    token = pages.token(first + size, filters) if len(page) > size else None
    out = page[:size] if shape == "nested" else list(traces.layer_rows(page[:size]))
    return tables.array(out, f"/v1/experiments/{id}/fisher", given | {"page_size": size}, token)


@router.get(
    "/experiments/{id}/second_order",
    operation_id="experiment_second_order",
    responses={**responses(400, 404), 200: tables.CONTENT},
)
def quadratic(
    id: ExperimentId,
    results: MeasuredIn,
    run: tables.Runs = None,
    format: tables.Format = "json",
    page_size: tables.RowCount = None,
    page_token: PageToken = None,
) -> Response:
    """Where the quadratic picture holds: a bare array, one flat row for each run, epoch, images and
    size of the perturbation.

    The weights w are moved by random d of growing length, and the divergence of the predictions is
    set against the Fisher information F at w:

        KL(p_w+d || p_w) = 1/2 d^T F d + o(|d|^2)

    `kl` and `quadratic` are the two sides, in nats, means over images and directions. The factor
    1/2 is part of `quadratic`: the lecture that is often quoted leaves it out. `holds_up_to` is
    the largest size up to which the `ratio` of the two sides lies within 10 % of 1.
    """
    how = (id, results, run, format, page_size, page_token)
    return tables.flat("second_order", second_order.of_run, second_order.columns, *how)
