"""What a collection removes, and what it never does."""

import hashlib
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from small import results, submit

from shared import check, garbage, job, names, sweep, tree
from shared.chain import Manifest, Path
from shared.errors import Corrupt
from shared.findings import Report
from shared.measurements import LaterMeasurements
from shared.plan import Plan
from shared.precious import Precious
from shared.records import Records
from shared.repairs import Repairs
from shared.schedule import Facts, config, keys, timeline
from shared.spec import ExperimentSpec

pytestmark = pytest.mark.services

OLD_SECONDS, YOUNG_SECONDS = 3.2, 2.0
"""So far apart that clocks which tell whole seconds tell old blobs from what is being written."""

FACTS = Facts("gratings", "d" * 64, (16, 16, 1), 8, 2000, 1000, (0.5,), (0.25,))


def collected(store, settings, tick=lambda: None, grace_seconds=-60, **policy):
    """Blobs that a collection removed, in order. -60: what was written just now, too."""
    settings = settings.model_copy(update={"check_share": 1})
    policy = garbage.Policy(**{"older_than": -60} | policy)
    found = garbage.collect(store, settings, Report(repair=True), policy, tick, grace_seconds)
    return [one.object for one in found]


# --- a property, over random trees ---


@dataclass
class World:
    """Experiments in a real store, carried out without tensors."""

    store: object
    settings: object
    plans: dict[str, Plan] = field(default_factory=dict)
    specs: dict[str, ExperimentSpec] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    """Blobs, as objects."""
    unplanned: list = field(default_factory=list)
    """What makes the plans of experiments that are being prepared."""

    def accept(self, ends, checkpoints, is_live, segments, reuse, state="", kind="", of=0):
        for step in self.accepting(ends, checkpoints, is_live, reuse, state, kind, of):
            step()
        (*_, id) = self.specs
        for segment in self.plans[id].segments[:segments] if id in self.plans else ():
            self.carry_out(segment)

    def accepting(self, ends, checkpoints, is_live, reuse, state="", kind="", of=0):
        """What the service writes of a new experiment, one by one. `kind`: one that tries the
        `of`-th again, or measures it, or one of its own."""
        id, others = names.new_experiment_id(), list(self.plans)
        other = others[of % len(others)] if others and kind else None
        spec = self.specs[other] if other else ExperimentSpec.model_validate({
            "dataset": {"name": "gratings"},
            "model": {"name": "all_cnn", "width": 0.1},
            "training": {"epochs_after_deficit": 2},
            "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
            "sweep": {"deficit.end": sorted(ends)},
        })  # fmt: skip
        if other:
            reuse = not self.plans[other].segments[0].scope

        def planned():
            """On what is stored by now."""
            if kind == "job" and other:
                asked = LaterMeasurements.model_validate({"fisher": {"epochs": [0], "samples": 8}})
                records = Records(self.store)
                return job.plan_for(asked, spec, self.plans[other], records, self.settings)
            owner = names.namesake(self.plans[other].segments[0].scope) if other else None
            paths = [path(i, point, sorted(checkpoints),
                          "" if reuse else names.alone(owner or id, str(i)))
                     for i, point in enumerate(sweep.points(spec))]  # fmt: skip
            return tree.make(paths, Records(self.store))

        def first():
            self.specs[id] = spec
            self.store.write_json(names.experiment_object(id, "spec.json"), {"given": {}})
            if is_live or state == "preparing":
                self.store.write(names.active_marker(id), b"")
            else:
                outcome = names.experiment_object(id, "outcome.json")
                self.store.write_json(outcome, {"state": "failed"})
            if state == "mended":
                Repairs(self.store).ask(id, 0)

        def plan():
            plan = planned()
            self.store.write_json(names.experiment_object(id, "plan.json"), plan.model_dump())
            self.plans[id] = plan
            if is_live or state in ("mended", "preparing"):
                self.live.add(id)

        if state == "preparing":
            self.unplanned.append(plan)
        return [first] if state == "preparing" else [first, plan]

    def carry_out(self, segment):
        for step in self.steps(segment):
            step()

    def steps(self, segment):
        """What a worker writes, one by one; nothing where it has nothing to do."""
        records, scope = Records(self.store), segment.scope
        if segment.stored or records.manifest(scope, segment.key) is not None:
            return []
        if segment.start and records.manifest(scope, segment.parent) is None:
            return []
        # By key, not by scope: runs that share nothing give equal bytes all the same.
        data = {part: f"{part} {segment.key}".encode() for part in ("checkpoint", "metrics")}
        blobs = {part: hashlib.sha256(its).hexdigest() for part, its in data.items()}
        manifest = Manifest(key=segment.key, parent=segment.parent, start=segment.start,
                            end=segment.end, provenance={}, **blobs)  # fmt: skip
        return [
            *(partial(self.write_blob, its) for its in data.values()),
            *(partial(self.store.write_json, names.within(scope, key), {"segment": segment.key})
              for key in segment.keys),
            partial(self.store.create_json, names.manifest(scope, segment.key),
                    manifest.model_dump()),
        ]  # fmt: skip

    def write_blob(self, data):
        self.written.add(names.blob(self.store.write_blob(data)))

    def work(self):
        """All that is left to do for live experiments, a write at a time; repairs first."""
        for id in sorted(self.live):
            for segment in self.plans[id].segments:
                manifest = self.manifests().get((segment.scope, segment.key))
                if (id, 0) in Repairs(self.store).wanted() and manifest is not None:
                    for sha in (manifest.checkpoint, manifest.metrics):
                        yield partial(self.write_blob, self.store.read_blob(sha))
                yield from self.steps(segment)

    def manifests(self):
        records = Records(self.store)
        return {
            (parts.scope, parts.key): records.manifest(parts.scope, parts.key)
            for prefix in (names.SEGMENTS, names.EXPERIMENTS)
            for parts in map(names.parts, self.store.names(prefix))
            if parts.kind == "manifest"
        }

    def needed(self):
        """Blobs, by the rule as it is written in words."""
        manifests = self.manifests()
        out = {manifest.metrics for manifest in manifests.values()}
        for id, plan in self.plans.items():
            for run in plan.runs:
                way = [(plan.scope(run), key) for key in plan.keys(run)]
                stored = [manifests[state].checkpoint for state in way if state in manifests]
                out.update(stored if id in self.live else stored[-1:])
        return set(map(names.blob, out))


