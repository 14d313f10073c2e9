"""The web page in a real Chromium: the list, a submission, workers, tokens; for everyone."""

import re
from typing import Any

import browser
import httpx
import page_checks
import pytest
from playwright.sync_api import Browser, Page, expect
from pydantic import SecretStr
from serving import serving
from small import submit

pytestmark = pytest.mark.services

TINY = (
    '{"dataset":{"train_samples":128,"test_samples":64},"model":{"width":0.05},"controls":null,'
    '"training":{"epochs_after_deficit":2},"sweep":{"deficit.end":[0,2]},"seeds":[0]}'
)
NEW = f"/new?preset=fig1a&scale=mini&set={TINY}"
EXPERIMENT = re.compile(r"/experiments/[0-9a-f]{24}$")
VIEWS = {"/": "lab:vision", NEW: "Seeds", "/workers": "Messages", "/compare": "cancelled"}
"""Each with what it shows once it is whole."""


def experiments(http: httpx.Client) -> list[dict[str, Any]]:
    return list(http.get("/v1/experiments").json()["experiments"])


def planned(page: Page) -> None:
    page.goto(NEW)
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()


def test_a_newcomer_is_led_to_the_demo_and_sees_what_it_costs(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Run the demo").click()
    expect(page.get_by_label("Name")).to_have_value(re.compile("Fig 1 A"))
    page.get_by_role("button", name="Plan").click()
    plan = page.get_by_role("complementary", name="Plan")
    expect(plan).to_contain_text("Trains 852 epochs, 23 % fewer than each run alone.")
    for name, number in (("runs", 24), ("epochs, each run alone", 1104), ("stored already", 0)):
        expect(plan).to_contain_text(f"{name}{number:,}")


def test_the_list_filters_follows_states_and_leads_to_comparing(
    lab: Any, page: Page, http: httpx.Client
) -> None:
    ids = [submit(lab, name=f"blur {n}", tags={"lab": "vision"}) for n in (1, 2)]
    submit(lab, name="noise")
    page.goto("/")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    page.get_by_label("Name contains").fill("BLUR")
    expect(rows).to_have_count(2)
    assert page.url.endswith("/?name=BLUR")
    page.get_by_role("link", name="lab:vision").first.click()
    expect(page).to_have_url(re.compile(r"tag=lab%3Avision"))
    expect(rows).to_have_count(2)
    row = rows.filter(has_text="blur 1")
    expect(row).not_to_contain_text("cancelled")
    lab.service.cancel(ids[0])
    expect(row).to_contain_text("cancelled")
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Compare 2").click()
    expect(page.get_by_role("checkbox", name="blur 1")).to_be_checked()
    expect(page.get_by_role("checkbox", name="noise")).not_to_be_checked()
    http.delete(f"/v1/experiments/{ids[0]}").raise_for_status()
    page.go_back()
    page.get_by_role("button", name="Compare 2").click()
    expect(page.get_by_role("alert")).to_contain_text(ids[0])
    expect(page.get_by_role("checkbox", name="blur 2")).to_be_checked()
    expect(page.get_by_text("Choose 2 to 8 experiments.")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("button", name="Compare 1")).to_be_visible()


def test_what_is_new_moves_nothing_until_it_is_asked_for(lab: Any, page: Page) -> None:
    submit(lab, name="first")
    page.goto("/")
    expect(page.get_by_role("link", name="first")).to_be_visible()
    submit(lab, name="second")
    page.get_by_role("button", name="Show changes").wait_for()
    assert page_checks.shifted(page) == []
    expect(page.get_by_role("link", name="second")).to_have_count(0)
    page.get_by_role("button", name="Show changes").click()
    expect(page.get_by_role("link", name="second")).to_be_visible()


def test_older_experiments_are_on_the_next_page(lab: Any, page: Page) -> None:
    for number in range(3):
        submit(lab, name=f"number {number}")
    page.goto("/?page_size=2")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("link", name="Older").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("link", name="number 0")).to_be_visible()
    page.get_by_role("link", name="Newest").click()
    expect(page.get_by_role("link", name="number 2")).to_be_visible()


