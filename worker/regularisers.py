"""Windows on how an epoch is trained: weight decay, augmentation, how much of the data (Golatkar et
al. 2019, Ash & Adams 2020). They change neither images nor labels; `deficits.py` has what does.

They come in an epoch's stimulus, as deficits do. To add one: a class in `shared/spec.py` with
`changes_images = False`, and a function in `REGULARISERS` here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from shared.schedule import images_of_share
from worker import rng

Entry = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How one epoch is trained."""

    seed: int
    weight_decay: float
    augmentation: dict[str, Any]
    images: Tensor
    """(n,) int64 on the CPU: places of the training images that an epoch goes over."""


def settings_of(stimulus: list[Entry], usual: Settings) -> Settings:
    """An epoch's settings: the usual ones, as its stimulus changes them."""
    for entry in stimulus:
        if entry["name"] in REGULARISERS:
            usual = REGULARISERS[entry["name"]](usual, entry)
    return usual


def weight_decay(settings: Settings, entry: Entry) -> Settings:
    """Another weight decay in place of the optimiser's."""
    return replace(settings, weight_decay=entry["value"])


def augmentation(settings: Settings, entry: Entry) -> Settings:
    """Another augmentation in place of the training's; shift 0 without flips switches it off."""
    changed = {name: entry[name] for name in ("shift", "horizontal_flip")}
    return replace(settings, augmentation=changed)


def partial_data(settings: Settings, entry: Entry) -> Settings:
    """round(fraction * n) of the images, drawn once for each seed: an epoch is one shuffled pass
    over them, so it has fewer steps. A smaller share's images are among those of a larger one."""
    count = len(settings.images)
    order = torch.randperm(count, generator=rng.generator(settings.seed, "partial_data"))
    kept = order[: images_of_share(entry["fraction"], count)]
    return replace(settings, images=settings.images[kept])


Regulariser = Callable[[Settings, Entry], Settings]

REGULARISERS: dict[str, Regulariser] = {
    "weight_decay": weight_decay,
    "augmentation": augmentation,
    "partial_data": partial_data,
}
