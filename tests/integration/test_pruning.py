"""A trained run pruned over HTTP, by real workers: what is trained, told and drawn of it."""

import pytest
from small import body, results
from test_forks import TINY, alone

pytestmark = pytest.mark.services

ASKED = {"run": 0, "epoch": 5, "criterion": ["fisher", "random"], "sparsities": [0, 0.5, 0.9],
         "fine_tuning_epochs": 2, "samples": 16, "scored_at": 3}  # fmt: skip

REFUSED = {
    "/run": {"run": 7},
    "/epoch": {"epoch": 6},
    "/scored_at": {"scored_at": 6},
    "/granularity": {"criterion": "theis"},
    "/sparsities": {"sparsities": [0.5, 0.5]},
    "/sparsities/0": {"sparsities": [1.5]},
    "/fine_tuning_epochs": {"fine_tuning_epochs": 100_000},
    "/learning_rate_restart": {"learning_rate_restart": True, "fine_tuning_epochs": 0},
    "/criterium": {"criterium": "snip"},
}


def ends(lab, id):
    """Every number of each run, and its last weights: cuts are where states are shared."""
    return [(rows, kept[max(kept)], found) for rows, kept, found in results(lab, id)]


def test_a_run_is_pruned_in_several_ways_and_equals_its_spec_trained_alone(lab, http):
    lab.start_worker()
    old = http.post("/v1/experiments", json=body(**TINY)).json()
    lab.wait(old["id"])
    path = old["links"]["pruning"]
    nothing = http.get(path)
    assert (nothing.status_code, nothing.json()["status"]) == (409, 409)
    for place, wrong in REFUSED.items():
        answer = http.post(path, json=ASKED | wrong)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == place, answer.text
    dry = http.post(path, json=ASKED, params={"dry_run": "true"}).json()["plan"]
    # Two epochs each of: dense, and two criteria at two sparsities.
    assert (dry["runs"], dry["epochs"]["stored"], dry["epochs"]["new"]) == (6, 5, 2 * (1 + 4))
    key = {"Idempotency-Key": "k"}
    new = http.post(path, json=ASKED, headers=key).json()
    assert http.post(path, json=ASKED, headers=key).json()["id"] == new["id"]
    assert (new["forks"], new["forked_at"]) == (old["id"], {"run": 0, "epoch": 5})
    again = alone(lab, new["id"])
    assert lab.wait(new["id"])["state"] == lab.wait(again)["state"] == "succeeded"
    assert ends(lab, new["id"]) == ends(lab, again)

    twice = http.post(new["links"]["pruning"], json=ASKED | {"run": 1, "epoch": 6})
    assert twice.json()["errors"][0]["code"] == "pruned-before", twice.text

    found = http.get(new["links"]["pruning"]).json()
    assert [one["criterion"] for one in found["curves"]] == ["fisher", "random"]
    for one in found["curves"]:
        assert [point["sparsity"] for point in one["points"]] == [0, 0.5, 0.9]
        assert all(point[stage]["n"] == 1 for point in one["points"]
                   for stage in ("before", "before_reestimated", "after"))  # fmt: skip
        assert one["points"][1]["weights_left"] == pytest.approx(0.5, abs=0.002)
        assert one["area"]["after"]["n"] == 1
    assert [(d["by"], d["one"], d["other"]) for d in found["differences"]] == [("criterion", 0, 1)]
    [state] = found["correlations"]
    assert (state["epoch"], len(state["pairs"])) == (5, 10)
    drawn = http.get(f"/v1/experiments/{new['id']}/figures/pruning").json()
    assert {row["kind"] for row in drawn["data"]} == {"mean", "seed", "layer", "correlation"}
    later = {"saliency": {"epochs": [3], "samples": 16, "granularity": "channels"}}
    job = http.post(new["links"]["measurements"], json=later).json()
    lab.wait(job["id"])
    states = http.get(new["links"]["pruning"]).json()["correlations"]
    assert sorted((one["epoch"], len(one["pairs"])) for one in states) == [(3, 15), (5, 10)]