def path(index, point, checkpoints, scope):
    run = point.run
    settings = config(run, FACTS, 0)
    stretches = timeline(run)
    return Path(index=index, scope=scope, variant=point.variant, base=point.base,
                point=point.values, seed=0, config=settings, stretches=stretches, windows=[],
                keys=keys(settings, stretches), checkpoints=checkpoints)  # fmt: skip


experiment = strategies.fixed_dictionaries({
    "ends": strategies.sets(strategies.integers(0, 6), min_size=1, max_size=3),
    "checkpoints": strategies.sets(strategies.integers(1, 2), max_size=2),
    "is_live": strategies.booleans(),
    "segments": strategies.integers(0, 8),
    "reuse": strategies.booleans(),
    "state": strategies.sampled_from(["", "", "preparing", "mended"]),
    "kind": strategies.sampled_from(["", "", "retry", "job"]),
    "of": strategies.integers(0, 3),
})  # fmt: skip


@settings(max_examples=8, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    experiments=strategies.lists(experiment, min_size=1, max_size=4),
    late=strategies.lists(experiment, max_size=1),
    begun=strategies.integers(0, 5),
    max_bytes=strategies.one_of(strategies.none(), strategies.integers(0, 800)),
)
def test_a_collection_never_removes_what_is_needed_and_leaves_no_more_than_was_asked(
    request, experiments, late, begun, max_bytes
):
    """What a worker had begun to write before it is done in its midst, and after it; experiments
    are accepted and planned in its midst."""
    store, settings = (request.getfixturevalue(name) for name in ("storage", "settings"))
    for name in list(store.names("")):
        store.remove(name)
    world = World(store, settings)
    for asked in experiments:
        world.accept(**asked)
    nobodys = names.blob(store.write_blob(b"nobody's"))
    needed, old = world.needed(), {m.checkpoint for m in world.manifests().values()}
    time.sleep(OLD_SECONDS)
    world.written.clear()
    since, work = time.monotonic(), world.work()
    for step in islice(work, begun):
        step()
    before = set(store.names(names.BLOBS))
    accepted = [s for asked in late for s in world.accepting(
        **{k: v for k, v in asked.items() if k != "segments"})]  # fmt: skip
    accepted += world.unplanned

    def tick():
        """Others have done something meanwhile."""
        for step in [accepted.pop(0)] if accepted else islice(work, 1):
            step()

    grace = time.monotonic() - since + YOUNG_SECONDS
    removed = set(collected(store, settings, tick, grace, max_bytes=max_bytes))
    after, needed_then = set(store.names(names.BLOBS)), world.needed()
    assert needed_then <= after
    assert needed & removed == world.written & removed == set()
    assert removed == before - after
    assert nobodys in removed
    left = sum(store.size(name) for name in after & set(map(names.blob, old)))
    assert left <= (max_bytes or 0) or after <= needed | needed_then | world.written
    for (scope, key), manifest in world.manifests().items():
        is_gone = names.blob(manifest.checkpoint) in removed
        assert store.exists(names.collected(scope, key)) == is_gone
    for step in [*accepted, *work]:
        step()
    assert world.needed() <= set(store.names(names.BLOBS))


