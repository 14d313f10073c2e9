"""Spec -> timeline -> keys: what a run is shown in each epoch, at what learning rate, and the name
of the state it is then in. This file is where a key is computed."""

import hashlib
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import rfc8785
from pydantic import Field

from shared.errors import Fault, Invalid, OtherVersion
from shared.part import Part
from shared.spec import (
    AnyWindow,
    AugmentationWindow,
    Blur,
    Greyscale,
    LabelNoise,
    LabelPermutation,
    Occlusion,
    PartialData,
    RunSpec,
)
from shared.training import Changed, Training

TRAINING_VERSION = 1
"""Raised when the same config would train to other weights. Every old key then stays as it is."""

Stimulus = list[dict[str, Any]]
Config = dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """What keys and plans must know of a data set; the images themselves are not needed."""

    name: str
    digest: str
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Stretch(Part):
    """Consecutive epochs [start, end) with one stimulus, one start of the schedule, one mask."""

    start: int
    end: int
    stimulus: Stimulus
    restart: int = 0
    """Epoch at which the learning-rate schedule last started again."""
    optimizer_restart: int = 0
    """Epoch at which the optimiser last forgot its momentum."""
    # Left out where nothing changes: plans are as they were, for earlier programs too.
    settings: Config = Field({}, exclude_if=operator.not_)
    """Parts of the config that are others here."""
    changed: int = Field(0, exclude_if=operator.not_)
    """Epoch since which they are."""
    pruning: Config = Field({}, exclude_if=operator.not_)
    """The last step of pruning: `at` the start of which epoch, and what it does."""


def timeline(run: RunSpec) -> list[Stretch]:
    """The run's epochs as stretches, in order and without gaps."""
    total = run.total_epochs
    windows = [w for w in run.windows if w.epochs]
    rates = _rate_restarts(run)
    optimizers = _restarts(run, run.training.optimizer_restart)
    optimizers |= {c.at for c in run.training.changes if c.set.optimizer_restart}
    settings = changed_settings(run.training)
    prunes = prunings(run)
    edges = (
        {0, total}
        | rates
        | optimizers
        | settings.keys()
        | prunes.keys()
        | {e for w in windows for e in (w.epochs.start, w.epochs.stop)}
    )
    cuts = sorted(e for e in edges if e <= total)
    return [
        Stretch(
            start=start,
            end=end,
            stimulus=[w.stimulus() for w in windows if start in w.epochs],
            restart=max((r for r in rates if r <= start), default=0),
            optimizer_restart=max((r for r in optimizers if r <= start), default=0),
            settings=settings[changed] if changed else {},
            changed=changed,
            pruning=max(
                ({"at": e} | step for e, step in prunes.items() if e <= start),
                key=operator.itemgetter("at"),
                default={},
            ),
        )
        for start, end in pairwise(cuts)
        for changed in (max((e for e in settings if e <= start), default=0),)
    ]


def prunings(run: RunSpec) -> dict[int, Config]:
    """Epoch -> the step of pruning at its start; one at the run's end changes no epoch of it. What
    is looked at is shown as the network was last shown it."""

    def shown(epoch: int) -> Stimulus:
        last = max(epoch - 1, 0)
        return [w.stimulus() for w in run.windows if w.changes_images and last in w.epochs]

    if run.pruning is None:
        return {}
    there = run.dataset.train_samples or run.pruning.samples
    asked = run.pruning.model_copy(update={"samples": min(run.pruning.samples, there)})
    return asked.prunes(run.total_epochs, shown)


def changed_settings(training: Training) -> dict[int, Config]:
    """Epoch -> the parts of the config that are others from there on. Only epochs that change
    something: what is set to what it was is no change."""
    first = now = whole_settings(training)
    found: dict[int, Config] = {}
    before: Config = {}
    for change in training.changes:
        now = now | _changed(change.set, now)
        settings = {part: value for part, value in now.items() if value != first[part]}
        if settings != before:
            found[change.at] = before = settings
    return found


