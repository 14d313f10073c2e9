"""Documents to read, and what each kind of error means: `type` of a problem leads here."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from api import documents
from api.routers.page import HEADERS

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def index() -> Response:
    return HTMLResponse(documents.index(), headers=HEADERS)


@router.get("/docs/{name}")
def page(name: str) -> Response:
    return HTMLResponse(documents.page(name), headers=HEADERS)


@router.get("/problems/{code}")
def problem(code: str, request: Request) -> Response:
    """As HTML for who asks for it, else as JSON."""
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(documents.problem(code), headers=HEADERS | {"Vary": "Accept"})
    found = {"code": code, "explanation": documents.explanation(code)}
    return JSONResponse(found, headers={"Vary": "Accept"})
