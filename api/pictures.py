"""A figure in the form that was asked for: data as JSON or CSV, Vega-Lite, SVG, PNG or PDF."""

import json
from collections.abc import Callable
from typing import Any, Literal

from fastapi import Response

from api.renderer import CONTENT_TYPES, Renderer
from shared import rows
from shared.errors import HubelError

Format = Literal["json", "csv", "vegalite", "svg", "png", "pdf"]

TYPES: dict[str, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "vegalite": "application/vnd.vegalite.v6+json",
    **CONTENT_TYPES,
}
CONTENT: dict[str, Any] = {"content": {kind: {} for kind in TYPES.values()}}
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class NotAcceptable(HubelError):
    status, code, title = 406, "not-acceptable", "Not acceptable"


def answer(
    make: Callable[[], dict[str, Any]], format: Format | None, accept: str, renderer: Renderer
) -> Response:
    """What `make` builds, in the form that was asked for, or else that the Accept header prefers:
    whoever accepts none of them is told so before anything is built."""
    chosen = format or accepted(accept)
    content = render(make(), chosen, renderer)
    headers = {"Vary": "Accept", "Content-Security-Policy": POLICY}
    return Response(content, 200, headers, TYPES[chosen])


def render(figure: dict[str, Any], format: str, renderer: Renderer) -> bytes:
    """`figure` is what a builder in `api.figures` gives."""
    if format == "json":
        return _json({"title": figure["title"], "data": figure["data"]})
    if format == "csv":
        columns = list(dict.fromkeys(name for row in figure["data"] for name in row))
        return "".join(rows.csv_lines(figure["data"], columns)).encode()
    if format == "vegalite":
        return _json(figure["vegalite"])
    return renderer.render(figure["vegalite"], format)


def accepted(header: str) -> Format:
    """The form that an Accept header likes best; of equals, in the order of TYPES."""
    liked = [_range(part) for part in header.split(",")]
    best = max(TYPES, key=lambda name: _quality(TYPES[name], liked))
    if _quality(TYPES[best], liked) <= 0:
        raise NotAcceptable(f"A figure comes as one of {', '.join(TYPES.values())}")
    return best  # type: ignore[return-value]


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (word.strip().lower() for word in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = float(parameter[2:])
            except ValueError:
                quality = 0.0
    return kind, quality


def _quality(kind: str, liked: list[tuple[str, float]]) -> float:
    """RFC 9110: what names a type most exactly decides."""
    for wanted in (kind, f"{kind.split('/')[0]}/*", "*/*"):
        found = [quality for range, quality in liked if range == wanted]
        if found:
            return max(found)
    return 0.0


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
