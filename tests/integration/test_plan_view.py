"""A plan as a client is shown it: what runs share, and how far each part is."""

import pytest
from small import body, submit

from shared.attempts import Attempts, Failure
from shared.work import work_name
from worker.preparation import prepare

pytestmark = pytest.mark.services


def plan_of(http, id):
    return http.get(f"/v1/experiments/{id}/plan").raise_for_status().json()


def states(plan):
    return [segment["state"] for segment in plan["segments"]]


def test_before_the_data_is_there_the_plan_is_what_a_dry_run_says(lab, http):
    made = http.post("/v1/experiments", json=body()).json()
    plan = http.get(made["links"]["plan"]).json()
    assert plan["certain"] is False
    assert [run["point"] for run in plan["runs"]] == [{"deficit.end": end} for end in (0, 2, 4)]
    assert set(states(plan)) == {"waiting"}


def test_segments_say_who_shares_them_what_they_follow_and_what_they_wait_for(lab, http):
    prepare("gratings", lab.service.store, lab.settings)
    plan = plan_of(http, submit(lab))
    assert plan["certain"] is True
    for run in plan["runs"]:
        path = [plan["segments"][i] for i in run["segments"]]
        assert [part["parent"] for part in path] == [None, *run["segments"][:-1]]
        assert [part["start"] for part in path] == [0, *(part["end"] for part in path[:-1])]
        assert path[-1]["end"] == run["epochs"]
        assert all(run["run"] in part["runs"] for part in path)
    shared = [segment for segment in plan["segments"] if len(segment["runs"]) > 1]
    assert [(one["start"], one["end"], one["runs"]) for one in shared] == [(0, 2, [1, 2])]
    for one in plan["segments"]:
        assert one["state"] == ("queued" if one["parent"] is None else "waiting")
        assert one["epoch"] == one["start"]


def test_what_is_done_was_stored_before_or_was_cancelled_says_so(lab, http):
    lab.start_worker()
    first = submit(lab)
    lab.wait(first)
    done = plan_of(http, first)
    assert set(states(done)) == {"done"}
    assert all(one["epoch"] == one["end"] for one in done["segments"])
    second = submit(lab, sweep={"deficit.end": [2, 4, 60]})
    http.post(f"/v1/experiments/{second}/cancel").raise_for_status()
    found = plan_of(http, second)
    long = found["runs"][2]["segments"]
    assert {found["segments"][i]["state"] for i in long} <= {"stored", "done", "cancelled"}
    assert found["segments"][long[-1]]["state"] == "cancelled"
    others = {i for run in found["runs"][:2] for i in run["segments"]}
    assert {found["segments"][i]["state"] for i in others} == {"stored"}


def test_of_what_failed_the_segment_is_named_and_what_follows_is_never_trained(lab, http):
    prepare("gratings", lab.service.store, lab.settings)
    id = submit(lab, sweep={"deficit.end": [2]})
    segments = lab.service.plan(id).segments
    attempts = Attempts.of_segment(lab.service.store, id, segments[0])
    for _ in range(lab.settings.max_attempts):
        attempts.fail(attempts.begin("a worker"), Failure("error", "MemoryError", "too large"))
    lab.service.live.unmark_queued(work_name(segments[0]))  # a worker took its message
    assert lab.wait(id)["state"] == "failed"
    assert states(plan_of(http, id)) == ["failed"] + ["cancelled"] * (len(segments) - 1)


def test_an_unknown_experiment_has_no_plan(http):
    assert http.get(f"/v1/experiments/{'0' * 24}/plan").status_code == 404
