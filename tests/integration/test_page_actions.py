"""What a person does with an experiment on the page: forking, measuring, comparing, reading why a
run failed; each with a real worker behind it."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from small import submit
from test_page_experiment import wait_for_state
from test_poison import ONE, POISONED

pytestmark = pytest.mark.services

EXPERIMENT = re.compile(r"/experiments/[0-9a-f]{24}$")


def test_a_run_is_forked_and_measured_and_compared_with_what_it_was(lab: Any, page: Page) -> None:
    page.add_init_script("delete Crypto.prototype.randomUUID")  # without TLS there is none
    lab.start_worker()
    old = submit(lab, **ONE | {"training": {"epochs": 4, "batch_size": 64}}, seeds=[0])
    lab.wait(old)
    page.goto(f"/experiments/{old}")
    wait_for_state(page, "succeeded")
    fork(page)
    wait_for_state(page, "succeeded")
    new = page.url[-24:]
    assert lab.service.accepted(new).forks == old
    mark = page.locator(".plots .change").first
    expect(mark).to_have_count(1)
    assert re.search("from epoch 2 on: .*optimizer.learning_rate 0.01", mark.inner_html())
    expect(page.locator(".tree .change")).to_have_count(1)
    measure(page)
    wait_for_state(page, "succeeded")
    page.get_by_role("link", name=new[-6:]).click()
    expect(page.get_by_role("tab", name="Fisher trace", exact=True)).to_be_visible()
    expect(page.locator(".plots .mean")).to_have_count(2)  # the job's trace below the accuracy
    compare(page, old)


def fork(page: Page) -> None:
    page.get_by_role("button", name="Fork …").click()
    dialog = page.get_by_role("dialog", name="Fork a run")
    dialog.get_by_label("Go on after epoch").fill("2")
    dialog.get_by_label("Name").fill("slower")
    wanted = dialog.get_by_label("Change from there on")
    wanted.fill("training.optimizer.learning_rat = 0.01")
    dialog.get_by_role("button", name="What it costs").click()
    expect(dialog.get_by_role("alert")).to_contain_text("learning_rat")
    wanted.fill("training.optimizer.learning_rate = 0.01")
    dialog.get_by_role("button", name="What it costs").click()
    expect(dialog).to_contain_text("1 run: 2 new epochs, 2 trained again to get there")
    dialog.get_by_role("button", name="Fork a run").click()
    expect(page.get_by_role("heading", name="slower")).to_be_visible()


def measure(page: Page) -> None:
    before = page.url
    page.get_by_role("button", name="Measure …").click()
    dialog = page.get_by_role("dialog", name="Measure")
    dialog.get_by_label("Every so many epochs").fill("2")
    dialog.get_by_label("Images").fill("16")
    dialog.get_by_role("button", name="What it costs").click()
    expect(dialog).to_contain_text("measurements")
    dialog.get_by_role("button", name="Measure", exact=True).click()
    page.wait_for_url(lambda url: url != before and EXPERIMENT.search(url) is not None)


def compare(page: Page, other: str) -> None:
    page.get_by_role("link", name="compare", exact=True).click()
    expect(page.get_by_text("Choose 2 to 8 experiments.")).to_be_visible()
    page.get_by_role("checkbox", name="small").check()
    page.get_by_label("Figure").select_option("Learning curves")
    expect(page.get_by_role("img", name="Learning curves of 2 experiments")).to_be_visible()
    assert other in page.url
    with page.expect_download() as waiting:
        page.get_by_role("link", name="CSV").click()
    head, *rows = waiting.value.path().read_text().splitlines()
    assert "value" in head.split(",")
    assert len(rows) == 2 * 4


def test_a_run_that_failed_says_why_and_shows_the_log_of_each_attempt(lab: Any, page: Page) -> None:
    lab.settings.max_attempts, lab.settings.retry_seconds = 2, 0.2
    lab.start_worker(POISONED)
    id = submit(lab, **ONE, seeds=[101, 0])
    page.goto(f"/experiments/{id}")
    wait_for_state(page, "failed")
    failures = page.get_by_role("region", name="Failures")
    expect(failures.get_by_role("listitem")).to_have_count(1)
    expect(failures).to_contain_text("Run 0")
    expect(failures).to_contain_text("a shape that does not fit")
    attempts = failures.get_by_role("group")
    expect(attempts).to_have_count(2)
    attempts.first.locator("summary").click()
    expect(attempts.first.locator("pre")).to_contain_text("in raise_an_error")
    expect(page.locator(".runs tbody")).to_contain_text("succeeded")
