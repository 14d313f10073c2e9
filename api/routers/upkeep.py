"""The store as a whole: whether it is sound, and room made in it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from api.dependencies import ADMIN, RawBody, ServiceIn
from api.errors import responses
from api.store_stream import StoreStream
from shared import check, garbage
from shared.errors import BadRequest
from shared.findings import Report
from shared.repairs import Repairs


def _no_body(raw: RawBody) -> None:
    """Options there would be passed over: a collection would remove what was to be shown."""
    if raw:
        raise BadRequest("This takes no body: give its options in the query, as in ?dry_run=true")


router = APIRouter(prefix="/v1/store", tags=["store"], dependencies=[ADMIN, Depends(_no_body)])

MEDIA_TYPE = "application/jsonl"
DAY = 86_400
_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Lines of JSON, each with a `type`: `finding` (kind, object, found,"
        " expected, action, bytes) as they come, `progress` now and then, and last one"
        " `summary`, or `error` where it had to end early.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}


@router.post(
    "/check",
    operation_id="check_store",
    response_class=StreamingResponse,
    responses={**responses(400, 408, 409, 413), **_LINES},
)
def check_store(
    service: ServiceIn,
    repair: Annotated[
        bool, Query(description="Mend what can be, and ask workers for what they can make again.")
    ] = False,
    quick: Annotated[bool, Query(description="Do not read what blobs and data sets hold.")] = False,
) -> StreamingResponse:
    """Verify every digest and every reference in the store."""
    store, settings = service.store, service.settings
    report, ask = Report(repair), Repairs(store).ask
    stream = StoreStream(service.live, report, {"repair": repair, "quick": quick})
    return StreamingResponse(
        stream.lines(lambda tick: check.findings(store, settings, report, ask, quick, tick)),
        media_type=MEDIA_TYPE,
    )


@router.post(
    "/collect",
    operation_id="collect_garbage",
    response_class=StreamingResponse,
    responses={**responses(400, 408, 409, 413), **_LINES},
)
def collect_garbage(
    service: ServiceIn,
    older_than: Annotated[
        int,
        Query(
            ge=0,
            le=10**10,
            description="Seconds: nothing younger is removed, and in no case what is younger than"
            " an hour: it may belong to work under way.",
        ),
    ] = 30 * DAY,
    max_bytes: Annotated[
        int | None,
        Query(
            ge=0,
            le=2**62,
            description="Stop once the store's checkpoints fit. Without it: all that are old"
            " enough and that nothing needs.",
        ),
    ] = None,
    dry_run: Annotated[bool, Query(description="Only say what would go.")] = False,
) -> StreamingResponse:
    """Remove checkpoints that nothing needs, oldest first, and blobs and data sets that
    nothing names.

    What a live experiment passes through stays, and the last state of every run. Whoever needs a
    removed state later trains it again, to the same bytes.
    """
    store, settings, report = service.store, service.settings, Report(repair=True)
    policy = garbage.Policy(older_than, max_bytes, dry_run)
    about = {"older_than": older_than, "max_bytes": max_bytes, "dry_run": dry_run}
    stream = StoreStream(service.live, report, about)
    return StreamingResponse(
        stream.lines(lambda tick: garbage.collect(store, settings, report, policy, tick)),
        media_type=MEDIA_TYPE,
    )
