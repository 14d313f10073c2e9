"""How many layers a network has where it is cut: the top-level children that run one after another.

Known without building it, so that a spec is checked where there is no torch.
"""

from collections.abc import Callable
from typing import Any

COUNTS: dict[str, Callable[[dict[str, Any]], int]] = {
    "all_cnn": lambda model: model.get("blocks", 9) + 1,  # and the mean over pixels
    "resnet18": lambda model: 7,  # stem, four stages, mean over pixels, linear
    "mlp": lambda model: 7,  # the image, flat; five hidden layers; linear
    "depth_cnn": lambda model: 2 * model["n"] + 5,
    "deep_linear": lambda model: model["depth"] + 1,  # the image, flat, and each matrix
}


def count(model: dict[str, Any]) -> int:
    """Of a model as a key holds it."""
    return COUNTS[model["name"]](model)
