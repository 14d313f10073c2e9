"""Deep linear networks (Saxe et al. 2013): what depth alone does to learning."""

from itertools import pairwise
from typing import Any

import torch
from torch import nn

from shared.cost import linear_sizes


def deep_linear(model: dict[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """`depth` matrices one after another, 100 hidden units at width 1, and nothing else: no bias,
    no normalisation. Depth 1 is softmax regression.

    logits = W_depth ... W_1 x, x the flattened image (H * W * C,). Initial weights are torch's
    default, uniform within 1 / sqrt(inputs), times `initial_scale`: the smaller, the more the
    singular values are learnt one after another (Kleinman et al. 2024).
    """
    sizes = linear_sizes(model, shape, classes)
    layers = [nn.Linear(before, after, bias=False) for before, after in pairwise(sizes)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(model["initial_scale"])
    return nn.Sequential(nn.Flatten(), *layers)
