"""Accuracy with BatchNorm statistics estimated anew, on a copy of the network."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from shared.errors import Invalid
from worker.shown import Shown
from worker.train import EVALUATION_BATCH


def measure(
    model: nn.Module, shown: Shown, training: Shown, batch_size: int, tick: Callable[[], None]
) -> dict[str, Any]:
    """Share of `shown` that is classified rightly, and its mean cross-entropy in nats, with
    statistics of `training` in place of the running ones, which lag behind the weights.

    One pass over the training images in K batches of `batch_size`, in which BatchNorm normalises
    by the batch, as in training. With m_k the mean over images and positions that a channel of a
    layer's input has in batch k, and v_k its variance (n - 1 in the denominator), the layer then
    evaluates with

        m = 1/K sum_k m_k,    v = 1/K sum_k v_k

    torch's cumulative average (momentum None): a smaller last batch counts as much as another. A
    last batch of one image is left out, as in training. `statistics_samples` are the images that
    went in: 0 where there is no BatchNorm, whose ordinary accuracy this then is.

    Images (C, H, W) float32. Passes in the model's dtype, the loss from the logits on in float64.
    BatchNorm alone is in training mode, so that nothing is drawn. Source: the pass in training mode
    before each evaluation of the authors' later code (github.com/mjkleinman/CriticalPeriodMultiView
    of Kleinman, Achille & Soatto, CVPR 2023).
    """
    network = copy.deepcopy(model).eval()
    with torch.no_grad():
        used = reestimate(network, training, batch_size, tick)
        return evaluate(network, shown, tick) | {"statistics_samples": used}


def reestimate(
    network: nn.Module, training: Shown, batch_size: int, tick: Callable[[], None]
) -> int:
    """The number of images that the statistics now come from."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return 0
    if training.count < 2:
        raise Invalid("BatchNorm statistics of one training image: give two or more")
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    used = 0
    for chunk in training.chunks(batch_size):
        tick()
        if len(chunk.rows) > 1:
            network(chunk.images)
            used += len(chunk.rows)
    network.eval()
    return used


def evaluate(network: nn.Module, shown: Shown, tick: Callable[[], None]) -> dict[str, Any]:
    loss, correct = 0.0, 0
    for chunk in shown.chunks(EVALUATION_BATCH):
        tick()
        logits = network(chunk.images)
        loss += cross_entropy(logits.double(), chunk.labels, reduction="sum").item()
        correct += int((logits.argmax(1) == chunk.labels).sum())
    return {
        "accuracy": correct / shown.count,
        "loss": loss / shown.count,
        "samples": shown.count,
    }
