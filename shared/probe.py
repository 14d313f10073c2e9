"""Measurements as data: which probe at which epoch, and the digest that names it.

A probe is outside the key: (state key, probe digest) names a measurement. A probe holds all that
its numbers depend on besides the state, and nothing else.
"""

from collections.abc import Iterator
from typing import Any

from shared import blocks
from shared.errors import Fault, Invalid
from shared.measurements import (
    PARTS,
    SCORED,
    SIDE_SAMPLES,
    Filters,
    Fisher,
    Gradients,
    InformationPlane,
    LaterMeasurements,
    Measurements,
    Probed,
    Saliency,
    SecondOrder,
    Timed,
)
from shared.schedule import Facts, Stimulus, Stretch, digest, prunings
from shared.spec import NOT_OF_IMAGES, RunSpec

Probe = dict[str, Any]

FISHER = "fisher"
SECOND_ORDER = "second_order"
LAYER_GRADIENTS = "layer_gradients"
FILTERS = "filters"
INFORMATION_PLANE = "information_plane"
ACCURACY = "accuracy"
LINEAR_PATH = "linear_path"
SALIENCY = "saliency"
PRUNED = "pruned"
KINDS = (
    FISHER, "gradient", "hessian_eigenvalue", "hessian_trace", SECOND_ORDER, LAYER_GRADIENTS,
    FILTERS, INFORMATION_PLANE, ACCURACY, LINEAR_PATH, SALIENCY, PRUNED,
)  # fmt: skip


def probes(
    asked: Measurements | LaterMeasurements,
    run: RunSpec,
    stretches: list[Stretch],
    facts: Facts,
    kept: list[int] | None = None,
) -> list[tuple[int, Probe, str]]:
    """(epoch, probe, its digest) for all that is asked of one run, in order of epochs.

    An epoch here is the number of epochs trained: 0 is the initial state. `kept` are the epochs of
    what asks for measurements without naming any.
    """
    _check(asked, run)
    there = _there(run, facts)
    found = [
        (epoch, probe)
        for part in (getattr(asked, name) for name in PARTS)
        if part is not None
        for epoch in _epochs(part, run, kept or [])
        for probe in _of_part(part, run, stretches, there, epoch)
    ]
    if isinstance(asked, Measurements):
        found += _scoring(asked, run, stretches, there)
        found += _pruned(run, stretches, there)
    found.sort(key=lambda one: one[0])
    return list(_named_once(found))


def asked_epochs(every: int | None, epochs: list[int], total: int) -> list[int]:
    """0, every, 2*every, ..., the last epoch, and those named one by one."""
    asked = {e for e in epochs if e <= total}
    if every is not None:
        asked |= set(range(0, total + 1, every)) | {total}
    return sorted(asked)


def current(stretches: list[Stretch], epoch: int) -> Stimulus:
    """What a network with `epoch` epochs behind it was last shown (at 0: is about to be shown)."""
    shown = max(epoch - 1, 0)
    return _of_images(next(s.stimulus for s in stretches if s.start <= shown < s.end))


def _of_images(stimulus: Stimulus) -> Stimulus:
    return [entry for entry in stimulus if entry["name"] not in NOT_OF_IMAGES]


def name(probe: Probe) -> str:
    """The probe's digest, with which a state's key names the measurement."""
    return digest(probe)


def _check(asked: Measurements | LaterMeasurements, run: RunSpec) -> None:
    if asked.fisher and asked.fisher.estimator == "variational" and run.model.name != "all_cnn":
        message = (
            f"the variational estimate is made for all_cnn alone; found {run.model.name}: use signs"
        )
        raise Invalid(message, [Fault("/fisher/estimator", "not-for-this-model", message)])
    if asked.information_plane:
        _check_layers(asked.information_plane, run)


def _check_layers(part: InformationPlane, run: RunSpec) -> None:
    count = blocks.count(run.model.keyed())
    faults = [
        Fault(
            f"/information_plane/layers/{i}",
            "no-such-layer",
            f"information_plane.layers: there is no layer {number}: {run.model.name} here has"
            f" {count}, 0 to {count - 1}, or -{count} to -1 from the end",
        )
        for i, number in enumerate(part.layers or [])
        if not -count <= number < count
    ]
    if faults:
        raise Invalid(faults[0].message, faults)


def _epochs(part: Timed, run: RunSpec, kept: list[int]) -> list[int]:
    if part.every is None and not part.epochs:
        return kept
    return asked_epochs(part.every, part.epochs, run.total_epochs)


def _of_part(
    part: Timed, run: RunSpec, stretches: list[Stretch], there: dict[str, int], epoch: int
) -> Iterator[Probe]:
    if isinstance(part, Filters):
        yield {"kind": FILTERS}
    if isinstance(part, Probed):
        for split in part.split:
            for stimulus in _stimuli(part, run, stretches, epoch):
                yield from _probes(part, run, split, stimulus, there[split])


