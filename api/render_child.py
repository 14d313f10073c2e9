"""The renderer's child process: a line of JSON in, a line of JSON out, until the input closes."""

import base64
import json
import re
import signal
import sys
from typing import Any

import vl_convert

# A figure carries its own data: nothing is fetched.
_NO_URLS: list[str] = []


def main() -> None:
    # Ctrl-C reaches the whole group; this process ends when its input does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(request: dict[str, Any]) -> dict[str, str]:
    try:
        return {"data": base64.b64encode(_render(request)).decode()}
    except Exception as error:  # noqa: BLE001 - whatever the converter says goes back
        return {"error": str(error)}


def _render(request: dict[str, Any]) -> bytes:
    spec, scale = request["spec"], request["scale"]
    if request["format"] == "svg":
        svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=_NO_URLS)
        return _renumbered(str(svg)).encode()
    if request["format"] == "pdf":
        return bytes(vl_convert.vegalite_to_pdf(spec, allowed_base_urls=_NO_URLS))
    return bytes(vl_convert.vegalite_to_png(spec, scale=scale, allowed_base_urls=_NO_URLS))


def _renumbered(svg: str) -> str:
    """Vega counts clip paths over the life of a process; the same figure must be the same bytes."""
    numbers: dict[str, int] = {}

    def own(found: re.Match[str]) -> str:
        return f"{found[1]}{numbers.setdefault(found[2], len(numbers))}{found[3]}"

    return re.sub(r'(id="clip|url\(#clip)(\d+)("|\))', own, svg)


if __name__ == "__main__":
    main()