def _changed(to: Changed, now: Config) -> Config:
    numbers = to.optimizer.model_dump(exclude_none=True)
    found: Config = {"optimizer": now["optimizer"] | numbers}
    if to.batch_size is not None:
        found["batch_size"] = to.batch_size
    for part in ("schedule", "augmentation"):
        if (value := getattr(to, part)) is not None:
            found[part] = value.keyed()
    return found


def whole_settings(training: Training) -> Config:
    """The parts of a config that may be others from an epoch on."""
    return {
        "optimizer": training.optimizer.keyed(),
        "schedule": training.schedule.keyed(),
        "batch_size": training.batch_size,
        "augmentation": training.augmentation.keyed(),
    }


def _rate_restarts(run: RunSpec) -> set[int]:
    training = run.training
    schedules = [training.schedule, *(c.set.schedule for c in training.changes if c.set.schedule)]
    if all(schedule.name == "constant" for schedule in schedules):  # nothing can start again
        return set()
    asked = {change.at for change in training.changes if change.set.learning_rate_restart}
    return asked | _restarts(run, training.learning_rate_restart)


def _restarts(run: RunSpec, when: str) -> set[int]:
    if when == "never":
        return set()
    return {e for e in run.removals if 0 < e < run.total_epochs}


def changes(run: RunSpec) -> list[dict[str, Any]]:
    """What of `training.changes` does something, as it is compared and shown: `settings` are all
    that differ from the config from epoch `at` on, as whole parts of it."""
    settings, rates = changed_settings(run.training), _rate_restarts(run)
    return [
        {"at": change.at}
        | ({"settings": settings[change.at]} if change.at in settings else {})
        | {name: True for name, acts in restarts.items() if acts}
        for change in run.training.changes
        for restarts in (
            {
                "learning_rate_restart": change.set.learning_rate_restart and change.at in rates,
                "optimizer_restart": change.set.optimizer_restart,
            },
        )
        if change.at in settings or any(restarts.values())
    ]


def under(config: Config, stretch: Stretch) -> Config:
    """The config with what is other in a stretch."""
    return config | stretch.settings


def learning_rate(config: Config, epochs_since_restart: int) -> float:
    """The learning rate of an epoch, from the config's optimiser and schedule."""
    start = float(config["optimizer"]["learning_rate"])
    schedule = config["schedule"]
    if schedule["name"] == "exponential":
        return float(start * schedule["gamma"] ** epochs_since_restart)
    return start


def config(run: RunSpec, facts: Facts, seed: int) -> Config:
    """All that shapes training but the timeline; what key(0) hashes. Every default is written."""
    training = run.training
    return {
        "training_version": TRAINING_VERSION,
        "dataset": {
            "name": facts.name,
            "digest": facts.digest,
            "train_samples": run.dataset.train_samples or facts.train,
            "test_samples": run.dataset.test_samples or facts.test,
            "shape": list(facts.shape),
            "classes": facts.classes,
            "mean": list(facts.mean),
            "std": list(facts.std),
        },
        "model": run.model.keyed(),
        **whole_settings(training),
        "precision": training.precision,
        "seed": seed,
    }


