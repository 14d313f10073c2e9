"""Measurements of a trained state that do not change it: one function for each kind of probe.

A measurement is named by its state's key and its probe's digest, so it depends on nothing else:
its images are the same ones through a run and for every seed, and its draws are keyed by the
seed, the estimator and the epoch.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shared.arrays import subset_indices
from worker import rng
from worker.fisher import ESTIMATORS
from worker.train import Tick, Trainer


def measure(trainer: Trainer, probe: dict[str, Any], epoch: int, tick: Tick) -> dict[str, Any]:
    """The values of `probe` for the trainer's state after `epoch` epochs.

    The trainer is left as it was: weights, buffers, gradients, modes, torch's global generator.
    `tick` is called at every step. Values may be nan where training diverged.
    """
    return PROBES[probe["kind"]](trainer, probe, epoch, tick)


def fisher(trainer: Trainer, probe: dict[str, Any], epoch: int, tick: Tick) -> dict[str, Any]:
    """Trace of the Fisher information, total and per layer, as `worker/fisher` defines it.

    `samples` is the number of images used: fewer than `samples_asked` if the split has fewer.
    """
    estimator = probe["estimator"]
    draws = rng.generator(trainer.seed, f"fisher:{estimator}", epoch)
    images = _images(trainer, probe, epoch)
    values = ESTIMATORS[estimator](trainer.model, images, draws, tick)
    return values | {"samples_asked": probe["samples"], "batchnorm_statistics": "running"}


def _images(trainer: Trainer, probe: dict[str, Any], epoch: int) -> Tensor:
    """The probe's images (n, C, H, W) under its stimulus, not augmented.

    Noise that is redrawn in every epoch is shown as in the last epoch that was trained.
    """
    split, total = probe["split"], len(trainer.labels[probe["split"]])
    rows = subset_indices(split, total, min(probe["samples"], total))
    indices = torch.from_numpy(rows).to(trainer.device)
    images, _ = trainer.show(split, indices, probe["stimulus"], max(epoch - 1, 0))
    return images


PROBES: dict[str, Callable[[Trainer, dict[str, Any], int, Tick], dict[str, Any]]] = {
    "fisher": fisher
}