def test_a_double_click_submits_once_and_leads_to_the_experiment(
    page: Page, http: httpx.Client
) -> None:
    planned(page)
    page.get_by_role("button", name="Submit").dblclick()
    expect(page).to_have_url(EXPERIMENT)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Fig 1 A")
    assert [one["tags"]["preset"] for one in experiments(http)] == ["fig1a"]


def test_a_submission_whose_answer_was_lost_is_submitted_once(
    page: Page, http: httpx.Client
) -> None:
    planned(page)
    answers: list[str] = []

    def lose_the_first(route: Any) -> None:
        answers.append(route.fetch().json()["id"])
        route.abort() if len(answers) == 1 else route.continue_()

    page.route(
        "**/v1/experiments",
        lambda r: lose_the_first(r) if r.request.method == "POST" else r.continue_(),
    )
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("Failed to fetch")
    page.get_by_role("button", name="Submit").click()
    expect(page).to_have_url(EXPERIMENT)
    assert page.url.endswith(answers[0])
    assert len(experiments(http)) == 1


def test_nothing_is_submitted_that_was_not_planned(page: Page) -> None:
    planned(page)
    page.get_by_label("Seeds").fill("0, 1, 2, 3")
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()


def test_a_refusal_stands_at_its_field(page: Page) -> None:
    page.goto(NEW)
    seeds, more = page.get_by_label("Seeds"), page.get_by_label("Anything else")
    seeds.fill("0, nought")
    more.fill('{"training": {"batch_size": -1}}')
    page.get_by_role("button", name="Plan").click()
    expect(seeds).to_have_attribute("aria-invalid", "true")
    expect(seeds).to_have_accessible_description(re.compile("valid integer.*nought"))
    expect(more).to_have_accessible_description(re.compile("batch_size.*-1"))
    page.get_by_role("alert").get_by_role("link", name="/seeds").click()
    expect(seeds).to_be_focused()
    seeds.fill("0")
    expect(seeds).not_to_have_attribute("aria-invalid", "true")
    expect(more).to_have_attribute("aria-invalid", "true")
    more.fill("")
    start = page.get_by_label("Deficit: start")
    start.fill("500")
    page.get_by_role("button", name="Plan").click()
    expect(start).to_have_accessible_description(re.compile("lies before 'start' .500."))
    more.fill("{")
    page.get_by_role("button", name="Plan").click()
    expect(more).to_have_accessible_description(re.compile("no JSON"))


