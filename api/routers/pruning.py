"""Prune a trained run in several ways; and what came of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api import bodies, openapi
from api.dependencies import (
    SUBMIT,
    DryRun,
    ExperimentId,
    IdempotencyKey,
    Json,
    MeasuredIn,
    PrincipalIn,
    RawBody,
    ServiceIn,
)
from api.errors import responses
from api.routers.experiments import accepted, planned
from api.service import Service
from shared import numbers
from shared.errors import Fault, Invalid
from shared.prune import Prune, blamed
from shared.pruned import pruned

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])


@router.post(
    "/{id}/pruning",
    operation_id="prune_experiment",
    status_code=202,
    dependencies=[SUBMIT],
    responses={**responses(400, 404, 408, 409, 413, 415), **openapi.SUBMITTED},
    openapi_extra=openapi.PRUNE_BODY,
)
def prune(
    id: ExperimentId,
    service: ServiceIn,
    principal: PrincipalIn,
    raw: RawBody,
    request: Request,
    idempotency_key: IdempotencyKey,
    dry_run: DryRun = False,
) -> Response:
    """Prune a run after an epoch by several criteria to several sparsities, and train on. What
    comes is a new experiment of an ordinary spec, linked to this one both ways as a fork is, for
    which all that is stored is free; GET of its `pruning` has accuracy against sparsity. In any
    state of this experiment but `preparing`, which is 409."""
    asked = bodies.read(Prune, request.headers.get("content-type", ""), raw)
    with _blaming():
        fork = asked.fork(_windows(service, id, asked))
        if dry_run:
            return JSONResponse(planned(*service.forks.dry_run(id, fork)))
        return accepted(service, *service.forks.accept(id, fork, principal, idempotency_key))


@router.get("/{id}/pruning", operation_id="experiment_pruning", responses=responses(404, 409))
def pruning(id: ExperimentId, results: MeasuredIn) -> Json:
    """Of an experiment with pruned runs, as far as they have come: test accuracy against sparsity
    before and after fine-tuning, what is left of each layer, the area under each curve and by how
    much areas differ between criteria and between settings, paired by seed, and the rank
    correlations of the criteria. 409 where nothing is pruned."""
    found: Json = numbers.shown(pruned(results))
    return {"id": id, "name": results.name} | found


def _windows(service: Service, id: str, asked: Prune) -> list[dict[str, Any]]:
    """Those of the run, if there is one. Invalid where it is pruned before: of what is gone by then
    another pruning would have to know."""
    service.accepted(id)
    plan = service.plan_left(id)
    if plan is None or asked.run >= len(plan.runs):
        return []
    run = plan.runs[asked.run]
    if run.pruning and run.pruning["sparsity"] and run.pruning["at"] < asked.epoch:
        message = (
            f"run: {asked.run} is pruned itself, after {run.pruning['at']} epochs: prune a dense"
            " one, more, or up to there"
        )
        raise Invalid(message, [Fault("/run", "pruned-before", message)])
    return run.windows


@contextmanager
def _blaming() -> Iterator[None]:
    """What is refused in the fork is said of the body's own fields."""
    try:
        yield
    except Invalid as error:
        raise Invalid(error.detail, [blamed(fault) for fault in error.faults]) from None
