"""Vega-Lite -> SVG, PNG and PDF, in a child process of its own.

vl-convert holds Python's lock while it renders (measured: 0.1 s each, 1.3 s the first time): in
the API's own process every other request would wait. One child renders one figure at a time; it
ends when its input closes, and so never outlives the API.
"""

import base64
import contextlib
import json
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from shared.errors import HubelError

CONTENT_TYPES = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf"}
PNG_SCALE = 2.0
TIMEOUT_SECONDS = 60.0
_CHILD = Path(__file__).with_name("render_child.py")


class RenderingFailed(HubelError):
    status, code, title = 500, "rendering-failed", "The figure could not be rendered"


class Renderer:
    """Thread-safe; the child starts at the first figure."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._cached = lru_cache(maxsize=64)(self._ask)

    def render(self, spec: dict[str, Any], format: str) -> bytes:
        """`format`: svg, png (at twice the size) or pdf (its text is text)."""
        return self._cached(json.dumps(spec, sort_keys=True), format)

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _ask(self, spec: str, format: str) -> bytes:
        with self._lock:
            child = self._running()
            timer = threading.Timer(TIMEOUT_SECONDS, child.kill)
            timer.start()
            try:
                answer = _exchange(child, spec, format)
            except (OSError, ValueError) as error:
                self._stop()
                raise RenderingFailed(f"The renderer ended in the middle of it: {error}") from error
            finally:
                timer.cancel()
        if "error" in answer:
            raise RenderingFailed(f"Vega-Lite refused the figure: {answer['error'][:500]}")
        return base64.b64decode(answer["data"])

    def _running(self) -> "subprocess.Popen[str]":
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, "-P", str(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                _there(pipe).close()


def _exchange(child: "subprocess.Popen[str]", spec: str, format: str) -> dict[str, str]:
    request = {"spec": spec, "format": format, "scale": PNG_SCALE}
    _there(child.stdin).write(json.dumps(request) + "\n")
    _there(child.stdin).flush()
    return dict(json.loads(_there(child.stdout).readline()))


def _there(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
