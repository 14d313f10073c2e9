"""What an experiment has found: runs, metrics, Fisher traces, figures."""

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from api import pages, pictures
from api.dependencies import (
    ExperimentId,
    Json,
    PageSize,
    PageToken,
    RendererIn,
    ResultsIn,
    ServiceIn,
)
from api.errors import responses
from api.figures import FIGURES
from api.service import Experiment
from shared import numbers, rows, score
from shared.errors import NotFound
from shared.plan import RunPlan
from shared.results import METRICS, Results, Row

router = APIRouter(prefix="/v1", tags=["results"])

ROWS = 10_000
MAX_ROWS = 50_000
CSV: dict[str, Any] = {"content": {"text/csv": {}, "application/json": {}}}

Metrics = Annotated[
    list[str] | None, Query(alias="metric", max_length=20, description="These only; repeat it.")
]
Runs = Annotated[
    list[int] | None, Query(alias="run", max_length=1000, description="These only; repeat it.")
]
Format = Annotated[Literal["json", "csv"], Query(description="csv: every row, in one stream.")]
RowCount = Annotated[
    int | None, Query(ge=0, description=f"Default {ROWS}; more than {MAX_ROWS} is {MAX_ROWS}.")
]
Moment = Annotated[str | None, Query(max_length=40, description="RFC 3339, or ms since 1970.")]


@router.get("/experiments/{id}/runs", operation_id="experiment_runs", responses=responses(400, 404))
def runs(
    id: ExperimentId,
    service: ServiceIn,
    results: ResultsIn,
    page_size: PageSize,
    page_token: PageToken = None,
) -> Json:
    """Each run: its place in the sweep, its state, and its final score once it has one."""
    states = service.run_states(id)

    def show(run: RunPlan) -> Json:
        return _run(run, states[run.index], results)

    path = f"/v1/experiments/{id}/runs"
    return pages.listed("runs", path, results.plan.runs, page_size, page_token, show)


def _run(run: RunPlan, state: str, results: Results) -> Json:
    found = score.final_score(results, run) if state == "succeeded" else None
    return {
        "run": run.index,
        "variant": run.variant,
        "point": run.point,
        "seed": run.seed,
        "state": state,
        "epochs": run.epochs,
        "windows": run.windows,
        "score": numbers.shown(found),
    }


@router.get(
    "/experiments/{id}/metrics",
    operation_id="experiment_metrics",
    responses={**responses(400, 404), 200: CSV},
)
def metrics(
    id: ExperimentId,
    service: ServiceIn,
    results: ResultsIn,
    metric: Metrics = None,
    run: Runs = None,
    since: Annotated[Moment, Query(alias="from")] = None,
    until: Annotated[Moment, Query(alias="to")] = None,
    shape: Annotated[
        Literal["rows", "wide"], Query(description="wide: a column for each metric.")
    ] = "rows",
    format: Format = "json",
    time: Annotated[
        Literal["trained", "experiment"],
        Query(description="experiment: epochs spread over the experiment's own span."),
    ] = "trained",
    page_size: RowCount = None,
    page_token: PageToken = None,
) -> Response:
    """Every number of every epoch, by run, epoch and metric: a bare array of flat objects.

    The next page is in the Link header.
    """
    query = rows.Query(
        tuple(metric) if metric else METRICS,
        None if run is None else frozenset(run),
        None if since is None else rows.moment(since, "from"),
        None if until is None else rows.moment(until, "to"),
        _clock(service.experiment(id), results) if time == "experiment" else None,
    )
    given = {"metric": metric, "run": run, "from": since, "to": until, "shape": shape, "time": time}
    filters = {"list": "metrics", "id": id, **given}
    after = _position(page_token, filters)
    make = rows.metric_rows if shape == "rows" else rows.wide_rows
    found = make(results, query, after)
    if format == "csv":
        columns = (
            rows.metric_columns(results) if shape == "rows" else rows.wide_columns(results, query)
        )
        return _csv(rows.csv_lines(_limited(found, page_size), columns), f"{id}-metrics")
    size = min(page_size or ROWS, MAX_ROWS)
    page = list(itertools.islice(found, size + 1))
    token = pages.token(rows.position(page[size - 1]), filters) if len(page) > size else None
    return _array(page[:size], f"/v1/experiments/{id}/metrics", given | {"page_size": size}, token)


