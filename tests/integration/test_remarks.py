"""Tags and notes of an experiment that was accepted: changed, merged, listed, damaged."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving import serving
from small import submit

import hubel
from api.remarks import Remarks
from shared import check, names
from shared.findings import Report
from shared.remarks import RemarksPatch

pytestmark = pytest.mark.services

FIRST = {"lab": "vision", "draft": "yes"}


def patch(http, id, body, status=200, **headers):
    answer = http.patch(f"/v1/experiments/{id}", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def listed(http, **filters):
    found = http.get("/v1/experiments", params=filters).raise_for_status().json()
    return [one["id"] for one in found["experiments"]], found


def test_a_patch_is_merged_and_seen_at_once_in_status_list_and_filter(lab, http):
    id, other = submit(lab, tags=FIRST), submit(lab, tags=FIRST)
    before = http.get(f"/v1/experiments/{id}").json()
    assert (before["tags"], before["notes"]) == (FIRST, "")
    found = patch(http, id, {"tags": {"lab": "hearing", "draft": None, "x": ""}, "notes": "odd"})
    assert (found["tags"], found["notes"]) == ({"lab": "hearing", "x": ""}, "odd")
    assert http.get(f"/v1/experiments/{id}").json()["tags"] == {"lab": "hearing", "x": ""}
    assert listed(http, tag="lab:hearing")[0] == [id]
    assert listed(http, tag="lab:vision")[0] == [other]
    assert [one["notes"] for one in listed(http)[1]["experiments"]] == ["", "odd"]
    assert http.get(f"/v1/experiments/{id}/spec").json()["tags"] == FIRST
    assert patch(http, id, {"notes": None})["notes"] == ""
    assert patch(http, id, {"tags": None})["tags"] == {}
    http.post(f"/v1/experiments/{id}/cancel").raise_for_status()
    ended = patch(
        http, id, {"tags": {"y": "1"}}, **{"Content-Type": "application/merge-patch+json"}
    )
    assert (ended["tags"], ended["state"]) == ({"y": "1"}, "cancelled")


def test_a_tag_is_found_as_it_is_shown_wherever_its_colons_are(lab, http):
    id, other = submit(lab, tags={"a:b": "c:d"}), submit(lab, tags={"a": "b:c:d"})
    assert listed(http, tag="a:b:c:d")[0] == [other, id]
    assert listed(http, tag=["a:b:c:d", "a:b:c"])[0] == []
    with hubel.Client(str(http.base_url)) as client:
        assert [one.id for one in client.experiments(tags={"a:b": "c:d"})] == [other, id]
    page = listed(http, tag="a:b:c:d", page_size=1)[1]
    assert "tag=a%3Ab%3Ac%3Ad" in page["next"]
    assert [one["id"] for one in http.get(page["next"]).json()["experiments"]] == [id]
    assert http.get("/v1/experiments", params={"tag": "ab"}).status_code == 422


def test_another_process_shows_a_change_within_seconds(lab, http):
    id = submit(lab)
    with serving(lab.settings) as url:
        elsewhere = f"{url}/v1/experiments/{id}"
        assert http.get(elsewhere).json()["tags"] == {}
        patch(http, id, {"tags": {"a": "b"}})
        deadline = time.monotonic() + 5
        while http.get(elsewhere).json()["tags"] != {"a": "b"}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert http.get(f"{url}/v1/experiments?tag=a:b").json()["experiments"][0]["id"] == id


def test_of_patches_at_the_same_time_each_stands(lab):
    """Each on a service's own cache, as of so many processes."""
    id = submit(lab, tags=FIRST)

    def one(i):
        Remarks(lab.service).patch(id, RemarksPatch(tags={f"t{i}": str(i)}))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(one, range(24)))
    expected = FIRST | {f"t{i}": str(i) for i in range(24)}
    assert Remarks(lab.service).of(id)["tags"] == expected


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"tags": {"a": 1}}, "/tags/a"),
        ({"tags": {"": "b"}}, "/tags"),
        ({"tags": {"a": "b" * 257}}, "/tags/a"),
        ({"tags": {str(i): "" for i in range(33)}}, "/tags"),
        ({"notes": "n" * 10_001}, "/notes"),
        ({"name": "new"}, "/name"),
    ],
)
def test_what_is_no_patch_is_refused_with_a_pointer(lab, http, body, pointer):
    found = patch(http, submit(lab), body, 422)
    assert found["errors"][0]["pointer"].startswith(pointer)


def test_an_unknown_experiment_has_no_tags(http):
    patch(http, "0" * 24, {"tags": {"a": "b"}}, 404)


def both(id):
    return names.tags(id), names.copy(names.tags(id))


def test_damaged_tags_come_from_their_copy_and_lost_ones_from_the_spec(lab, http):
    id, store = submit(lab, tags=FIRST), lab.service.store
    patch(http, id, {"tags": {"lab": None}, "notes": "kept"})
    name, copy = both(id)
    store.write(name, b"{damaged")
    assert Remarks(lab.service).of(id) == {"tags": {"draft": "yes"}, "notes": "kept"}
    for each in (name, copy):
        store.write(each, b"{damaged")
    assert Remarks(lab.service).of(id) == {"tags": FIRST, "notes": ""}
    time.sleep(2.1)  # what the service has read is believed for so long
    ids, page = listed(http, tag="lab:vision")
    assert (ids, page["unreadable"]) == ([id], [])
    assert patch(http, id, {"notes": "again"})["notes"] == "again"
    assert Remarks(lab.service).of(id) == {"tags": FIRST, "notes": "again"}


def test_a_check_knows_tags_and_mends_them_from_their_copy(lab, http):
    lab.reconciler.stop()
    id, store = submit(lab), lab.service.store
    patch(http, id, {"tags": {"a": "b"}})
    name, copy = both(id)
    whole = store.read(name)

    def found(repair=False):
        report = Report(repair)
        made = check.findings(
            store, lab.settings.model_copy(update={"check_share": 1}), report,
            lambda *_: True, quick=True, grace_seconds=-60,
        )  # fmt: skip
        return [(one.kind, one.object, one.action) for one in made]

    assert found() == []
    store.write(name, whole[:-3])
    assert found(repair=True) == [("damaged", name, "rebuilt")]
    assert store.read(name) == whole
    store.remove(names.tagged(id))
    assert found(repair=True) == [("missing", names.tagged(id), "rebuilt")]
    store.remove(copy)
    assert found(repair=True) == [("unfinished", copy, "rebuilt")]
    assert store.read(copy) == whole
