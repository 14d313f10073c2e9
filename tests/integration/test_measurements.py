"""Measurements of experiments that exist: jobs on a real Redis, a real S3 server and workers."""

import json

import pytest
from small import submit

from api.reconcile import Reconciler
from shared import job, names
from shared.errors import Conflict, Invalid, NotFound
from shared.measurements import LaterMeasurements
from shared.results import Results

pytestmark = pytest.mark.services

RUN = {
    "sweep": {"deficit.end": [0, 3]},
    "training": {"epochs_after_deficit": 2, "batch_size": 64},
    "fisher": None,
}
FISHER = {"samples": 16, "images": ["current", "clean"]}
SECOND = {"samples": 8, "sizes": [0.001, 0.1], "directions": 2}


def measure(lab, id, **asked):
    made, _ = lab.service.jobs.accept(id, LaterMeasurements.model_validate(asked))
    return made


def counts(made):
    return job.counts(made.plan)


def numbers(lab, id):
    """All that was measured of an experiment, by its spec or later, as it is stored."""
    plan = lab.service.plan(id)
    merged, _ = lab.service.jobs.with_measured(id, plan, lab.service.jobs.ids(id))
    return {
        (run.index, epoch, digest): json.dumps(found["values"])
        for run in merged.runs
        for epoch, key, digest in run.probes
        if (found := lab.service.records.measurement(plan.scope(run), key, digest))
    }


@pytest.mark.parametrize("reuse", [True, False])
def test_what_is_measured_later_equals_what_was_measured_on_the_way(lab, reuse):
    lab.start_worker()
    beside = {"beside": ["gradient", "hessian_trace"]}
    asked = {
        "fisher": {"every": 2} | FISHER | beside,
        "second_order": {"epochs": [1, 2]} | SECOND,
        "linear_path": {"points": 3, "samples": 32},
    }
    plain = submit(lab, **RUN, reuse=reuse)
    lab.wait(plain)
    states = list(lab.service.store.names("segments/")) if reuse else []
    made = measure(lab, plain, **asked)
    assert (made.plan.epochs.new, made.accepted.measures) == (0, plain)
    assert made.plan.epochs.replayed > 0  # 1 and 2 lie between two checkpoints
    status = lab.wait(made.id)
    assert status["state"] == "succeeded", lab.lines[-30:]
    assert status["progress"]["measurements"] == {
        "done": counts(made)["new"], "planned": counts(made)["new"]
    }  # fmt: skip
    fresh = submit(lab, **RUN | asked, reuse=False)
    lab.wait(fresh)
    assert numbers(lab, plain) == numbers(lab, fresh) != {}
    replayed = [
        lab.service.records.measurement(made.plan.scope(run), key, digest)["provenance"]
        for run in made.plan.runs
        for _, key, digest in run.probes
    ]
    assert {one["experiment"] for one in replayed} == {made.id}
    assert {one.get("replay_matches") for one in replayed} == {None, True}
    if reuse:
        assert list(lab.service.store.names("segments/")) == states


def test_gradients_and_filters_asked_for_later_equal_those_of_the_way(lab):
    lab.start_worker()
    asked = {
        "gradients": {"every": 1, "samples": 16, "images": ["current", "clean"]},
        "filters": {"epochs": [0, 1, 2]},
        "information_plane": {"epochs": [0, 3], "samples": 32, "layers": [1, -1]},
    }
    plain = submit(lab, **RUN, scoring={"batchnorm_statistics": "reestimated", "samples": 64})
    lab.wait(plain)
    scored = {name: json.loads(values) for name, values in numbers(lab, plain).items()}
    assert {(run, epoch) for run, epoch, _ in scored} == {
        (run.index, epoch)
        for run in lab.service.plan(plain).runs
        for epoch in range(1, run.epochs + 1)
    }
    assert {values["statistics_samples"] for values in scored.values()} == {64}
    assert all(0 <= values["accuracy"] <= 1 for values in scored.values())
    made = measure(lab, plain, **asked)
    assert made.plan.epochs.new == 0
    assert not made.spec.gradients
    assert not made.spec.information_plane
    assert made.spec.scoring.batchnorm_statistics == "running"  # a job scores nothing
    assert lab.wait(made.id)["state"] == "succeeded", lab.lines[-30:]
    fresh = submit(lab, **RUN | asked, reuse=False)
    lab.wait(fresh)
    found, expected = numbers(lab, plain), numbers(lab, fresh)
    assert {name: found[name] for name in found if name not in scored} == expected
    kinds = {p["kind"] for p in lab.service.plan(fresh).probes.values()}
    assert kinds == {"layer_gradients", "filters", "information_plane"}


def test_what_was_asked_before_is_not_measured_again_and_the_job_ends_at_once(lab):
    worker = lab.start_worker()
    id = submit(lab, **RUN)
    lab.wait(id)
    first = measure(lab, id, fisher=FISHER)
    assert counts(first) == {"asked": (n := counts(first)["new"]), "stored": 0, "new": n}
    lab.wait(first.id)
    worker.kill()
    again = measure(lab, id, fisher=FISHER)
    assert counts(again) == {"asked": n, "stored": n, "new": 0}
    assert lab.service.status(again.id)["state"] == "succeeded"
    assert lab.service.live.counted_epochs(again.id) is None
    part = measure(lab, id, fisher=FISHER | {"samples": 8}, runs=[1])
    assert [run.index for run in part.plan.runs] == [1]
    assert lab.service.status(part.id)["state"] == "queued"
    assert lab.service.jobs.ids(id) == [first.id, again.id, part.id]


