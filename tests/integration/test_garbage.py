"""What a collection removes, and what it never does."""

import time
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from small import results, submit

from shared import garbage, names, sweep, tree
from shared.chain import Manifest, Path
from shared.errors import Corrupt
from shared.findings import Report
from shared.plan import Plan
from shared.records import Records
from shared.schedule import Facts, config, keys, timeline
from shared.spec import ExperimentSpec

pytestmark = pytest.mark.services

FACTS = Facts("gratings", "d" * 64, (16, 16, 1), 8, 2000, 1000, (0.5,), (0.25,))


def collected(store, settings, **policy):
    """Blobs that a collection removed, in order."""
    settings = settings.model_copy(update={"check_share": 1})
    policy = garbage.Policy(**{"older_than": -60} | policy)  # -60: what was written just now, too
    found = garbage.collect(store, settings, Report(repair=True), policy)
    return [one.object for one in found]


# --- a property, over random trees ---


@dataclass
class World:
    """Experiments in a real store, carried out without tensors."""

    store: object
    plans: dict[str, Plan] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)

    def accept(self, ends, checkpoints, is_live, segments, reuse):
        id = names.new_experiment_id()
        spec = ExperimentSpec.model_validate({
            "dataset": {"name": "gratings"},
            "model": {"name": "all_cnn", "width": 0.1},
            "training": {"epochs_after_deficit": 2},
            "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
            "sweep": {"deficit.end": sorted(ends)},
        })  # fmt: skip
        paths = [path(i, point, sorted(checkpoints), "" if reuse else names.alone(id, str(i)))
                 for i, point in enumerate(sweep.points(spec))]  # fmt: skip
        plan = tree.make(paths, Records(self.store))
        self.plans[id] = plan
        if is_live:
            self.live.add(id)
        else:
            self.store.write_json(names.experiment_object(id, "outcome.json"), {"state": "failed"})
        self.store.write_json(names.experiment_object(id, "spec.json"), {"given": {}})
        self.store.write_json(names.experiment_object(id, "plan.json"), plan.model_dump())
        for segment in plan.segments[:segments]:
            self.carry_out(segment)

    def carry_out(self, segment):
        records = Records(self.store)
        if segment.stored or records.manifest(segment.scope, segment.key) is not None:
            return
        if segment.start and records.manifest(segment.scope, segment.parent) is None:
            return
        # By key, not by scope: runs that share nothing give equal bytes all the same.
        blobs = {part: self.store.write_blob(f"{part} {segment.key}".encode())
                 for part in ("checkpoint", "metrics")}  # fmt: skip
        manifest = Manifest(key=segment.key, parent=segment.parent, start=segment.start,
                            end=segment.end, provenance={}, **blobs)  # fmt: skip
        for key in segment.keys:
            pointer = names.within(segment.scope, key)
            self.store.write_json(pointer, {"segment": segment.key})
        self.store.create_json(names.manifest(segment.scope, segment.key), manifest.model_dump())

    def manifests(self):
        records = Records(self.store)
        return {
            (parts.scope, parts.key): records.manifest(parts.scope, parts.key)
            for prefix in (names.SEGMENTS, names.EXPERIMENTS)
            for parts in map(names.parts, self.store.names(prefix))
            if parts.kind == "manifest"
        }

    def needed(self):
        """Digests, by the rule as it is written in words."""
        manifests = self.manifests()
        out = {manifest.metrics for manifest in manifests.values()}
        for id, plan in self.plans.items():
            for run in plan.runs:
                way = [(plan.scope(run), key) for key in plan.keys(run)]
                stored = [manifests[state].checkpoint for state in way if state in manifests]
                out.update(stored if id in self.live else stored[-1:])
        return out


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
})  # fmt: skip


@settings(max_examples=25, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    experiments=strategies.lists(experiment, min_size=1, max_size=4),
    max_bytes=strategies.one_of(strategies.none(), strategies.integers(0, 800)),
)
def test_a_collection_never_removes_what_is_needed_and_leaves_no_more_than_was_asked(
    request, experiments, max_bytes
):
    store = request.getfixturevalue("storage")
    for name in list(store.names("")):
        store.remove(name)
    world = World(store)
    for asked in experiments:
        world.accept(**asked)
    needed = world.needed()
    before = set(store.names(names.BLOBS))
    removed = collected(store, request.getfixturevalue("settings"), max_bytes=max_bytes)
    after = set(store.names(names.BLOBS))
    assert {names.blob(sha) for sha in needed} <= after
    assert set(removed) == before - after
    checkpoints = {m.checkpoint for m in world.manifests().values()}
    left = sum(store.size(name) for name in after & set(map(names.blob, checkpoints)))
    assert left <= (max_bytes or 0) or after == {names.blob(sha) for sha in needed}
    for (scope, key), manifest in world.manifests().items():
        is_gone = names.blob(manifest.checkpoint) in removed
        assert store.exists(names.collected(scope, key)) == is_gone


# --- one by one ---


@pytest.fixture
def world(storage):
    world = World(storage)
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


def test_an_experiment_that_comes_after_the_marking_keeps_what_it_refers_to(world, settings):
    """A second look, just before the first removal."""
    store = world.store
    looked = garbage.Collection._keep

    def then_one_comes(self):
        looked(self)
        world.accept({4}, set(), is_live=True, segments=0, reuse=True)
        store.write(names.active_marker(list(world.plans)[-1]), b"")

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
