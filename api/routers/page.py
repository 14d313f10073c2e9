"""The web page: one shell for all its paths, its scripts, and vega-embed; nothing from outside."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from api.vega import Vega

router = APIRouter(include_in_schema=False)

STATIC = Path(__file__).parent.parent / "static"
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline';"
    " object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
"""vega writes styles into the elements that it makes."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Files(StaticFiles):
    """Asked for each time, which an ETag makes cheap: modules of two versions do not mix."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        found = super().file_response(*args, **kwargs)
        found.headers.update(HEADERS)
        return found


files = GZipMiddleware(Files(directory=STATIC))
_vega = Vega()


@router.get("/")
@router.get("/new")
@router.get("/compare")
@router.get("/workers")
@router.get("/experiments/{id}")
def shell() -> Response:
    """The same for all: app.js looks at the path."""
    return FileResponse(STATIC / "index.html", headers=HEADERS)


@router.get("/static/vega.js")
def vega(request: Request) -> Response:
    bundle = _vega.bundle()
    headers = HEADERS | {"ETag": bundle.tag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == bundle.tag:
        return Response(None, 304, headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(bundle.packed, 200, headers, "text/javascript")
    return Response(bundle.plain, 200, headers, "text/javascript")
