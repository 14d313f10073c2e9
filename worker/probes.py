"""Measurements of a trained state that do not change it: one function for each kind of probe.

A measurement is named by its state's key and its probe's digest, so it depends on nothing else:
its images are the same ones for every seed, its draws are keyed by the seed and the kind of probe,
and by the epoch only where the probe says that they are redrawn.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from shared.arrays import hash_order
from worker import curvature, fisher, rng
from worker.shown import Shown
from worker.train import Tick, Trainer

Measure = Callable[[nn.Module, Shown, dict[str, Any], rng.Stream, Tick], dict[str, Any]]
"""(model, images, probe, draws, tick) -> values. Leaves the model as it was: weights, buffers,
gradients, modes; and torch's global generators. Calls `tick` at every step."""

PROBES: dict[str, Measure] = {
    "fisher": fisher.measure,
    "gradient": curvature.gradient.measure,
    "hessian_eigenvalue": curvature.hessian.eigenvalue,
    "hessian_trace": curvature.hessian.trace,
    "second_order": curvature.second_order.measure,
}


def measure(trainer: Trainer, probe: dict[str, Any], epoch: int, tick: Tick) -> dict[str, Any]:
    """The values of `probe` for the trainer's state after `epoch` epochs.

    The trainer is left as it was. Values may be nan where training diverged.
    """
    redrawn = probe["probe_set"] == "redrawn"
    draws = rng.Stream(trainer.seed, f"probe:{probe['kind']}", epoch if redrawn else 0)
    values = PROBES[probe["kind"]](trainer.model, _shown(trainer, probe, epoch), probe, draws, tick)
    return values | {"batchnorm_statistics": "running"}


def _shown(trainer: Trainer, probe: dict[str, Any], epoch: int) -> Shown:
    """The probe's images (C, H, W) under its stimulus, not augmented.

    Noise that is redrawn in every epoch is shown as in the last epoch that was trained.
    """
    indices, epoch_shown = _indices(trainer, probe, epoch), max(epoch - 1, 0)

    def make(rows: slice) -> tuple[Tensor, Tensor]:
        return trainer.show(probe["split"], indices[rows], probe["stimulus"], epoch_shown)

    return Shown(len(indices), make)


def _indices(trainer: Trainer, probe: dict[str, Any], epoch: int) -> Tensor:
    """(n,) int64: the same images at every epoch, or others at each. The first of them are a fair
    sample, since a measurement may stop before it has seen all."""
    split, total = probe["split"], len(trainer.labels[probe["split"]])
    asked = min(probe.get("samples") or probe["max_samples"], total)
    if probe["probe_set"] == "redrawn":
        order = torch.randperm(total, generator=rng.generator(0, f"probe_set:{split}", epoch))
        return order[:asked].to(trainer.device)
    return torch.tensor(hash_order(split, total)[:asked]).to(trainer.device)
