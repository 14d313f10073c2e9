"""Stimulus deficits: what is done to a batch before the network sees it.

A deficit acts on normalised images and comes before augmentation, as in the paper's reproductions
(the cataract is in the eye; the world moves behind it). Deficits compose in the order of the list.
Accuracy is always measured on clean images. To add one: a class in `shared/spec.py` and a
function in `DEFICITS` here. A field that is in its class's ADDED is missing from an entry at its
default: read it with `deficit.get`.

What is drawn for an image is addressed by its place in the data set, and what is computed of an
image uses that image alone: it is shown the same whatever else is in its batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.schedule import images_of_share
from shared.spec import NOT_OF_IMAGES
from worker import rng

Entry = dict[str, Any]
Stimulus = list[Entry]
Batch = tuple[Tensor, Tensor]
"""images (B, C, H, W) normalised float32, labels (B,) int64"""


@dataclass(frozen=True)
class Context:
    """What a deficit may know besides the batch itself. Tensors are on the images' device."""

    seed: int
    epoch: int
    classes: int
    indices: Tensor
    """(B,) int64: each image's place in its split."""
    labels: Tensor
    """(N,) int64: the labels of the whole split."""
    mean: Tensor
    """(C, 1, 1) float32: a normalised image is (pixel / 255 - mean) / std."""
    std: Tensor
    """(C, 1, 1) float32"""
    split: str = "train"


def show(stimulus: Stimulus, images: Tensor, labels: Tensor, context: Context) -> Batch:
    """The batch under a stimulus; its entries that change no images are passed over."""
    for deficit in stimulus:
        if deficit["name"] not in NOT_OF_IMAGES:
            images, labels = DEFICITS[deficit["name"]](images, labels, deficit, context)
    return images, labels


def augmentable(stimulus: Stimulus) -> bool:
    """Noise is not augmented unless it says so: nothing is seen that could move."""
    return all(d["name"] != "noise" or d.get("augmented", False) for d in stimulus)


# --- images ----------------------------------------------------------------------------------


def blur(images: Tensor, labels: Tensor, deficit: Entry, context: Context) -> Batch:
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


def vertical_flip(images: Tensor, labels: Tensor, deficit: Entry, context: Context) -> Batch:
    """Every image upside down."""
    return images.flip(2), labels


def noise(images: Tensor, labels: Tensor, deficit: Entry, context: Context) -> Batch:
    """Sensory deprivation: each image replaced by white noise, N(0, 1) in normalised units, or
    even between black and white and then normalised.

    An image's noise depends on the seed, the epoch (not with redraw "never") and the image's
    place in the data set, never on the order of batches.
    """
    epoch = context.epoch if deficit["redraw"] == "every_epoch" else 0
    draws = rng.Stream(context.seed, f"noise:{context.split}:{deficit['redraw']}", epoch)
    size = images[0].numel()
    if deficit.get("distribution", "normal") == "normal":
        return draws.normals(context.indices, size).view_as(images), labels
    pixels = draws.uniforms(context.indices, size).float().view_as(images)
    return (pixels - context.mean) / context.std, labels


def contrast(images: Tensor, labels: Tensor, deficit: Entry, context: Context) -> Batch:
    """mean + factor * (image - mean), with the mean of each image and channel."""
    mean = images.mean((2, 3), keepdim=True, dtype=torch.float64).float()
    return mean + deficit["factor"] * (images - mean), labels


def greyscale(images: Tensor, labels: Tensor, deficit: Entry, context: Context) -> Batch:
    """Every pixel's luma, 0.299 R + 0.587 G + 0.114 B of pixel values (ITU-R BT.601), in all three
    channels, normalised as colours are."""
    red, green, blue = (images * context.std + context.mean).unbind(1)
    luma = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    return (luma - context.mean) / context.std, labels


def occlusion(images: Tensor, labels: Tensor, deficit: Entry, context: Context) -> Batch:
    """A square of `size` pixels a side covered with the data set's mean colour, which is zero.

    position "random": its corner is even over all places wholly inside the image, drawn by seed,
    epoch and image.
    """
    size, room = deficit["size"], [side - deficit["size"] for side in images.shape[2:]]
    corners = torch.tensor(room, device=images.device).expand(len(images), 2) // 2
    if deficit["position"] == "random":
        draws = rng.Stream(context.seed, f"occlusion:{context.split}", context.epoch)
        places = torch.tensor(room, device=images.device) + 1
        corners = (draws.uniforms(context.indices, 2) * places).long()
    rows, columns = (
        _covered(side, corners[:, axis], size) for axis, side in enumerate(images.shape[2:])
    )
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0.0), labels