def _scoring(
    asked: Measurements, run: RunSpec, stretches: list[Stretch], there: dict[str, int]
) -> Iterator[tuple[int, Probe]]:
    """Where running statistics are not what is asked for: the accuracy at the end, measured."""
    if asked.scoring.batchnorm_statistics == "running":
        return
    samples = min(asked.scoring.samples or there["train"], there["train"])
    for epoch in range(max(1, run.total_epochs - SCORED + 1), run.total_epochs + 1):
        yield (
            epoch,
            {
                "kind": ACCURACY,
                "split": "test",
                "stimulus": [],
                "probe_set": "fixed",
                "samples": there["test"],
                "batchnorm_statistics": "reestimated",
                "statistics_stimulus": current(stretches, epoch),
                "statistics_samples": samples,
            },
        )


def _pruned(
    run: RunSpec, stretches: list[Stretch], there: dict[str, int]
) -> Iterator[tuple[int, Probe]]:
    """Of each state that is to be pruned: what is left of it, before any training."""
    for epoch, step in prunings(run).items():
        looks = {"samples": min(step["samples"], there["train"])} if "samples" in step else {}
        yield (
            epoch,
            {
                "kind": PRUNED,
                "prune": step | looks,
                "split": "test",
                "stimulus": [],
                "probe_set": "fixed",
                "samples": there["test"],
                "statistics_stimulus": current(stretches, epoch),
                "statistics_samples": there["train"],
            },
        )


def _stimuli(part: Probed, run: RunSpec, stretches: list[Stretch], epoch: int) -> list[Stimulus]:
    choices: dict[str, list[Stimulus]] = {
        "current": [current(stretches, epoch)],
        "clean": [[]],
        "deficit": _deficits(run, stretches),
    }
    return [stimulus for images in part.images for stimulus in choices[images]]


def _deficits(run: RunSpec, stretches: list[Stretch]) -> list[Stimulus]:
    """What the run is shown at some time that is not clean; and of a window that is empty, its
    deficit, so that a clean run is measured as its siblings are. Without any: clean."""
    shown = [_of_images(stretch.stimulus) for stretch in stretches]
    shown += [[w.stimulus()] for w in run.windows if w.changes_images and not w.epochs]
    found: list[Stimulus] = []
    for stimulus in shown:
        if stimulus and stimulus not in found:
            found.append(stimulus)
    return found or [[]]


def _there(run: RunSpec, facts: Facts) -> dict[str, int]:
    return {
        "train": run.dataset.train_samples or facts.train,
        "test": run.dataset.test_samples or facts.test,
    }


def _probes(
    part: Probed, run: RunSpec, split: str, stimulus: Stimulus, there: int
) -> Iterator[Probe]:
    """The number of images is what is really there: asking for more is asking for all."""
    shown: Probe = {"split": split, "stimulus": stimulus, "probe_set": part.probe_set}
    if isinstance(part, SecondOrder):
        number: Probe = {"samples": min(part.samples, there), "directions": part.directions}
        yield {"kind": SECOND_ORDER, **shown, **number, "sizes": part.sizes}
    if isinstance(part, Gradients):
        yield {"kind": LAYER_GRADIENTS, **shown, "samples": min(part.samples, there)}
    if isinstance(part, InformationPlane):
        samples = min(part.samples, there)
        yield {"kind": INFORMATION_PLANE, **shown, "samples": samples, **_estimators(part, run)}
    if isinstance(part, Saliency):
        options: Probe = {"granularity": part.granularity, "labels": part.labels}
        yield {"kind": SALIENCY, **shown, **options, "samples": min(part.samples, there)}
    if isinstance(part, Fisher):
        yield {"kind": FISHER, **shown, **_method(part), **_number(part, there)}
        samples = min(part.samples or SIDE_SAMPLES, there)
        for kind in part.beside:
            yield {"kind": kind, **shown, "samples": samples}


def _method(part: Fisher) -> Probe:
    method = {"estimator": part.estimator, "precision": part.precision}
    options = {"norms": part.norms, "square_root": part.square_root}
    return method | {name: value for name, value in options.items() if value is not None}


def _estimators(part: InformationPlane, run: RunSpec) -> Probe:
    """Each layer by its number from 0, in order and once."""
    count = blocks.count(run.model.keyed())
    numbers = range(count) if part.layers is None else {number % count for number in part.layers}
    fields = {"noise", "noise_variance", "bins", "bin_size", "decoder"}
    return {"layers": sorted(numbers)} | part.model_dump(include=fields, exclude_none=True)


def _number(part: Fisher, there: int) -> Probe:
    if part.relative_error is None:
        assert part.samples is not None
        return {"samples": min(part.samples, there)}
    assert part.max_samples is not None
    return {"relative_error": part.relative_error, "max_samples": min(part.max_samples, there)}


def _named_once(found: list[tuple[int, Probe]]) -> Iterator[tuple[int, Probe, str]]:
    """With digests and without repetitions: two names of images may stand for the same ones."""
    digests: dict[str, str] = {}
    seen: set[tuple[int, str]] = set()
    for epoch, probe in found:
        text = repr(probe)
        digest = digests.get(text) or digests.setdefault(text, name(probe))
        if (epoch, digest) not in seen:
            seen.add((epoch, digest))
            yield epoch, probe, digest
