"""The web page: one shell for all its paths, its scripts, and vega-embed; nothing from outside."""

from functools import lru_cache
from pathlib import Path

import vl_convert
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

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
files = StaticFiles(directory=STATIC)


@router.get("/")
@router.get("/new")
@router.get("/compare")
@router.get("/workers")
@router.get("/experiments/{id}")
def shell() -> Response:
    """The same for all: app.js looks at the path."""
    return FileResponse(STATIC / "index.html", headers=HEADERS)


@lru_cache(1)
def _vega() -> bytes:
    return vl_convert.javascript_bundle().encode()


@router.get("/static/vega.js")
def vega(request: Request) -> Response:
    headers = HEADERS | {"Cache-Control": "max-age=86400"}
    return Response(_vega(), 200, headers, "text/javascript")
