"""A segment that looks at two runs' final states, carried out on a real store."""

import pytest
import shelf

from api.tracker import _trained
from shared import linear_path, names, tree
from shared.errors import NotReady
from shared.measurements import LinearPath
from shared.records import Records
from worker import gratings
from worker.bench import Bench
from worker.segment import execute, mend

pytestmark = pytest.mark.services

BODY = shelf.body(
    dataset={"name": "gratings", "train_samples": 48, "test_samples": 16},
    model={"name": "all_cnn", "width": 0.05},
    training={"epochs_after_deficit": 1, "batch_size": 16, "augmentation": {"shift": 2}},
    sweep={"deficit.end": [0, 1]},
)
DATA = gratings.generate(48, 16)


def bench_of(records):
    provenance = {"numerics": "here", "experiment": "one"}
    return Bench(records, lambda _: DATA, "cpu", provenance, lambda: None, lambda *_: None)


def lined(records, scope):
    paths = linear_path.added(shelf.paths(BODY, lambda run: scope), LinearPath(points=3, samples=8))
    return tree.make(paths, records)


def line_of(records, plan):
    [segment] = [segment for segment in plan.segments if segment.only_measures]
    [(epoch, digest)] = segment.probes
    return segment, records.measurement(segment.scope, segment.state(epoch), digest)


def test_it_waits_for_its_partner_and_gives_the_same_numbers_when_that_was_lost(storage):
    records = Records(storage)
    bench, plan = bench_of(records), lined(records, names.alone("1" * 24, "0"))
    segment, _ = line_of(records, plan)
    clean, late = plan.runs
    for index in late.segments[:-1]:
        assert execute(bench, plan, plan.segments[index])
    with pytest.raises(NotReady):
        execute(bench, plan, segment)
    for index in clean.segments:
        assert execute(bench, plan, plan.segments[index])
    assert execute(bench, plan, segment)
    _, measured = line_of(records, plan)
    points = measured["values"]["points"]
    final = plan.segments[late.segments[0]], plan.segments[clean.segments[-1]]
    assert [point["a"] for point in points] == [0, 0.5, 1]
    assert points[0]["test"]["loss"] != points[2]["test"]["loss"]

    manifests = [records.manifest(one.scope, one.key) for one in final]
    storage.remove(names.measurement(segment.scope, segment.key, segment.probes[0][1]))
    storage.remove(names.blob(manifests[1].checkpoint))
    records.forget()
    assert mend(bench, plan, segment)
    assert line_of(records, plan)[1]["values"] == measured["values"]
    assert storage.verifies(manifests[1].checkpoint)


def test_what_its_run_took_is_not_what_its_measurement_took(storage):
    records = Records(storage)
    plan = lined(records, names.alone("4" * 24, "0"))
    bench = bench_of(records)
    for one in sorted(plan.segments, key=lambda one: (one.only_measures, one.start)):
        assert execute(bench, plan, one)
    segment, _ = line_of(records, plan)
    assert _trained(segment, records, "one") == (0, 0.0)
    assert all(_trained(s, records, "one").seconds for s in plan.segments if s.planned)
