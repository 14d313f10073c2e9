"""Runs that go on otherwise: what is trained of them, that it is exact, and how they are linked."""

import json

import pytest
from click.testing import CliRunner
from small import body, results, submit

from api import cli
from shared import names, schedule
from shared.errors import Conflict
from shared.fork import Fork
from worker.preparation import prepare

pytestmark = pytest.mark.services

TINY = {
    "dataset": {"name": "gratings", "train_samples": 48, "test_samples": 16},
    "training": {"epochs": 5, "batch_size": 16, "augmentation": {"shift": 2}},
    "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 4},
    "sweep": {},
    "fisher": None,
}
RATE = {"training.schedule.gamma": 0.5, "training.learning_rate_restart": True}


def forked(lab, id, **asked):
    made, _ = lab.service.forks.accept(id, Fork.model_validate(asked))
    return made.id


def alone(lab, id):
    """The same spec, with nothing taken from the store."""
    spec = lab.service.accepted(id).spec.model_copy(update={"reuse": False})
    experiment, _ = lab.service.accept(spec)
    return experiment.id


def test_a_fork_by_schedule_trains_what_is_new_and_equals_its_spec_trained_alone(lab):
    lab.start_worker()
    old = submit(lab, **TINY)
    lab.wait(old)
    longer = {"run": 0, "epoch": 5, "set": RATE | {"training.epochs": 7}}
    _, plan = lab.service.forks.dry_run(old, Fork.model_validate(longer))
    assert (plan.epochs.stored, plan.epochs.new, plan.epochs.replayed) == (5, 2, 0)
    new = forked(lab, old, run=0, epoch=2, set=RATE)  # between the start and the state after 4
    epochs = lab.service.plan(new).epochs
    assert (epochs.stored, epochs.new, epochs.replayed) == (2, 3, 2)
    again = alone(lab, new)
    assert lab.wait(new)["state"] == lab.wait(again)["state"] == "succeeded"
    assert lab.service.outcome(new)["epochs"]["trained"] == 5
    assert results(lab, new) == results(lab, again)
    [(rows, _, _)] = results(lab, new)
    assert [row["learning_rate"] for row in rows[2:]] == [0.05, 0.05 * 0.5, 0.05 * 0.25]


def test_what_has_not_ended_or_was_cancelled_is_forked_as_far_as_its_keys_say(lab):
    prepare("gratings", lab.service.store, lab.settings)
    old = submit(lab, **TINY)
    asked = {"run": 0, "epoch": 3, "sweep": {"deficit.end": [3, 5]}, "seeds": [0, 1]}
    first = forked(lab, old, **asked)
    lab.service.cancel(old)
    plans = [lab.service.plan(id) for id in (first, forked(lab, old, **asked))]
    for plan in plans:
        assert (len(plan.runs), plan.epochs.shared) == (4, 2 * (3 + 2 + 2))
    assert (
        plans[0].keys(plans[0].runs[0])[:4]
        == lab.service.plan(old).keys(lab.service.plan(old).runs[0])[:4]
    )


