"""The renderer's child process: a line of JSON in, a line of JSON out, until the input closes."""

import base64
import json
import sys
from typing import Any

import vl_convert

# Longer data would be fetched by URL: a figure carries its own, and nothing else is read.
_NO_URLS: list[str] = []


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(request: dict[str, Any]) -> dict[str, str]:
    try:
        return {"data": base64.b64encode(_render(request)).decode()}
    except Exception as error:  # noqa: BLE001 - whatever the converter says goes back
        return {"error": str(error)}


def _render(request: dict[str, Any]) -> bytes:
    if request["format"] == "svg":
        svg = vl_convert.vegalite_to_svg(request["spec"], allowed_base_urls=_NO_URLS)
        return str(svg).encode()
    return bytes(
        vl_convert.vegalite_to_png(
            request["spec"], scale=request["scale"], allowed_base_urls=_NO_URLS
        )
    )


if __name__ == "__main__":
    main()
