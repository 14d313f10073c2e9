"""A connection to the HTTP service, for the command line and for the Python client alike."""

import contextlib
import re

import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = httpx.Timeout(60, connect=5)


def opened(url: str, token: str | None) -> httpx.Client:
    """Of a checked address and token."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # Loopback and lab addresses are not for the environment's proxy to see.
    return httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False, headers=headers)


def address(url: str) -> str | None:
    """Without a slash at its end. None: it is no address."""
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        parsed = httpx.URL(url)
        parsed.raw_host.decode().encode("idna")  # as the socket will
        if parsed.scheme in ("http", "https") and parsed.host:
            return url.rstrip("/")
    return None


def is_token(text: str) -> bool:
    return re.fullmatch(r"[\x21-\x7e]+", text) is not None


def is_word(text: str) -> bool:
    """Whether this can be one part of a path as it is."""
    return bool(text) and all(c.isascii() and (c.isalnum() or c in "_-") for c in text)