def _covered(side: int, first: Tensor, size: int) -> Tensor:
    """(B, side) bool: which of `side` lines lie in [first, first + size)."""
    offset = torch.arange(side, device=first.device) - first[:, None]
    return (offset >= 0) & (offset < size)


def oriented_filter(images: Tensor, labels: Tensor, deficit: Entry, context: Context) -> Batch:
    """Reared among stripes: of the Fourier plane a wedge around one orientation passes.

    "vertical" passes stripes that stand upright, whose frequency vectors lie near the horizontal
    axis: |angle to that axis| <= bandwidth / 2. The mean of each channel always passes. Linear; its
    cost is two transforms an image, in double precision, so that the last bits, which the library
    may choose by how many images it transforms at once, are rounded away.
    """
    height, width = images.shape[2:]
    mask = wedge(height, width, deficit["passes"], deficit["bandwidth"], images.device)
    spectrum = torch.fft.rfft2(images.double()) * mask
    return torch.fft.irfft2(spectrum, s=(height, width)).float(), labels


@lru_cache(maxsize=16)
def wedge(height: int, width: int, passes: str, bandwidth: float, device: torch.device) -> Tensor:
    """(H, W // 2 + 1) bool: which frequencies of `rfft2` pass.

    Angles are of frequencies in cycles a pixel, folded into one quadrant: the mask is symmetric
    under a change of either sign, so a filtered image is real, also where a side is even.
    """
    down = torch.fft.fftfreq(height, dtype=torch.float64).abs()[:, None]
    across = torch.fft.rfftfreq(width, dtype=torch.float64)
    angle = torch.rad2deg(torch.atan2(down, across))
    away = angle if passes == "vertical" else 90 - angle
    passing = away <= bandwidth / 2 + 1e-9
    passing[0, 0] = True
    return passing.to(device)


# --- labels ----------------------------------------------------------------------------------


def label_permutation(images: Tensor, labels: Tensor, deficit: Entry, context: Context) -> Batch:
    """One permutation for each seed, the same in every epoch: of classes, class k is called p(k);
    of images, image i has the label that the data set gives to image p(i), whatever came before in
    the list."""
    device = labels.device
    if deficit.get("of", "classes") == "classes":
        return images, permutation(context.seed, context.classes, device=device)[labels]
    purpose, count = f"label_permutation:images:{context.split}", len(context.labels)
    dealt = permutation(context.seed, count, purpose, device)
    return images, context.labels[dealt[context.indices]]


def label_noise(images: Tensor, labels: Tensor, deficit: Entry, context: Context) -> Batch:
    """round(fraction * N) of the split's N images have a wrong label, even over the wrong ones.

    Which images, and which labels, is drawn once for each seed; a smaller share's images are among
    those of a larger one.
    """
    purpose, count = f"label_noise:{context.split}", len(context.labels)
    place = permutation(context.seed, count, purpose, labels.device)[context.indices]
    draw = rng.Stream(context.seed, purpose).uniforms(context.indices, 1)[:, 0]
    away = 1 + (draw * (context.classes - 1)).long()
    wrong = (labels + away) % context.classes
    return images, torch.where(place < images_of_share(deficit["fraction"], count), wrong, labels)


@lru_cache(maxsize=16)
def permutation(
    seed: int, count: int, purpose: str = "label_permutation", device: torch.device | str = "cpu"
) -> Tensor:
    """(count,) int64: a permutation drawn evenly from all but the identity; of one alone, that."""
    draw, identity = rng.generator(seed, purpose), torch.arange(count)
    drawn = identity
    while count > 1 and torch.equal(drawn, identity):
        drawn = torch.randperm(count, generator=draw)
    return drawn.to(device)


Deficit = Callable[[Tensor, Tensor, Entry, Context], Batch]

DEFICITS: dict[str, Deficit] = {
    "blur": blur,
    "vertical_flip": vertical_flip,
    "label_permutation": label_permutation,
    "noise": noise,
    "label_noise": label_noise,
    "contrast": contrast,
    "greyscale": greyscale,
    "occlusion": occlusion,
    "oriented_filter": oriented_filter,
}
