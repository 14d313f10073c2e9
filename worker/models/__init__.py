"""The networks. To add one: a class in `shared/spec.py`, its cost in `shared/cost.py`, a file
here, and a line in `MODELS`.

Networks are made of torch's own layers (Conv2d, BatchNorm, ReLU, Linear), none in place, so that
measurements can hook them. Initial weights are torch's defaults for each layer. A field that is in
its class's ADDED is missing from `model` at its default: read it with `model.get`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from worker import rng
from worker.models.all_cnn import all_cnn
from worker.models.deep_linear import deep_linear
from worker.models.depth_cnn import depth_cnn
from worker.models.mlp import mlp
from worker.models.resnet18 import resnet18

Shape = tuple[int, int, int]

MODELS: dict[str, Callable[[dict[str, Any], Shape, int], nn.Module]] = {
    "all_cnn": all_cnn,
    "resnet18": resnet18,
    "mlp": mlp,
    "depth_cnn": depth_cnn,
    "deep_linear": deep_linear,
}


def build(model: dict[str, Any], shape: Shape, classes: int, seed: int) -> nn.Module:
    """A network at its initial state, on the CPU, which depends on the arguments alone.

    shape is (H, W, C). torch's global generator is found afterwards as it was before.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which also seeds every CUDA device and is not undone there.
        torch.default_generator.manual_seed(rng.key(seed, "initialisation"))
        return MODELS[model["name"]](model, shape, classes)
