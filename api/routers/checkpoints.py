"""Checkpoints: the stored states of an experiment's runs, and links to them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from api import pages
from api.dependencies import (
    ExperimentId,
    Json,
    PageSize,
    PageToken,
    RecordsIn,
    ResultsIn,
    ServiceIn,
    SettingsIn,
)
from api.errors import responses
from api.service import Service
from shared import moments, names
from shared.chain import Manifest
from shared.errors import Corrupt, NotFound
from shared.plan import Plan

router = APIRouter(prefix="/v1", tags=["results"])

_KEY = re.compile(r"[0-9a-f]{64}")


@router.get(
    "/experiments/{id}/checkpoints",
    operation_id="experiment_checkpoints",
    responses=responses(400, 404),
)
def checkpoints(
    id: ExperimentId,
    service: ServiceIn,
    results: ResultsIn,
    page_size: PageSize,
    page_token: PageToken = None,
) -> Json:
    """The stored states that this experiment's runs went through, at the ends of segments."""
    path = f"/v1/experiments/{id}/checkpoints"
    found = _checkpoints(id, service, results.plan)
    return pages.listed("checkpoints", path, found, page_size, page_token, dict)


def _checkpoints(id: str, service: Service, plan: Plan) -> Iterator[Json]:
    passing: dict[int, list[int]] = {}
    for run in plan.runs:
        for index in run.segments:
            passing.setdefault(index, []).append(run.index)
    done = service.done_segments(id) if plan.runs else set()
    for index, segment in enumerate(plan.segments):
        if index not in done or segment.only_measures:
            continue
        manifest = service.records.manifest(segment.scope, segment.key)
        if manifest is None:
            continue
        address = f"/v1/checkpoints/{segment.key}"
        if segment.scope:  # trained for this run alone: the key by itself names the shared one
            owner = names.namesake(segment.scope)
            address += f"?experiment={owner}&run={passing[index][0]}"
        yield {
            "key": segment.key,
            "epoch": manifest.end,
            "runs": passing.get(index, []),
            "sha256": manifest.checkpoint,
            "links": {"self": address},
        }


@router.get("/checkpoints/{key}", operation_id="checkpoint", responses=responses(404))
def checkpoint(
    key: str,
    service: ServiceIn,
    records: RecordsIn,
    settings: SettingsIn,
    experiment: Annotated[str | None, Query(description="Of a run trained without reuse.")] = None,
    run: Annotated[int | None, Query(ge=0, description="Of that experiment.")] = None,
) -> Json:
    """A link to the safetensors file that needs no credentials until it expires. 503 where the file
    does not verify: it is computed again then. What is downloaded can be held against `sha256`."""
    scope = "" if experiment is None else names.alone(experiment, str(run or 0))
    manifest = records.manifest(scope, key) if _KEY.fullmatch(key) else None
    if manifest is None:
        raise NotFound(f"There is no checkpoint {key[:80]!r}: a key is 64 hexadecimal digits")
    blob, seconds = names.blob(manifest.checkpoint), settings.link_seconds
    size = _size(manifest, scope, service)
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    return {
        "key": key,
        "epoch": manifest.end,
        "sha256": manifest.checkpoint,
        "bytes": size,
        "link": records.store.link(blob, seconds, f"{key[:16]}-{manifest.end}.safetensors"),
        "expires": moments.shown(expires),
        "provenance": manifest.provenance,
    }


def _size(manifest: Manifest, scope: str, service: Service) -> int:
    """Of a checkpoint that verifies. NotFound with the reason where it was collected."""
    store = service.store
    if store.verifies(manifest.checkpoint):
        return store.size(names.blob(manifest.checkpoint))
    if service.records.is_collected(scope, manifest):
        raise NotFound(
            f"The checkpoint of state {manifest.key} was removed to make room (hubel fsck"
            " --collect): a fork or a measurement that needs it trains it again"
        )
    service.damage.met_state(scope, manifest)
    raise Corrupt(
        f"The checkpoint of state {manifest.key} is damaged or gone and is computed again, where a"
        " worker is there: ask again"
    )