def _clock(experiment: Experiment, results: Results) -> rows.Clock:
    ended = experiment.outcome["finished"] if experiment.outcome else None
    return rows.clock(results, experiment.created, ended)


def _position(token: str | None, filters: Json) -> rows.Position | None:
    match pages.after(token, filters):
        case None:
            return None
        case [int(run), int(epoch), str(metric)]:
            return run, epoch, metric
    raise pages.refused("is not one that was given out here")


@router.get(
    "/experiments/{id}/fisher",
    operation_id="experiment_fisher",
    responses={**responses(400, 404), 200: CSV},
)
def fisher(
    id: ExperimentId,
    results: ResultsIn,
    run: Runs = None,
    shape: Annotated[
        Literal["nested", "rows"], Query(description="rows: one flat object for each layer.")
    ] = "nested",
    format: Format = "json",
    page_size: RowCount = None,
    page_token: PageToken = None,
) -> Response:
    """Fisher traces, in total and by layer, with their standard errors: a bare array.

    A page counts measurements. The next one is in the Link header.
    """
    given: Json = {"run": run, "shape": shape}
    filters = {"list": "fisher", "id": id, **given}
    first = pages.count(page_token, filters)
    wanted = [one for one in results.plan.runs if run is None or one.index in run]
    found = itertools.islice((row for one in wanted for row in results.fisher(one)), first, None)
    if format == "csv":
        flat = rows.layer_rows(_limited(found, page_size))
        return _csv(rows.csv_lines(flat, rows.layer_columns(results)), f"{id}-fisher")
    size = min(page_size or ROWS, MAX_ROWS)
    page = list(itertools.islice(found, size + 1))
    token = pages.token(first + size, filters) if len(page) > size else None
    out = page[:size] if shape == "nested" else list(rows.layer_rows(page[:size]))
    return _array(out, f"/v1/experiments/{id}/fisher", given | {"page_size": size}, token)


@router.get(
    "/experiments/{id}/summary", operation_id="experiment_summary", responses=responses(404)
)
def summary(id: ExperimentId, results: ResultsIn) -> Json:
    """Final accuracy of each point of the sweep: mean over seeds with its 95 % interval."""
    return {"id": id, "name": results.name, **score.summary(results)}


@router.get(
    "/experiments/{id}/figures/{name}",
    operation_id="experiment_figure",
    responses={**responses(404, 406, 409), 200: pictures.CONTENT},
)
def figure(
    name: str,
    request: Request,
    results: ResultsIn,
    renderer: RendererIn,
    format: Annotated[
        pictures.Format | None, Query(description="Without it, what Accept prefers.")
    ] = None,
) -> Response:
    """A figure as its data, as Vega-Lite, or drawn. 409 while there is nothing to draw."""
    if name not in FIGURES:
        raise NotFound(f"There is no figure {name[:80]!r}: there are {', '.join(FIGURES)}")
    chosen = format or pictures.accepted(request.headers.get("accept", "*/*"))
    made = FIGURES[name](results)
    headers = {"Vary": "Accept", "Content-Security-Policy": pictures.POLICY}
    return Response(pictures.render(made, chosen, renderer), 200, headers, pictures.TYPES[chosen])


def _array(page: list[Row], path: str, given: Json, token: str | None) -> Response:
    address = pages.address(path, given, token)
    return JSONResponse(page, headers={"Link": f'<{address}>; rel="next"'} if address else {})


def _limited(found: Iterator[Row], page_size: int | None) -> Iterator[Row]:
    return itertools.islice(found, page_size or None)


def _csv(lines: Iterator[str], name: str) -> Response:
    # The first row is read before the answer begins: a store that is away is still a 503.
    whole = itertools.chain([next(lines)], lines)
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(whole, 200, headers, "text/csv; charset=utf-8")
