"""Data sets: the built-in ones and one's own."""

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api import limits, uploads
from api.dependencies import ADMIN, SUBMIT, GateIn, Json, PrincipalIn, ServiceIn
from api.errors import responses
from api.service import Service
from shared import dataset_store, names
from shared.arrays import Summary
from shared.dataset_store import Named
from shared.datasets import CATALOG, BuiltIn
from shared.errors import Conflict, DataDamaged, NotFound
from shared.spec import DATASET_NAME
from shared.storage import Storage

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "An .npz with train_images, train_labels, test_images, test_labels: uint8 "
        "images (N, H, W, C) or (N, H, W), integer labels (N,). May hold classes: their names, 1-D "
        f"text. Ends with 408 where no byte arrives for {limits.BODY_SECONDS:.0f} s.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("", operation_id="list_datasets", responses=responses())
def listing(service: ServiceIn) -> Json:
    """Built-in ones first. A built-in one is prepared by a worker when it is first used."""
    stored = set(dataset_store.stored_names(service.store))
    own = sorted(stored - set(CATALOG))
    return {"datasets": [_listed(name, service.store) for name in [*CATALOG, *own]]}


@router.get("/{name}", operation_id="dataset", responses=responses(404))
def dataset(name: str, service: ServiceIn) -> Json:
    """Shape, classes, counts, and the digest that keys are computed from."""
    return _shown(name, service.store)


@router.put(
    "/{name}",
    operation_id="put_dataset",
    status_code=201,
    dependencies=[SUBMIT],
    responses={
        **responses(400, 408, 409, 413, 507),
        200: {"description": "The name meant these already."},
    },
    openapi_extra=UPLOAD,
)
async def put(
    name: str, request: Request, service: ServiceIn, gate: GateIn, principal: PrincipalIn
) -> Response:
    """Store an .npz by the digest of its arrays, and let the name point to it. Nothing is stored
    where the token ends before the body does."""
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isascii() and length.isdigit() else None
    summary, is_new = await uploads.receive(
        name,
        request.stream(),
        announced,
        service.store,
        service.settings,
        partial(gate.admit_still, principal),
    )
    body = {"name": name, "built_in": False, "prepared": True, **_facts(name, summary)}
    return JSONResponse(body, 201 if is_new else 200, {"Location": f"{router.prefix}/{name}"})


@router.delete(
    "/{name}",
    operation_id="delete_dataset",
    status_code=204,
    dependencies=[ADMIN],
    responses=responses(404, 409),
)
def delete(name: str, service: ServiceIn) -> None:
    """Forget the name. 409 while an experiment that has not ended uses it."""
    if name in CATALOG:
        raise Conflict(f"'{name}' is built in and stays")
    found = _find(name, service.store)
    users = list(_unfinished_users(found.summary.digest, service))
    if users:
        raise Conflict(f"'{name}' is in use: wait for or cancel {', '.join(users[:3])} first")
    service.store.remove(names.dataset_pointer(name))


def _unfinished_users(digest: str, service: Service) -> Iterator[str]:
    for entry in service.store.names(names.dataset_uses(digest)):
        id = names.experiment_of(entry)
        if service.outcome(id) is None:
            yield id


def _listed(name: str, store: Storage) -> Json:
    """One that is damaged does not hide the others."""
    try:
        return _shown(name, store)
    except DataDamaged as error:
        nothing = {"shape": [], "classes": 0, "train_samples": 0, "test_samples": 0, "digest": None}
        return {
            "name": name,
            "built_in": False,
            "prepared": False,
            "damage": error.detail,
        } | nothing


def _shown(name: str, store: Storage) -> Json:
    """What the store knows, and before that what the catalog does."""
    known = CATALOG.get(name)
    try:
        found = _find(name, store)
    except (NotFound, DataDamaged):  # a worker makes a built-in one again
        if known is None:
            raise
        facts = {"shape": known.shape, "classes": known.classes, **_counts(known), "digest": None}
        prepared = False
    else:
        facts = _facts(name, found.summary) | {"created": found.created}
        prepared = True
    about = (
        {}
        if known is None
        else {
            "description": known.description,
            "source": known.source,
            "licence": known.licence,
        }
    )
    return {"name": name, "built_in": known is not None, "prepared": prepared, **about, **facts}


def _facts(name: str, summary: Summary) -> Json:
    facts = summary.model_dump(mode="json", include={"shape", "classes", "class_names", "digest"})
    known = CATALOG.get(name)
    normalised = {
        "mean": (known and known.mean) or summary.mean,
        "std": (known and known.std) or summary.std,
    }
    return facts | _counts(summary) | normalised


def _counts(found: Summary | BuiltIn) -> Json:
    return {"train_samples": found.train, "test_samples": found.test}


def _find(name: str, store: Storage) -> Named:
    if re.fullmatch(DATASET_NAME.rstrip("$"), name):
        with contextlib.suppress(NotFound):
            return dataset_store.find(name, store)
    raise NotFound(f"There is no data set {name[:80]!r}: GET {router.prefix} lists them")