def test_of_a_cancelled_experiment_what_is_stored_is_measured(lab):
    lab.start_worker()
    id = submit(
        lab, **RUN | {"sweep": {}, "training": {"epochs": 400, "batch_size": 8}},
        checkpoints={"every": 2},
    )  # fmt: skip
    lab.wait(id, lambda s: s["progress"] and s["progress"]["epochs"]["done"] >= 5)
    lab.service.cancel(id)
    made = measure(lab, id, fisher=FISHER | {"beside": []})
    (run,) = made.plan.runs
    assert 4 <= run.epochs < 400
    assert [epoch for epoch, _, _ in run.probes] == list(range(0, run.epochs + 1, 2))
    assert lab.wait(made.id)["state"] == "succeeded"
    assert len(numbers(lab, id)) == len(run.probes)
    with pytest.raises(Invalid, match="400 is not stored: these runs are stored up to epoch"):
        measure(lab, id, fisher={"epochs": [400]})


def test_of_an_experiment_that_has_not_begun_the_initial_state_is_measured(lab):
    worker = lab.start_worker()
    lab.wait(submit(lab, **RUN))  # prepares the data set
    worker.kill()
    id = submit(lab, **RUN | {"seeds": [7]})
    lab.service.cancel(id)
    made = measure(lab, id, fisher=FISHER | {"images": "clean", "beside": []})
    assert counts(made) == {"asked": 1, "stored": 0, "new": 1}
    nothing = Results.read(made.plan, lab.service.records, made.id)
    assert [list(nothing.epochs(run)) for run in made.plan.runs] == [[], []]
    lab.start_worker()
    assert lab.wait(made.id)["state"] == "succeeded", lab.lines[-30:]
    assert [epoch for _, epoch, _ in numbers(lab, id)] == [0, 0]
    more = measure(lab, id, fisher=FISHER | {"images": "clean", "split": "test", "beside": []})
    assert lab.wait(more.id)["state"] == "succeeded", lab.lines[-30:]
    assert len(numbers(lab, id)) == 4
    # What was kept of the initial state stands in nobody's way.
    trained = submit(lab, **RUN | {"seeds": [7]})
    assert lab.service.experiment(trained).plan.epochs.stored == 0
    assert lab.wait(trained)["state"] == "succeeded", lab.lines[-30:]


def test_what_a_cancelled_job_has_measured_stays_and_is_not_asked_for_again(lab):
    lab.start_worker()
    id = submit(lab, **RUN | {"sweep": {}, "training": {"epochs": 8, "batch_size": 64}})
    lab.wait(id)
    made = measure(lab, id, fisher={"every": 1, "samples": 128, "estimator": "exact"})
    prefix = "measurements/"
    lab.wait(made.id, lambda s: len(list(lab.service.store.names(prefix))) > 2)
    lab.service.cancel(made.id)
    lab.start_worker()
    lab.wait(submit(lab, **RUN))  # nothing is under way any more
    there = len(list(lab.service.store.names(prefix)))
    found = numbers(lab, id)
    assert len(found) == there >= 3
    plan, _ = lab.service.jobs.with_measured(id, lab.service.plan(id), [made.id])
    assert sum(len(run.probes) for run in plan.runs) == there
    rest = measure(lab, id, fisher={"every": 1, "samples": 128, "estimator": "exact"})
    assert counts(rest)["stored"] == there
    lab.wait(rest.id)
    assert len(numbers(lab, id)) == counts(rest)["asked"]


def test_a_job_whose_links_were_lost_gets_them_again(lab):
    """As after an API that died in between: a loop that has not seen the job yet writes it."""
    worker = lab.start_worker()
    id = submit(lab, **RUN)
    lab.wait(id)
    worker.kill()  # the job stays unfinished
    made = measure(lab, id, fisher=FISHER)
    lab.service.store.remove(names.measurement_job(id, made.id))
    assert lab.service.jobs.ids(id) == []
    Reconciler(lab.service).look_at(made.id)
    assert lab.service.jobs.ids(id) == [made.id]


def test_a_key_gives_the_first_job_again(lab):
    lab.start_worker()
    id = submit(lab, **RUN)
    lab.wait(id)
    asked = LaterMeasurements.model_validate({"fisher": FISHER})
    first, made = lab.service.jobs.accept(id, asked, idempotency_key="abc")
    again, made_again = lab.service.jobs.accept(id, asked, idempotency_key="abc")
    assert (first.id, made, made_again) == (again.id, True, False)
    other = LaterMeasurements.model_validate({"fisher": FISHER | {"samples": 8}})
    with pytest.raises(Invalid, match="another body"):
        lab.service.jobs.accept(id, other, idempotency_key="abc")
    assert len(lab.service.jobs.ids(id)) == 1


def test_what_cannot_be_measured_is_refused_with_the_reason(lab):
    with pytest.raises(NotFound):
        measure(lab, "0" * 24, fisher={})
    id = submit(lab, **RUN)
    with pytest.raises(Conflict, match="still being prepared") as early:
        measure(lab, id, fisher={})
    assert early.value.retry_after is not None
    lab.start_worker()
    lab.wait(id)
    made = measure(lab, id, fisher=FISHER)
    with pytest.raises(Conflict, match=f"/v1/experiments/{id}/measurements"):
        measure(lab, made.id, fisher=FISHER)
    mlp = submit(lab, **RUN | {"model": {"name": "mlp", "width": 0.01}})
    with pytest.raises(Invalid, match="variational estimate is made for all_cnn"):
        measure(lab, mlp, fisher={"estimator": "variational"})
