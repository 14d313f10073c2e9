"""The page of one experiment in a real Chromium, watched while a real worker trains it."""

import csv
import re
import time
from typing import Any

import browser
import httpx
import pytest
from api_process import api_process
from playwright.sync_api import Browser, Page, expect
from small import submit

from deploy import servers

pytestmark = pytest.mark.services
expect.set_options(timeout=20_000)

MEASURED = {
    "fisher": {"every": 2, "samples": 16, "images": "clean"},
    "gradients": {"every": 2, "samples": 16},
    "filters": {"every": 2},
    "second_order": {"every": 6, "samples": 16, "directions": 1},
}
SLOWLY = {"epochs_after_deficit": 12, "batch_size": 8, "augmentation": {"shift": 2}}
WHOLE = 12 + 18
DRAWN = """() => Math.max(0, ...performance.getEntriesByName("hubel:curves")
  .map(mark => mark.detail.points))"""


def epochs(lab: Any, id: str) -> int:
    """Over all runs."""
    return sum(run.epochs for run in lab.service.experiment(id).plan.runs)


def wait_for_points(page: Page, count: int) -> None:
    """Not by wait_for_function: that evaluates text, which the page forbids."""
    deadline = time.monotonic() + 60
    while page.evaluate(DRAWN) < count:
        assert time.monotonic() < deadline, f"{page.evaluate(DRAWN)} of {count} points"
        time.sleep(0.05)
    assert page.evaluate(DRAWN) == count


def wait_for_state(page: Page, state: str) -> None:
    expect(page.locator(".top .state")).to_contain_text(state, timeout=120_000)


def test_an_experiment_is_watched_to_its_end_and_every_figure_opens(lab: Any, page: Page) -> None:
    id = submit(lab, **MEASURED, seeds=[0, 1])
    page.goto(f"/experiments/{id}")
    expect(page.get_by_role("heading", name="small")).to_be_visible()
    lab.start_worker()
    wait_for_state(page, "succeeded")
    wait_for_points(page, epochs(lab, id))
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
    with browser.watched(chromium, f"http://127.0.0.1:{port}") as page:
        with api_process(lab.settings, port=port):
            page.goto(f"/experiments/{id}")
            lab.start_worker()
            while not (seen := page.evaluate(DRAWN)):
                time.sleep(0.05)
        assert seen < WHOLE
        with api_process(lab.settings, port=port):
            wait_for_state(page, "succeeded")
            wait_for_points(page, WHOLE)


def test_curves_are_read_with_the_keyboard_and_numbers_downloaded_as_the_api_gives_them(
    lab: Any, page: Page, http: httpx.Client
) -> None:
    lab.start_worker()
    id = submit(lab, seeds=[0, 1], fisher=None)
    lab.wait(id)
    page.goto(f"/experiments/{id}")
    wait_for_points(page, epochs(lab, id))
    chart = page.get_by_role("slider", name="Test accuracy")
    for key in ("Home", "PageDown", "Home", "ArrowRight", "ArrowRight"):
        chart.press(key)
    expect(chart).to_have_attribute("aria-valuenow", "2")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^Epoch 2\. 0: \d"))
    switch = page.get_by_role("rowheader", name="4").get_by_role("button")
    switch.press("Enter")
    expect(switch).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".plots .mean")).to_have_count(2)
    with page.expect_download() as waiting:
        page.get_by_role("row", name="Every number").get_by_role("link", name="CSV").click()
    saved = waiting.value
    assert saved.suggested_filename == f"{id}-metrics.csv"
    expected = http.get(f"/v1/experiments/{id}/metrics?format=csv").text
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


def test_tags_and_notes_are_kept_and_an_experiment_that_has_ended_can_be_deleted(
    lab: Any, page: Page
) -> None:
    id = submit(lab)
    page.goto(f"/experiments/{id}")
    page.get_by_label("Tag", exact=True).fill("paper")
    page.get_by_label("Its value").fill("fig 1")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("list", name="Tags")).to_contain_text("paper fig 1")
    page.get_by_label("Notes").fill("looks right")
    page.get_by_label("Notes").press("Tab")
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.reload()
    expect(page.get_by_role("list", name="Tags")).to_contain_text("paper fig 1")
    expect(page.get_by_label("Notes")).to_have_value("looks right")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel it").click()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete it").click()
    page.wait_for_url(lambda url: url.endswith("/"))
    expect(page.get_by_role("link", name="small")).to_have_count(0)
