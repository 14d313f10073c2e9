"""Webhooks: make one, see which there are and what was told there, try one, delete one."""

from itertools import islice
from threading import BoundedSemaphore

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api import bodies, deliveries, openapi, pages
from api.dependencies import (
    SUBMIT,
    Json,
    PageSize,
    PageToken,
    PrincipalIn,
    RawBody,
    ServiceIn,
)
from api.errors import responses
from api.service import Service
from api.webhooks import NewWebhook, Webhook
from shared import moments, names
from shared.errors import Conflict, Corrupt, NotFound, TooMany

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], dependencies=[SUBMIT])

_testing = BoundedSemaphore(4)
"""Each test keeps a thread of the service for as long as its receiver lets it wait."""


@router.get("", operation_id="list_webhooks", responses=responses())
def listing(service: ServiceIn) -> Json:
    """Oldest first; never their secrets. With the scope `submit`, since a URL may hold a secret of
    its receiver's. `unreadable` are those that are damaged in the store: nothing is told there."""
    found: list[Json] = []
    unreadable: list[Json] = []
    for id in service.webhooks.ids():
        try:
            found.append(_shown(service.webhooks.find(id)))
        except Corrupt as error:
            unreadable.append({"id": id, "detail": error.detail})
    return {"webhooks": found, "unreadable": unreadable}


@router.post(
    "",
    operation_id="create_webhook",
    status_code=201,
    responses={**responses(400, 408, 409, 413, 415), **openapi.WEBHOOK_MADE},
    openapi_extra=openapi.WEBHOOK_BODY,
)
def create(service: ServiceIn, principal: PrincipalIn, raw: RawBody, request: Request) -> Response:
    """Be told how experiments end, from now on: a POST for each, as Standard Webhooks has it
    (`webhook-id`, `webhook-timestamp`, `webhook-signature`), at least once and with the same
    `webhook-id` each time. 2xx takes it; 410 disables the webhook; after anything else it is tried
    again, eight times within a day and a half: after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h, and
    up to a fifth more. Redirects are not followed. `secret` in the answer is the only time that it
    is shown: keep it, and verify with it."""
    wanted = bodies.read(NewWebhook, request.headers.get("content-type", ""), raw)
    made = service.webhooks.make(wanted, principal.id)
    headers = {"Location": f"{router.prefix}/{made.id}", "Cache-Control": "no-store"}
    return JSONResponse(_shown(made) | {"secret": made.secret.get_secret_value()}, 201, headers)


@router.get("/{id}", operation_id="show_webhook", responses=responses(404))
def show(id: str, service: ServiceIn) -> Json:
    """One webhook, without its secret; why it is disabled, if it is."""
    return _shown(service.webhooks.find(id))


@router.delete(
    "/{id}", operation_id="delete_webhook", status_code=204, responses=responses(404, 408, 413)
)
def delete(id: str, service: ServiceIn) -> None:
    """For good, with its secret and all that was told there. What is being sent still arrives."""
    service.webhooks.delete(id)


@router.post("/{id}/test", operation_id="test_webhook", responses=responses(404, 408, 409, 413))
def test(id: str, service: ServiceIn) -> Json:
    """Send a message of type `webhook.test` now, once, and say how that went."""
    webhook = service.webhooks.find(id)
    if webhook.disabled is not None:
        raise Conflict("This webhook is disabled for good: delete it and make another")
    if not _testing.acquire(blocking=False):
        error = TooMany("Four webhooks are being tested right now, which is as many as may be")
        error.retry_after = 5
        raise error
    try:
        return deliveries.shown(service.deliveries.test(webhook))
    finally:
        _testing.release()


@router.get("/{id}/deliveries", operation_id="webhook_deliveries", responses=responses(400, 404))
def delivered(
    id: str, service: ServiceIn, page_size: PageSize, page_token: PageToken = None
) -> Json:
    """What was told there, what was tried, and what will be tried again, with the status and the
    reason of each try; latest end of an experiment first. What was not tried yet is not here."""
    service.webhooks.find(id)
    path = f"{router.prefix}/{id}/deliveries"
    prefix, filters = names.deliveries(id), {"list": path}
    after = pages.after(page_token, filters)
    if after is not None and names.parts(f"{prefix}{after}").kind != "delivery":
        raise pages.refused("is not one that was given out here")
    newest = service.deliveries.newest(id, None if after is None else f"{prefix}{after}")
    records = list(islice(newest, page_size + 1))
    more = len(records) > page_size
    token = pages.token(records[page_size - 1].removeprefix(prefix), filters) if more else None
    return {
        **_read(service, records[:page_size]),
        "next": pages.address(path, {"page_size": page_size}, token),
        "next_page_token": token,
    }


def _read(service: Service, records: list[str]) -> Json:
    found: list[Json] = []
    unreadable: list[Json] = []
    for record in records:
        try:
            found.append(service.deliveries.shown(record))
        except Corrupt as error:
            unreadable.append({"id": names.parts(record).id, "detail": error.detail})
        except NotFound:  # its experiment was deleted since
            continue
    return {"deliveries": found, "unreadable": unreadable}


def _shown(webhook: Webhook) -> Json:
    path = f"{router.prefix}/{webhook.id}"
    ended = webhook.disabled
    disabled = ended and {"at": moments.shown(ended.at), "reason": ended.reason}
    return {
        **webhook.model_dump(exclude={"secret"}),
        "created": moments.shown(webhook.created),
        "state": "disabled" if ended else "live",
        "disabled": disabled,
        "links": {"self": path, "test": f"{path}/test", "deliveries": f"{path}/deliveries"},
    }