# --- one by one ---


@pytest.fixture
def world(storage, settings):
    world = World(storage, settings)
    world.accept({4}, {1, 2}, is_live=False, segments=9, reuse=True)
    return world


def test_what_is_younger_than_asked_stays_and_a_dry_run_removes_nothing(world, settings):
    there = list(world.store.names(""))
    assert collected(world.store, settings, older_than=3600) == []
    assert len(collected(world.store, settings, dry_run=True)) == 3
    assert list(world.store.names("")) == there


def test_the_oldest_go_first_and_only_until_the_rest_fits(world, settings):
    (plan,) = world.plans.values()
    shas = [world.manifests()["", segment.key].checkpoint for segment in plan.segments]
    for sha in shas:
        time.sleep(1.1)  # listings tell whole seconds
        world.store.write_blob(world.store.read_blob(sha))
    sizes = [world.store.size(names.blob(sha)) for sha in shas]
    assert collected(world.store, settings, max_bytes=sum(sizes)) == []
    assert collected(world.store, settings, max_bytes=sum(sizes) - 1) == [names.blob(shas[0])]
    assert collected(world.store, settings, max_bytes=0) == list(map(names.blob, shas[1:3]))
    assert world.store.exists(names.blob(shas[3])), "the last of its run"


@pytest.mark.parametrize("what", ["experiment", "repair"])
def test_what_comes_after_the_marking_keeps_what_it_refers_to(world, settings, what):
    """A second look, just before the first removal."""
    store = world.store
    looked = garbage.Collection._keep

    def then_one_comes(self):
        looked(self)
        if what == "repair":
            Repairs(store).ask(next(iter(world.plans)), 0)
        else:
            world.accept({4}, set(), is_live=True, segments=0, reuse=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(garbage.Collection, "_keep", then_one_comes)
        assert collected(store, settings) == []


def test_a_blob_that_was_written_again_after_the_marking_stays(world, settings):
    store, sha = world.store, next(iter(world.manifests().values())).checkpoint
    data = store.read_blob(sha)
    looked = garbage.Collection._keep

    def then_it_is_written(self):
        looked(self)
        time.sleep(1.1)  # listings tell whole seconds
        store.write_blob(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(garbage.Collection, "_keep", then_it_is_written)
        removed = collected(store, settings)
    assert names.blob(sha) not in removed
    assert store.exists(names.blob(sha))


def test_a_segment_whose_manifest_comes_in_the_midst_keeps_both_its_blobs(storage, settings):
    """However little is asked: what was written within the hour is work under way."""
    world = World(storage, settings)
    world.accept({4}, {1, 2}, is_live=True, segments=1, reuse=True)
    (plan,) = world.plans.values()
    steps = world.steps(plan.segments[1])
    for step in steps[:2]:
        step()
    time.sleep(1.2)  # listings tell whole seconds
    looked = garbage.Collection._look

    def then_it_is_done(self):
        looked(self)
        for step in steps[2:]:
            step()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(garbage.Collection, "_look", then_it_is_done)
        found = garbage.collect(storage, settings, Report(repair=True), garbage.Policy(0))
        assert list(found) == []
    manifest = world.manifests()["", plan.segments[1].key]
    assert all(storage.verifies(sha) for sha in (manifest.checkpoint, manifest.metrics))


@pytest.mark.parametrize("what", ["manifest", "plan"])
def test_nothing_is_collected_while_something_cannot_be_read_that_may_need_it(
    world, settings, what
):
    id, plan = next(iter(world.plans.items()))
    name = names.experiment_object(id, "plan.json")
    if what == "manifest":
        name = names.manifest("", plan.segments[0].key)
    world.store.write(name, b'{"no')
    with pytest.raises(Corrupt, match="Nothing was collected"):
        collected(world.store, settings)
    assert world.store.exists(names.blob(world.store.write_blob(b"")))


# --- with real training ---


def test_a_fork_from_a_collected_state_gives_the_bytes_of_the_run_trained_alone(lab, http):
    lab.start_worker()
    first = submit(lab, sweep={"deficit.end": [6]}, checkpoints={"epochs": [2, 4]})
    lab.wait(first)
    alone = submit(lab, sweep={"deficit.end": [4]}, checkpoints={"epochs": [2, 4]}, reuse=False)
    lab.wait(alone)
    seen = results(lab, first)
    assert len(collected(lab.service.store, lab.settings)) >= 3
    assert results(lab, first) == seen, "metrics and measurements are there as they were"
    key = lab.service.plan(first).segments[0].key
    answer = http.get(f"/v1/checkpoints/{key}")
    assert answer.status_code == 404
    assert "was removed to make room" in answer.json()["detail"]
    assert lab.service.store.exists(names.collected("", key))
    fork = submit(lab, sweep={"deficit.end": [4]}, checkpoints={"epochs": [2, 4]})
    assert lab.wait(fork)["state"] == "succeeded"
    assert lab.service.experiment(fork).plan.epochs.new == 2
    assert results(lab, fork) == results(lab, alone)
    measured = submit(lab, sweep={"deficit.end": [6]}, fisher={"epochs": [3, 5], "samples": 8})
    assert lab.wait(measured)["state"] == "succeeded"
    undisturbed = submit(
        lab, sweep={"deficit.end": [6]}, fisher={"epochs": [3, 5], "samples": 8}, reuse=False
    )
    lab.wait(undisturbed)
    assert results(lab, measured)[0][2] == results(lab, undisturbed)[0][2]


def test_a_checkpoint_that_was_collected_and_made_again_and_is_lost_counts_as_lost(lab, http):
    """The mark of a collection counts only while it is true."""
    lab.start_worker()
    store = lab.service.store
    trunk = submit(lab, sweep={"deficit.end": [4]}, checkpoints={"epochs": [2]})
    lab.wait(trunk)
    segment = lab.service.plan(trunk).segments[0]
    sha = lab.service.records.manifest("", segment.key).checkpoint
    assert names.blob(sha) in collected(store, lab.settings)
    assert found_by_check(lab) == set()
    lab.wait(submit(lab, sweep={"deficit.end": [2]}))
    assert store.verifies(sha)
    assert not store.exists(names.collected("", segment.key))
    store.remove(names.blob(sha))
    assert found_by_check(lab) == {("missing", names.blob(sha))}
    assert http.get(f"/v1/checkpoints/{segment.key}").status_code == 503
    deadline = time.monotonic() + 60
    while http.get(f"/v1/checkpoints/{segment.key}").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_mark_of_a_checkpoint_that_is_there_is_found_and_removed(lab, http):
    """Bytes are shared: a run that shares nothing else may have stored it again."""
    worker = lab.start_worker()
    store = lab.service.store
    id = submit(lab, sweep={"deficit.end": [4]}, checkpoints={"epochs": [2]})
    lab.wait(id)
    worker.stop()  # it would repair what is damaged here, and take the mark away itself
    key = lab.service.plan(id).segments[0].key
    sha, mark = lab.service.records.manifest("", key).checkpoint, names.collected("", key)
    store.write_json(mark, {"checkpoint": sha, "at": "2026-01-01T00:00:00+00:00"})
    damaged = store.read_blob(sha)[:-1]
    store.write(names.blob(sha), damaged)
    assert http.get(f"/v1/checkpoints/{key}").status_code == 503, "damaged, not collected"
    assert ("orphan", mark) in found_by_check(lab, repair=True)
    assert not store.exists(mark)


def found_by_check(lab, repair=False):
    settings, report = lab.settings.model_copy(update={"check_share": 1}), Report(repair)
    found = check.findings(lab.service.store, settings, report, Repairs(lab.service.store).ask,
                           quick=True, grace_seconds=-60)  # fmt: skip
    return {(one.kind, one.object) for one in found}


def test_a_plan_that_is_there_in_its_copy_alone_keeps_what_it_needs(storage, settings):
    world = World(storage, settings)
    world.accept([0, 2], [], False, 9, True)
    (id,) = world.plans
    whole = collected(storage, settings, dry_run=True)
    plan = names.experiment_object(id, "plan.json")
    Precious(storage).keep_twice(plan)
    storage.remove(plan)
    assert collected(storage, settings, dry_run=True) == whole
