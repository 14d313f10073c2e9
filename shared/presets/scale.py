"""The three sizes at which every preset can be had."""

from typing import Literal, get_args

Scale = Literal["paper", "half", "mini"]
SCALES: tuple[Scale, ...] = get_args(Scale)
ABOUT: dict[Scale, str] = {
    "paper": "the paper's data, network and epochs",
    "half": "the paper's data and network, half of every number of epochs, the decay of the"
    " learning rate squared so that it covers the same range",
    "mini": "generated gratings (16x16, 8 classes, 2,000 images), a network of a twelfth of the"
    " width, a fifth to a twentieth of the epochs, three seeds: minutes on a processor",
}
SEEDS: dict[Scale, list[int]] = {"paper": [0], "half": [0], "mini": [0, 1, 2]}


def shrunk(epochs: int, scale: Scale, mini: int) -> int:
    """A number of the paper's epochs at a scale; `mini` is what it is divided by there."""
    return round(epochs / {"paper": 1, "half": 2, "mini": mini}[scale])
