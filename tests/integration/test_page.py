"""The web page in a real Chromium: the list, a submission, comparing, workers."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect
from small import submit

pytestmark = pytest.mark.services


def test_the_list_shows_what_was_submitted(lab: Any, page: Page) -> None:
    submit(lab, name="blur, removal sweep")
    page.goto("/")
    expect(page.get_by_role("link", name="blur, removal sweep")).to_be_visible()
