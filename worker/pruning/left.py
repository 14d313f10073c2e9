"""What is left of a network that is pruned on a copy: accuracy before any training, and of what."""

import copy
from typing import Any

import torch

from worker import accuracy
from worker.pruning import masks
from worker.pruning.layers import Layer, prunable
from worker.pruning.step import choose, prunable_by
from worker.shown import Shown
from worker.train import Tick, Trainer

Values = dict[str, Any]


def measure(
    trainer: Trainer, step: dict[str, Any], shown: Shown, training: Shown, epoch: int, tick: Tick
) -> Values:
    """The state after `epoch` epochs with a step of pruning done to it: share of the images shown
    that is classified rightly and mean cross-entropy in nats, with BatchNorm's running statistics
    and with statistics of `training` in their place (`worker/accuracy.py`); weights and channels
    that are left, in all and by layer.

    A weight is left where it is not 0, a channel where one of its weights is; the last layer's
    outputs are no channels that could go, and are not among the channels in all. A weight that
    reads a channel which is gone has no effect, and is counted none the less.
    """
    found = choose(trainer, step, epoch, tick)
    network = copy.deepcopy(trainer.model).eval()
    layers = prunable_by(network, trainer.shape, step["granularity"])
    masks.clear(masks.parameters(layers, step["granularity"], found))
    with torch.no_grad():
        running = accuracy.evaluate(network, shown, tick)
    batch_size = trainer.config["batch_size"]
    again = accuracy.measure(network, shown, training, batch_size, tick)
    return {
        "running": {name: running[name] for name in ("accuracy", "loss")},
        "reestimated": {name: again[name] for name in ("accuracy", "loss", "statistics_samples")},
        "samples": shown.count,
        **_left(prunable(network, trainer.shape)),
    }


def _left(layers: list[Layer]) -> Values:
    rows = [_row(layer) for layer in layers]
    inner = rows[:-1]
    return {
        "layers": rows,
        "weights": sum(row["weights"] for row in rows),
        "weights_left": sum(row["weights_left"] for row in rows),
        "channels": sum(row["channels"] for row in inner),
        "channels_left": sum(row["channels_left"] for row in inner),
    }


def _row(layer: Layer) -> Values:
    there = (layer.module.weight != 0).flatten(1)
    return {
        "name": layer.name,
        "weights": there.numel(),
        "weights_left": int(there.sum()),
        "channels": len(there),
        "channels_left": int(there.any(1).sum()),
    }
