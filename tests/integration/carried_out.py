"""Experiments whose records are written as a worker would, with nothing trained."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from api.service import Service
from shared import moments, names
from shared.chain import Manifest
from shared.plan import Plan, Segment
from shared.results import METRICS
from shared.spec import ExperimentSpec
from worker.preparation import prepare


def carried_out(service: Service, **body: Any) -> str:
    """The id of an experiment of which every segment is done, with its Fisher traces. No checkpoint
    is there, and the last losses of each run are not finite."""
    prepare("gratings", service.store, service.settings)
    experiment, _ = service.accept(ExperimentSpec.model_validate(body))
    plan = experiment.plan
    assert plan is not None
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda s: _finish(service, experiment.id, plan, s), plan.segments))
    return experiment.id


def _finish(service: Service, id: str, plan: Plan, segment: Segment) -> None:
    epochs = range(segment.start + 1, segment.end + 1)
    draw = random.Random(segment.key).random
    rows = [
        {"epoch": epoch, "stimulus": []} | {name: draw() for name in METRICS} for epoch in epochs
    ]
    if segment.end == plan.runs[0].epochs:
        rows[-1] |= {"train_loss": "NaN", "test_loss": "Infinity"}
    provenance = {
        "experiment": id,
        "wall_seconds": 1.0,
        "numerics": "none",
        "device": {"name": "none", "kind": "cpu", "torch": "0"},
        "epoch_times": [moments.at(1e9 + epoch) for epoch in epochs],
    }
    manifest = Manifest(
        key=segment.key,
        parent=segment.parent,
        start=segment.start,
        end=segment.end,
        checkpoint="0" * 64,
        metrics=service.store.write_blob(json.dumps(rows).encode()),
        provenance=provenance,
    )
    for epoch, digest in segment.probes:
        _measure(service, id, plan, segment, epoch, digest)
    service.store.create_json(names.manifest(segment.scope, segment.key), manifest.model_dump())


def _measure(
    service: Service, id: str, plan: Plan, segment: Segment, epoch: int, digest: str
) -> None:
    """A Fisher trace; nothing else has been needed."""
    key = segment.state(epoch)
    draw = random.Random(key + digest).random
    found = {
        "key": key,
        "epoch": epoch,
        "probe": plan.probes[digest],
        "values": {"trace": 10 + draw(), "standard_error": draw(), "layers": []},
        "provenance": {"experiment": id, "time": moments.at(1e9 + epoch), "numerics": "none"},
    }
    service.store.create_json(names.measurement(segment.scope, key, digest), found)