def test_an_experiment_is_submitted_from_the_keyboard_alone(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    demo = page.get_by_role("link", name="Run the demo")
    expect(demo).to_be_visible()
    page.keyboard.press("Tab")
    expect(demo).to_be_focused()
    for _ in range(2):  # the list asks again and again; what has the focus keeps it
        page.wait_for_event("requestfinished", lambda sent: "/v1/experiments" in sent.url)
    expect(demo).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New experiment")).to_be_focused()
    to_name(page, "Seeds (each is a run of every point; empty: seed 0 alone)")
    page.keyboard.press("Control+A")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()
    to_name(page, "Submit")
    page.keyboard.press("Enter")
    expect(page).to_have_url(EXPERIMENT)


def to_name(page: Page, name: str) -> None:
    """By Tab to what has this name."""
    for _ in range(30):
        page.keyboard.press("Tab")
        said = page.evaluate(
            "[document.activeElement.labels?.[0] ?? document.activeElement][0].innerText.trim()"
        )
        if said == name:
            return
    raise AssertionError(f"{name} is not to be reached")


def test_going_elsewhere_says_where_one_is(lab: Any, page: Page) -> None:
    submit(lab, name="first")
    page.goto("/")
    expect(page.get_by_role("link", name="first")).to_be_visible()
    for name, title in (("Workers", "Workers and queue"), ("Compare", "Compare")):
        page.get_by_role("navigation").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        expect(page).to_have_title(f"{name} · Hubel")
        expect(page.locator("nav [aria-current]")).to_have_text(name)
    page.go_back()
    expect(page.get_by_role("heading", name="Workers and queue")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("link", name="first")).to_be_visible()


def test_back_leaves_a_view_and_an_anchor_leaves_it_as_it_is(lab: Any, page: Page) -> None:
    submit(lab, name="first")
    page.goto("/")
    row = page.get_by_role("link", name="first")
    row.evaluate("row => row.title = 'the same'")
    page.get_by_role("link", name="Skip to content").press("Enter")
    expect(page).to_have_url(re.compile("#main$"))
    page.get_by_role("link", name="Workers").click()
    expect(page.get_by_role("heading", name="Workers and queue")).to_be_visible()
    page.go_back()
    expect(page).to_have_url(re.compile("#main$"))
    expect(row).to_be_visible()
    row.evaluate("row => row.title = 'the same'")
    page.go_back()
    expect(page).to_have_url(re.compile("/$"))
    expect(row).to_have_attribute("title", "the same")


def test_a_service_that_is_silent_is_noticed(lab: Any, page: Page) -> None:
    submit(lab, name="first")
    page.clock.install()
    page.goto("/")
    expect(page.get_by_role("link", name="first")).to_be_visible()
    page.route("**/v1/experiments?*", lambda _: None)
    with page.expect_request("**/v1/experiments?*"):
        page.clock.fast_forward(3_000)
    page.clock.fast_forward(25_000)
    said = page.get_by_text("The service has not answered since")
    expect(said).to_be_visible()
    page.unroute("**/v1/experiments?*")
    expect(said).to_be_hidden()


def test_every_view_is_legible_and_named_and_calm_and_as_narrow_as_a_phone(
    lab: Any, http: httpx.Client, chromium: Browser
) -> None:
    submit(lab, name="a_name_without_any_place_to_break_it_that_is_as_long_as_it_may_be_" * 2)
    id = submit(lab, name="cancelled", tags={"lab": "vision", "long": "x" * 256})
    lab.service.cancel(id)
    viewport = {"width": 360, "height": 740}
    with browser.watched(chromium, str(http.base_url), viewport=viewport) as page:
        for view, then in (VIEWS | {f"/experiments/{id}": "Downloads"}).items():
            page.goto(view)
            expect(page.get_by_text(then).first).to_be_visible()
            assert page_checks.shifted(page) == [], view
            if view == NEW:
                page.get_by_role("button", name="Plan").click()
                expect(page.get_by_role("button", name="Submit")).to_be_enabled()
            assert page_checks.nameless(page) == [], view
            assert page_checks.too_wide(page) <= 0, view
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert page_checks.faint(page) == [], (view, scheme)


def test_the_workers_view_says_what_is_not_well(lab: Any, page: Page) -> None:
    submit(lab)
    page.goto("/workers")
    expect(page.get_by_text("The store and Redis answer")).to_be_visible()
    expect(page.get_by_text("No worker has been heard of")).to_be_visible()


def test_a_wrong_token_is_said_to_be_wrong_and_signing_out_forgets_it(
    lab: Any, chromium: Browser
) -> None:
    token = "hubel-test-" + "a" * 40
    guarded = lab.settings.model_copy(
        update={"require_tokens": True, "admin_token": SecretStr(token)}
    )
    with serving(guarded) as url, browser.watched(chromium, url) as page:
        page.goto("/")
        field = page.get_by_label("This service needs a token")
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("This token is not known here")).to_be_visible()
        expect(field).to_have_value("")
        field.fill(token)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("link", name="Run the demo")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(field).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("alert")).to_contain_text("This service wants a token")
        page.get_by_role("button", name="Give a token").click()
        expect(field).to_be_focused()


def test_scripts_are_asked_for_again_and_cost_nothing_when_they_are_the_same(
    http: httpx.Client,
) -> None:
    first = http.get("/static/style.css")
    assert (first.headers["cache-control"], first.headers["content-encoding"]) == (
        "no-cache",
        "gzip",
    )
    again = http.get("/static/style.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    shell = http.get("/workers")
    assert "script" not in shell.headers["content-security-policy"]
    assert http.get("/static/nothing.js").status_code == 404
