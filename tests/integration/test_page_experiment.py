"""The page of one experiment in a real Chromium, watched while a real worker trains it."""

import csv
import re
from typing import Any

import browser
import httpx
import pytest
from api_process import api_process
from playwright.sync_api import Browser, Page, expect
from small import submit

from deploy import servers

pytestmark = pytest.mark.services

MEASURED = {
    "fisher": {"every": 2, "samples": 16, "images": "clean"},
    "gradients": {"every": 2, "samples": 16},
    "filters": {"every": 2},
    "second_order": {"every": 6, "samples": 16, "directions": 1},
}
SLOWLY = {"epochs_after_deficit": 12, "batch_size": 8, "augmentation": {"shift": 2}}
DRAWN = """() => Math.max(0, ...performance.getEntriesByName("hubel:curves")
  .map(mark => mark.detail.points))"""


def epochs(lab: Any, id: str) -> int:
    """Over all runs."""
    return sum(run.epochs for run in lab.service.experiment(id).plan.runs)


def wait_for_state(page: Page, state: str) -> None:
    expect(page.locator(".top .state")).to_contain_text(state, timeout=120_000)


def test_an_experiment_is_watched_to_its_end_and_every_figure_opens(lab: Any, page: Page) -> None:
    id = submit(lab, **MEASURED, seeds=[0, 1])
    page.goto(f"/experiments/{id}")
    expect(page.get_by_role("heading", name="small")).to_be_visible()
    lab.start_worker()
    wait_for_state(page, "succeeded")
    page.wait_for_function(f"({DRAWN})() === {epochs(lab, id)}")
    expect(page.locator(".plots .mean")).to_have_count(6)  # three points in two panels
    expect(page.locator(".tree .stretch.done")).to_have_count(
        len(lab.service.experiment(id).plan.segments)
    )
    expect(page.locator(".runs tbody tr")).to_have_count(6)
    expect(page.locator(".runs tbody")).to_contain_text("%")
    tabs = page.get_by_role("tab")
    assert tabs.count() == 10
    for tab in tabs.all():
        tab.click()
        expect(page.locator(".drawing")).not_to_have_class("drawing stale")
        name = tab.inner_text()
        if name not in ("Fisher and sensitivity", "Sensitivity"):  # of sliding windows
            expect(page.get_by_role("img", name=f"{name}. ")).to_be_visible()


def test_the_page_goes_on_without_a_gap_after_the_api_was_restarted(
    lab: Any, chromium: Browser
) -> None:
    id = submit(lab, training=SLOWLY, sweep={"deficit.end": [0, 6]}, fisher=None)
    (port,) = servers.free_ports(1)
    whole = epochs(lab, id)
    with browser.watched(chromium, f"http://127.0.0.1:{port}") as page:
        with api_process(lab.settings, port=port):
            page.goto(f"/experiments/{id}")
            lab.start_worker()
            page.wait_for_function(f"({DRAWN})() > 0", timeout=60_000)
        seen = page.evaluate(DRAWN)
        assert 0 < seen < whole
        with api_process(lab.settings, port=port):
            wait_for_state(page, "succeeded")
            page.wait_for_function(f"({DRAWN})() >= {whole}")
            assert page.evaluate(DRAWN) == whole


@pytest.fixture
def ended(lab: Any, page: Page) -> str:
    """An experiment that has ended, opened."""
    lab.start_worker()
    id = submit(lab, seeds=[0, 1])
    lab.wait(id)
    page.goto(f"/experiments/{id}")
    page.wait_for_function(f"({DRAWN})() === {epochs(lab, id)}")
    return id


def test_the_curves_are_read_and_switched_with_the_keyboard(ended: str, page: Page) -> None:
    chart = page.get_by_role("slider", name="Test accuracy")
    chart.focus()
    chart.press("Home")
    chart.press("PageDown")
    chart.press("ArrowRight")
    chart.press("ArrowRight")
    expect(chart).to_have_attribute("aria-valuenow", "2")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^Epoch 2\. 0: \d"))
    key = page.get_by_role("rowheader", name="4").get_by_role("button")
    key.focus()
    key.press("Enter")
    expect(key).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".plots figure").first.locator(".mean")).to_have_count(2)


def test_numbers_are_downloaded_as_the_api_gives_them(
    ended: str, page: Page, http: httpx.Client
) -> None:
    with page.expect_download() as waiting:
        page.get_by_role("row", name="Every number").get_by_role("link", name="CSV").click()
    saved = waiting.value
    assert saved.suggested_filename == f"{ended}-metrics.csv"
    expected = http.get(f"/v1/experiments/{ended}/metrics?format=csv").text
    assert list(csv.reader(saved.path().open())) == list(csv.reader(expected.splitlines()))


def test_what_cannot_be_undone_asks_first(lab: Any, page: Page) -> None:
    id = submit(lab)
    page.goto(f"/experiments/{id}")
    wait_for_state(page, "preparing")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Leave it").click()
    assert lab.service.status(id)["state"] == "preparing"
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel it").click()
    wait_for_state(page, "cancelled")
    page.get_by_role("button", name="Retry").click()
    page.wait_for_url(lambda url: "/experiments/" in url and id not in url)