def check_version(config: Config) -> None:
    """OtherVersion where this program would train to other weights than the config's keys name."""
    if (found := config["training_version"]) != TRAINING_VERSION:
        raise OtherVersion(
            f"planned for training version {found}, and this worker trains version"
            f" {TRAINING_VERSION}: left to a worker of that version"
        )


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON (RFC 8785: 1 and 1.0 are one value), in hexadecimal."""
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def keys(config: Config, stretches: list[Stretch]) -> list[str]:
    """Names of the states after 0, 1, 2, ... epochs.

    key(0) = SHA-256(config); key(e + 1) = SHA-256(key(e), what epoch e shows, any intervention
    at its start). So two runs share exactly the epochs whose keys agree, wherever they are cut.
    """
    chain = [digest(config)]
    for step in _steps(stretches):
        chain.append(hashlib.sha256(chain[-1].encode() + b"\n" + step).hexdigest())
    return chain


def _steps(stretches: list[Stretch]) -> Iterator[bytes]:
    for stretch in stretches:
        shown = rfc8785.dumps({"stimulus": stretch.stimulus})
        for epoch in range(stretch.start, stretch.end):
            restarts = _interventions(stretch, epoch)
            yield rfc8785.dumps({"stimulus": stretch.stimulus, **restarts}) if restarts else shown


def _interventions(stretch: Stretch, epoch: int) -> dict[str, Any]:
    """What happens at the start of an epoch, beside what it shows."""
    change = {"change": stretch.settings} if 0 < epoch == stretch.changed else {}
    if stretch.pruning and epoch == stretch.pruning["at"]:
        change["prune"] = {name: value for name, value in stretch.pruning.items() if name != "at"}
    at = {
        "learning_rate_restart": stretch.restart,
        "optimizer_restart": stretch.optimizer_restart,
    }
    return change | {name: True for name, when in at.items() if 0 < epoch == when}


def images_of_share(fraction: float, count: int) -> int:
    """How many of `count` images a share of them is."""
    return round(fraction * count)


def check_against(run: RunSpec, facts: Facts) -> None:
    """Refuse what the data set cannot give: too many images, a blur finer than the image, a
    deficit of colours or of labels where there is but one."""
    shift = run.training.augmentation.shift
    faults = [*_sample_faults(run, facts), *_shift_faults("/training/augmentation", shift, facts)]
    for i, change in enumerate(run.training.changes):
        if change.set.augmentation is not None:
            place = f"/training/changes/{i}/set/augmentation"
            faults += _shift_faults(place, change.set.augmentation.shift, facts)
    for i, window in enumerate(run.windows):
        place = "/deficit" if run.deficit is not None else f"/deficits/{i}"
        faults += _window_faults(window, place, run, facts)
    if faults:
        raise Invalid(faults[0].message, faults)


def _sample_faults(run: RunSpec, facts: Facts) -> Iterator[Fault]:
    for field, there in (("train_samples", facts.train), ("test_samples", facts.test)):
        asked = getattr(run.dataset, field)
        if asked is not None and asked > there:
            message = f"{field} is {asked}, but '{facts.name}' has {there} such images"
            yield Fault(f"/dataset/{field}", "too-many", message)
    if (run.dataset.train_samples or facts.train) < 2:
        message = "one training image is too few: BatchNorm needs two in a batch"
        yield Fault("/dataset/train_samples", "too-few", message)


def _shift_faults(place: str, shift: int, facts: Facts) -> Iterator[Fault]:
    side = min(facts.shape[:2])
    if shift >= side:
        message = f"a shift of {shift} moves images of {side} out of view"
        yield Fault(f"{place}/shift", "too-far", message)


def _window_faults(window: AnyWindow, place: str, run: RunSpec, facts: Facts) -> Iterator[Fault]:
    side, channels = min(facts.shape[:2]), facts.shape[2]
    count = run.dataset.train_samples or facts.train
    match window:
        case Blur(resolution=pixels) if pixels >= side:
            message = f"a blur to {pixels} pixels does nothing to images of {side}"
            yield Fault(f"{place}/resolution", "too-fine", message)
        case Occlusion(size=pixels) if pixels >= side:
            message = f"a square of {pixels} pixels covers images of {side}: give a smaller size"
            yield Fault(f"{place}/size", "too-large", message)
        case Greyscale() if channels != 3:
            message = f"greyscale is of images with 3 channels; '{facts.name}' has {channels}"
            yield Fault(f"{place}/name", "no-colour", f"{message}: leave it out")
        case AugmentationWindow(shift=shift):
            yield from _shift_faults(place, shift, facts)
        case PartialData(fraction=share) if (kept := images_of_share(share, count)) < 2:
            message = f"{share} of {count} training images is {kept}; BatchNorm needs 2 in a batch"
            yield Fault(f"{place}/fraction", "too-few", f"{message}: give a larger fraction")
        case LabelNoise(fraction=share) if images_of_share(share, count) == 0:
            message = f"{share} of {count} training images is none: give a larger fraction"
            yield Fault(f"{place}/fraction", "too-few", message)
        case LabelNoise() | LabelPermutation() if facts.classes < 2:
            message = f"'{facts.name}' has {facts.classes} class: no label can be another"
            yield Fault(f"{place}/name", "one-class", f"{message}; leave {window.name} out")