def test_a_fork_is_linked_both_ways_over_http_and_made_once(lab, http):
    prepare("gratings", lab.service.store, lab.settings)
    old = http.post("/v1/experiments", json=body(**TINY)).json()
    asked = {"run": 0, "epoch": 2, "set": {"training.batch_size": 8}, "name": "smaller"}
    dry = http.post(old["links"]["fork"], json=asked, params={"dry_run": "true"})
    assert (dry.status_code, dry.json()["certain"]) == (200, True)
    assert dry.json()["plan"]["epochs"]["shared"] == 5
    assert http.get(old["links"]["self"]).json()["forked_by"] == []
    key = {"Idempotency-Key": "k"}
    first, again = (http.post(old["links"]["fork"], json=asked, headers=key) for _ in "12")
    assert [first.status_code, again.status_code] == [202, 202]
    new = first.json()
    assert again.json()["id"] == new["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert first.headers["location"] == new["links"]["self"]
    assert (new["forks"], new["forked_at"]) == (old["id"], {"run": 0, "epoch": 2})
    assert new["spec"] == dry.json()["spec"]
    assert http.get(old["links"]["self"]).json()["forked_by"] == [new["id"]]
    assert http.get(new["links"]["self"]).json()["forks"] == old["id"]
    [run] = http.get(new["links"]["runs"]).json()["runs"]
    assert run["changes"] == [{"at": 2, "settings": {"batch_size": 8}}]
    other = http.post(old["links"]["fork"], json=asked | {"epoch": 3}, headers=key)
    assert other.status_code == 422
    # What was accepted is an ordinary spec: the same again costs nothing more.
    plain = http.post("/v1/experiments", json=new["spec"], params={"dry_run": "true"})
    assert plain.json()["plan"] == dry.json()["plan"]


REFUSED = [
    ({"run": 1, "epoch": 2, "set": {"deficits": []}}, "/run"),
    ({"run": 0, "epoch": 6, "set": {"deficits": []}}, "/epoch"),
    ({"run": 0, "epoch": 2, "set": {"deficit.end": 1}}, "/set/deficit.end"),
    ({"run": 0, "epoch": 2, "set": {"training.epochs": 10**7}}, "/set/training.epochs"),
    ({"run": 0, "epoch": 2}, "/set"),
    (
        {"run": 0, "epoch": 2, "sweep": {"training.augmentation.shift": [99]}},
        "/sweep/training.augmentation.shift",
    ),
    (
        {"run": 0, "epoch": 2, "set": {"training.augmentation.shift": 16}},
        "/set/training.augmentation.shift",
    ),
    (
        {"run": 0, "epoch": 2, "set": {"deficits": [{"name": "occlusion", "size": 16,
                                                     "start": 3, "end": 4}]}},
        "/set/deficits",
    ),
    ({"run": 0, "epoch": 2, "seeds": [1, 1]}, "/seeds"),
    ({"run": 0, "epoch": 2, "fisher": {"every": 1, "estimater": "signs"}}, "/fisher/estimater"),
]  # fmt: skip


def test_what_cannot_be_forked_is_refused_where_it_stands(lab, http):
    prepare("gratings", lab.service.store, lab.settings)
    old = submit(lab, **TINY)
    for asked, pointer in REFUSED:
        answer = http.post(f"/v1/experiments/{old}/fork", json=asked)
        found = answer.json()
        assert (answer.status_code, found["errors"][0]["pointer"]) == (422, pointer), found
    missing = http.post(f"/v1/experiments/{'0' * 24}/fork", json=REFUSED[0][0])
    assert missing.status_code == 404


def test_what_has_no_runs_to_go_on_from_is_not_forked(lab, monkeypatch):
    asked = Fork.model_validate({"run": 0, "epoch": 2, "set": {"deficits": []}})
    old = submit(lab, **TINY)
    with pytest.raises(Conflict, match="preparing its data set"):
        lab.service.forks.accept(old, asked)
    lab.service.cancel(old)
    with pytest.raises(Conflict, match="ended without a plan"):
        lab.service.forks.accept(old, asked)
    prepare("gratings", lab.service.store, lab.settings)
    planned = submit(lab, **TINY)
    monkeypatch.setattr(schedule, "TRAINING_VERSION", 2)
    with pytest.raises(Conflict, match="training_version of it were others"):
        lab.service.forks.accept(planned, asked)


def test_a_fork_that_was_half_accepted_is_linked_by_the_reconcile_loop(lab):
    prepare("gratings", lab.service.store, lab.settings)
    old = submit(lab, **TINY)
    new = forked(lab, old, run=0, epoch=2, set={"deficits": []})
    lab.service.store.remove(names.fork(old, new))
    lab.reconciler._indexed.clear()
    lab.reconciler.look_at(new)
    assert lab.service.forks.of(old) == [new]


def test_the_command_line_forks(lab, http):
    prepare("gratings", lab.service.store, lab.settings)
    old = submit(lab, **TINY)
    asked = ["fork", old, "--run", "0", "--epoch", "2", "--set", "training.schedule.gamma=0.5",
             "--set", 'deficits=[{"name": "noise", "start": 3, "end": 4}]']  # fmt: skip
    done = CliRunner().invoke(cli.main, ["--url", str(http.base_url), *asked])
    assert done.exit_code == 0, done.output
    accepted = lab.service.accepted(done.stdout.split()[0])
    assert accepted.forks == old
    [change] = accepted.shown["training"]["changes"]
    assert change["set"]["schedule"] == {"name": "exponential", "gamma": 0.5}
    assert json.dumps([w["name"] for w in accepted.shown["deficits"]]) == '["blur", "noise"]'
