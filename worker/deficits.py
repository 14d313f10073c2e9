"""Stimulus deficits: what is done to a batch before the network sees it.

A deficit acts on normalised images and comes before augmentation, as in the paper's reproductions
(the cataract is in the eye; the world moves behind it). Deficits compose in the order of the list.
Accuracy is always measured on clean images. To add one: a class in `shared/spec.py` and a
function in `DEFICITS` here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from worker import rng

Stimulus = list[dict[str, Any]]


@dataclass(frozen=True)
class Context:
    """What a deficit may know besides the batch itself."""

    seed: int
    epoch: int
    classes: int
    indices: Tensor
    """(B,) int64 on the images' device: each image's place in its split."""
    split: str = "train"


def show(
    stimulus: Stimulus, images: Tensor, labels: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """The batch under a stimulus. images (B, C, H, W) normalised float32, labels (B,) int64."""
    for deficit in stimulus:
        images, labels = DEFICITS[deficit["name"]](images, labels, deficit, context)
    return images, labels


def augmentable(stimulus: Stimulus) -> bool:
    """Noise is not augmented: nothing is seen that could move."""
    return all(deficit["name"] != "noise" for deficit in stimulus)


def blur(
    images: Tensor, labels: Tensor, deficit: dict[str, Any], context: Context
) -> tuple[Tensor, Tensor]:
    """Cataract: antialiased bilinear down to `resolution` pixels a side, bilinear back up.

    Linear with weights that sum to one, so that blurring before or after normalisation is the
    same but for rounding. A side no longer than `resolution` stays as it is. The antialias
    matters: without it a bilinear reduction reads four pixels and aliases, which Pillow, behind
    the paper's pipeline, does not.
    """
    height, width = images.shape[2:]
    small = (min(deficit["resolution"], height), min(deficit["resolution"], width))
    down = F.interpolate(images, size=small, mode="bilinear", antialias=True)
    return F.interpolate(down, size=(height, width), mode="bilinear"), labels


def vertical_flip(
    images: Tensor, labels: Tensor, deficit: dict[str, Any], context: Context
) -> tuple[Tensor, Tensor]:
    """Every image upside down."""
    return images.flip(2), labels


def label_permutation(
    images: Tensor, labels: Tensor, deficit: dict[str, Any], context: Context
) -> tuple[Tensor, Tensor]:
    """Class k is called p(k), p one permutation for each seed, the same in every epoch."""
    return images, permutation(context.seed, context.classes).to(labels.device)[labels]


@cache
def permutation(seed: int, classes: int) -> Tensor:
    """(K,) int64: a permutation drawn evenly from all but the identity."""
    if classes < 2:
        raise ValueError("the labels of a single class cannot be permuted")
    draw, identity = rng.generator(seed, "label_permutation"), torch.arange(classes)
    drawn = identity
    while torch.equal(drawn, identity):
        drawn = torch.randperm(classes, generator=draw)
    return drawn


def noise(
    images: Tensor, labels: Tensor, deficit: dict[str, Any], context: Context
) -> tuple[Tensor, Tensor]:
    """Sensory deprivation: each image replaced by N(0, 1) noise in normalised units.

    An image's noise depends on the seed, the epoch (not with redraw "never") and the image's
    place in the data set, never on the order of batches.
    """
    epoch = context.epoch if deficit["redraw"] == "every_epoch" else 0
    purpose = f"noise:{context.split}:{deficit['redraw']}"
    size = images[0].numel()
    return rng.normals(context.seed, purpose, epoch, context.indices, size).view_as(images), labels


Deficit = Callable[[Tensor, Tensor, dict[str, Any], Context], tuple[Tensor, Tensor]]

DEFICITS: dict[str, Deficit] = {
    "blur": blur,
    "vertical_flip": vertical_flip,
    "label_permutation": label_permutation,
    "noise": noise,
}
