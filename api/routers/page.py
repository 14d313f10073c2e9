"""The web page: one shell for all its paths, its scripts, and vega-embed; nothing from outside."""

import re
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
_IMPORTED = re.compile(r'^import .* from "(\.[^"]+)"', re.MULTILINE)


def _needed(module: Path) -> set[Path]:
    """A module with all that it imports."""
    found, waiting = set(), [module]
    while waiting:
        one = waiting.pop()
        found.add(one)
        imported = _IMPORTED.findall(one.read_text())
        waiting += {(one.parent / name).resolve() for name in imported} - found
    return found


def _early(view: str) -> str:
    """A Link header that names a view's files: the browser asks for all of them at once, instead of
    for each after the one that imports it."""
    modules = sorted(_needed((STATIC / "views" / f"{view}.js").resolve()))
    links = [f"</static/{one.relative_to(STATIC.resolve())}>; rel=modulepreload" for one in modules]
    if (STATIC / f"{view}.css").exists():
        links.append(f"</static/{view}.css>; rel=preload; as=style")
    return ", ".join(links)


EXPERIMENT = HEADERS | {"Link": _early("experiment")}
_vega = Vega()


@router.get("/")
@router.get("/new")
@router.get("/compare")
@router.get("/workers")
def shell() -> Response:
    """The same for all: app.js looks at the path."""
    return FileResponse(STATIC / "index.html", headers=HEADERS)


@router.get("/experiments/{id}")
def experiment() -> Response:
    return FileResponse(STATIC / "index.html", headers=EXPERIMENT)


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
