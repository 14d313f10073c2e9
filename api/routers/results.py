"""What an experiment has found: runs, metrics, final scores, figures."""

import itertools
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from api import overview, pages, pictures, tables
from api.dependencies import (
    ExperimentId,
    Json,
    MeasuredIn,
    PageSize,
    PageToken,
    RendererIn,
    ResultsIn,
    ServiceIn,
)
from api.errors import responses
from api.figures import FIGURES, NORMALISED, OVERLAID
from api.figures.learning_curves import Metric
from shared import annotations as marks
from shared import rows
from shared.errors import Fault, Invalid, NotFound
from shared.paper_curves import CURVES
from shared.plan import RunPlan
from shared.results import METRICS
from shared.traces import Normalisation

router = APIRouter(prefix="/v1", tags=["results"])

Metrics = Annotated[
    list[str] | None, Query(alias="metric", max_length=20, description="These only; repeat it.")
]
OVERLAY = (
    "Of critical_period, sensitivity and relative_accuracy: the paper's curves to lay over it, by"
    f" id, repeated or with commas: {', '.join(id for id, one in CURVES.items() if one.fits)}."
)
Moment = Annotated[str | None, Query(max_length=40, description="RFC 3339, or ms since 1970.")]


@router.get("/experiments/{id}/runs", operation_id="experiment_runs", responses=responses(400, 404))
def runs(
    id: ExperimentId,
    service: ServiceIn,
    results: ResultsIn,
    page_size: PageSize,
    page_token: PageToken = None,
) -> Json:
    """Each run: its place in the sweep, its state, and its final score once it has one. `diverged`:
    the epoch and the step from which on its loss is not finite; such a run is a result."""
    pairs = zip(results.plan.runs, service.run_states(id), strict=False)

    def show(pair: tuple[RunPlan, str]) -> Json:
        return overview.run(*pair, results)

    path = f"/v1/experiments/{id}/runs"
    return pages.listed("runs", path, pairs, page_size, page_token, show)


@router.get(
    "/experiments/{id}/metrics",
    operation_id="experiment_metrics",
    responses={**responses(400, 404), 200: tables.CONTENT},
)
def metrics(
    id: ExperimentId,
    service: ServiceIn,
    results: ResultsIn,
    metric: Metrics = None,
    run: tables.Runs = None,
    since: Annotated[Moment, Query(alias="from")] = None,
    until: Annotated[Moment, Query(alias="to")] = None,
    shape: Annotated[
        Literal["rows", "wide"], Query(description="wide: a column for each metric.")
    ] = "rows",
    format: tables.Format = "json",
    time: Annotated[
        Literal["trained", "experiment"],
        Query(description="experiment: epochs spread over the experiment's own span."),
    ] = "trained",
    page_size: tables.RowCount = None,
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
        overview.clock(service.experiment(id), results) if time == "experiment" else None,
    )
    given = {"metric": metric, "run": run, "from": since, "to": until, "shape": shape, "time": time}
    filters = {"list": "metrics", "id": id, **given}
    after = _position(page_token, filters)
    make = rows.metric_rows if shape == "rows" else rows.wide_rows
    found = make(results, query, after if format == "json" else None)
    if format != "json":
        long = shape == "rows"
        columns = rows.metric_columns(results) if long else rows.wide_columns(results, query)
        return tables.stream(format, found, columns, results, f"{id}-metrics")
    size = tables.size(page_size)
    page = list(itertools.islice(found, size + 1))
    token = pages.token(rows.position(page[size - 1]), filters) if len(page) > size else None
    path = f"/v1/experiments/{id}/metrics"
    return tables.array(page[:size], path, given | {"page_size": size}, token)


@router.get(
    "/experiments/{id}/annotations",
    operation_id="experiment_annotations",
    responses=responses(404),
)
def annotations(
    id: ExperimentId, service: ServiceIn, results: ResultsIn, run: tables.Runs = None
) -> list[Json]:
    """The deficit windows and the changes of the training, each once: a bare array of {time,
    timeEnd, title, text, tags}, as Grafana's annotations are. Times are those of
    /metrics?time=experiment."""
    clock = overview.clock(service.experiment(id), results)
    return marks.annotations(results.plan, tables.chosen(results.plan.runs, run), clock)


def _position(token: str | None, filters: Json) -> rows.Position | None:
    match pages.after(token, filters):
        case None:
            return None
        case [int(run), int(epoch), str(metric)]:
            return run, epoch, metric
    raise pages.refused("is not one that was given out here")


@router.get(
    "/experiments/{id}/summary", operation_id="experiment_summary", responses=responses(404)
)
def summary(id: ExperimentId, results: ResultsIn) -> Json:
    """Final accuracy of each point of the sweep: mean over seeds with its 95 % interval; what a
    deficit cost, what of that survives the controls; and what was chosen where the paper is
    silent."""
    return overview.summary(id, results)


@router.get(
    "/experiments/{id}/figures/{name}",
    operation_id="experiment_figure",
    responses={**responses(404, 406, 409), 200: pictures.CONTENT},
)
def figure(
    name: str,
    request: Request,
    results: MeasuredIn,
    renderer: RendererIn,
    normalisation: Annotated[
        Normalisation | None,
        Query(description="Of the figures of layers: as for /fisher, raw without it."),
    ] = None,
    overlay: Annotated[
        list[str] | None,
        Query(max_length=20, description=OVERLAY),
    ] = None,
    metric: Annotated[
        Metric | None, Query(description="Of learning_curves: test_accuracy without it.")
    ] = None,
    format: Annotated[
        pictures.Format | None, Query(description="Without it, what Accept prefers.")
    ] = None,
) -> Response:
    """A figure as its data (JSON or CSV), as Vega-Lite, or drawn as SVG, PNG or PDF:
    critical_period, sensitivity, relative_accuracy, learning_curves, fisher_trace,
    fisher_sensitivity, fisher_layers, plasticity, filters, gradients, second_order,
    information_plane, bottleneck, pruning. 409 while nothing can be drawn."""
    if name not in FIGURES:
        raise NotFound(f"There is no figure {name[:80]!r}: there are {', '.join(FIGURES)}")
    accept = request.headers.get("accept", "*/*")

    def make() -> Json:
        return FIGURES[name](results, **_options(name, normalisation, overlay, metric))

    return pictures.answer(make, format, accept, renderer)


def _options(
    name: str,
    normalisation: Normalisation | None,
    overlay: list[str] | None,
    metric: Metric | None,
) -> dict[str, str | list[str]]:
    """Of the options that were given, those that the figure has; Invalid for any other."""
    ids = [id.strip() for part in overlay or [] for id in part.split(",") if id.strip()]
    given = {
        "normalisation": (normalisation, NORMALISED),
        "overlay": (ids, OVERLAID),
        "metric": (metric, ("learning_curves",)),
    }
    options: dict[str, str | list[str]] = {}
    for option, (value, figures) in given.items():
        if value and name not in figures:
            message = f"the figure {name} has no '{option}': of {', '.join(figures)}"
            raise Invalid(message, [Fault(f"/query/{option}", "unknown-parameter", message)])
        if value:
            options[option] = value
    return options
