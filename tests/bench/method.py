"""What the bench asks of every estimator, ours and others'."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

Estimate = Callable[[Tensor, int], float]
"""(images (n, C, H, W), seed) -> mean over the images of the Fisher's trace."""

Make = Callable[[nn.Module, Tensor], Estimate]
"""(model in evaluation mode, some images) -> estimate. Leaves the model as it was."""


@dataclass(frozen=True)
class Method:
    name: str
    draws: str
    """What is drawn for an image, which decides the variance: "label", "nothing" or "signs"."""
    layers: bool
    """Whether it gives values by layer."""
    make: Make
    images: int = 32
    """In one repetition."""
