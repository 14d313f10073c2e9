"""A real Chromium: from PATH, or Debian's package where this process may install it. What a page
shows there has to come from our own server, and its scripts have nothing to complain of."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")
"""Text has no width without a font."""
SECONDS = 600
"""For a download of 90 MB, and Debian's lists."""
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def started() -> Iterator[Browser]:
    """For one file of tests: while it lasts, asyncio.run does not work in this thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_path(), args=[*ARGUMENTS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched(browser: Browser, url: str, **options: object) -> Iterator[Page]:
    """A page of its own context, whose relative addresses are under `url`. Fails at the end where
    a script failed, something was written to the console or another server was asked."""
    context: BrowserContext = browser.new_context(base_url=url, **{"locale": "en-GB"} | options)
    context.set_default_timeout(20_000)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("console", lambda said: _is_refusal(said, url) or faults.append(_written(said)))
    page.on("request", lambda asked: _is_ours(asked.url, url) or faults.append(f"to {asked.url}"))
    try:
        yield page
    finally:
        context.close()
    assert not faults, "\n".join(faults)


def _is_ours(asked: str, url: str) -> bool:
    return asked.startswith((f"{url}/", "data:", "blob:"))


def _written(said: ConsoleMessage) -> str:
    return f"console.{said.type}: {said.text} ({said.location.get('url')})"


def _is_refusal(said: ConsoleMessage, url: str) -> bool:
    """Chromium notes down every answer of 400 and more; the API's refusals are for the page."""
    from_api = (said.location.get("url") or "").startswith(f"{url}/v1/")
    return from_api and said.text.startswith("Failed to load resource")


def _path() -> str:
    """Without one: skipped, and in CI failed."""
    if not (path := _found()):
        try:
            _install()
        except (OSError, subprocess.SubprocessError) as error:
            _missing(getattr(error, "stderr", None) or str(error))
        path = _found()
    return path or _missing("the package brought none")


def _found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _install() -> None:
    """Into the system: it needs some eighty libraries. A CI machine is thrown away, so there."""
    if os.geteuid() != 0 or not os.environ.get("CI"):
        raise OSError("installed by the tests as root in CI only")
    _apt("update")  # a fresh machine has no lists, and old ones name versions that are gone
    _apt("install", "--yes", "--no-install-recommends", *PACKAGES)


def _apt(*arguments: str) -> None:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS, env=env)


def _missing(why: str) -> NoReturn:
    message = f"no Chromium on PATH (apt-get install {' '.join(PACKAGES)}): {why.strip()[-500:]}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
