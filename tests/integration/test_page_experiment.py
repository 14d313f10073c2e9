"""The page of one experiment in a real Chromium, watched while a real worker trains it."""

import csv
import re
import time
from typing import Any

import browser
import httpx
import pytest
from api_process import api_process
from playwright.sync_api import Browser, Page, Route, expect
from small import submit

from deploy import servers

pytestmark = pytest.mark.services
expect.set_options(timeout=20_000)

MEASURED = {
    "fisher": {"every": 2, "samples": 16, "images": "clean"},
    "gradients": {"every": 2, "samples": 16},
    "filters": {"every": 2},
    "second_order": {"every": 6, "samples": 16, "directions": 1},
    "information_plane": {"every": 6, "samples": 16, "layers": [0, -1]},
}
SLOWLY = {"epochs_after_deficit": 12, "batch_size": 8, "augmentation": {"shift": 2}}
WHOLE = 12 + 18
SEEN = """box => {
  globalThis.seen = [];
  new MutationObserver(() => {
    const picture = box.querySelector("svg[aria-label]");
    if (picture) seen.push(picture.getAttribute("aria-label"));
  }).observe(box, { childList: true });
}"""
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
    choose_before_it_is_drawn(page)
    tabs = page.get_by_role("tab")
    assert tabs.count() == 11
    for tab in tabs.all():
        tab.click()
        expect(page.locator(".drawing")).not_to_have_class("drawing stale")
        name = tab.inner_text()
        if name not in ("Fisher and sensitivity", "Sensitivity"):  # of sliding windows
            expect(page.get_by_role("img", name=f"{name}. ")).to_be_visible()


def choose_before_it_is_drawn(page: Page) -> None:
    """Vega comes when two figures wait for it: only the one chosen last is ever shown."""
    held: list[Route] = []
    page.route("**/static/vega.js", lambda route: held.append(route))
    with page.expect_request("**/static/vega.js"), page.expect_response("**/critical_period?*"):
        page.locator("#figure").scroll_into_view_if_needed()
    page.locator(".drawing").evaluate(SEEN)
    with page.expect_response("**/relative_accuracy?*"):
        page.get_by_role("tab", name="Relative accuracy").click()
    held[0].continue_()
    expect(page.get_by_role("img", name="Relative accuracy. ")).to_be_visible()
    assert page.evaluate("seen.filter(name => !name.startsWith('Relative accuracy. '))") == []


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


def test_what_failed_is_said_until_it_succeeds(lab: Any, page: Page) -> None:
    id = submit(lab)
    page.route("**/plan", lambda route: route.abort())
    page.goto(f"/experiments/{id}")
    expect(page.get_by_role("alert")).to_contain_text("Failed to fetch")
    page.unroute("**/plan")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".tree .stretch").first).to_be_visible()


def test_what_cannot_be_undone_asks_first(lab: Any, page: Page) -> None:
    page.add_init_script("delete Crypto.prototype.randomUUID")  # without TLS there is none
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
    lab: Any, page: Page, http: httpx.Client
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
    notes = page.get_by_label("Notes")
    expect(notes).to_have_value("looks right")
    notes.fill("looks right to me")
    http.patch(f"/v1/experiments/{id}", json={"notes": "looks wrong"}).raise_for_status()
    notes.press("Tab")
    expect(page.get_by_text("Not saved: these notes were changed")).to_be_visible()
    expect(page.locator("pre", has_text="looks wrong")).to_be_visible()
    expect(notes).to_have_value("looks right to me")
    page.get_by_role("button", name="Take those").click()
    expect(notes).to_have_value("looks wrong")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel it").click()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete it").click()
    page.wait_for_url(lambda url: url.endswith("/"))
    expect(page.get_by_role("link", name="small")).to_have_count(0)
