"""Measurements of a trained state that do not change it: one function for each kind of probe.

A measurement is named by its state's key and its probe's digest, so it depends on nothing else:
its images are the same ones for every seed, its draws are keyed by the seed and the kind of probe,
and by the epoch only where the probe says that they are redrawn.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from shared.probe import LINEAR_PATH
from worker import accuracy, curvature, filters, fisher, information, linear_path, rng
from worker.pruning import left, saliency
from worker.pruning.step import scored_on
from worker.shown import Shown, first_of, shown_by
from worker.train import Tick, Trainer

Probe = dict[str, Any]
Values = dict[str, Any]
Measure = Callable[[Trainer, Probe, int, Tick], Values]
"""(trainer, probe, epochs trained, tick) -> values."""
OfImages = Callable[[nn.Module, Shown, Probe, rng.Stream, Tick], Values]
"""(model, images, probe, draws, tick) -> values. Leaves the model as it was: weights, buffers,
gradients, modes; and torch's global generators. Calls `tick` at every step."""


def measure(trainer: Trainer, probe: Probe, epoch: int, tick: Tick) -> Values:
    """The values of `probe` for the trainer's state after `epoch` epochs.

    The trainer is left as it was. Values may be nan where training diverged.
    """
    return PROBES[probe["kind"]](trainer, probe, epoch, tick)


def measure_between(
    there: nn.Module, trainer: Trainer, probe: Probe, epoch: int, tick: Tick
) -> Values:
    """The values of a probe that looks from another run's network to the trainer's own."""
    assert probe["kind"] == LINEAR_PATH
    shown = {
        split: shown_by(
            trainer, split, first_of(trainer, split, probe[f"{split}_samples"]), [], epoch
        )
        for split in ("train", "test")
    }
    batch_size = trainer.config["batch_size"]
    return linear_path.measure(there, trainer.model, shown, probe["points"], batch_size, tick)


def _of_images(measure: OfImages) -> Measure:
    """Looks at labelled images, with BatchNorm's running statistics."""

    def values(trainer: Trainer, probe: Probe, epoch: int, tick: Tick) -> Values:
        redrawn = probe["probe_set"] == "redrawn"
        draws = rng.Stream(trainer.seed, f"probe:{probe['kind']}", epoch if redrawn else 0)
        found = measure(trainer.model, _asked(trainer, probe, epoch), probe, draws, tick)
        return found | {"batchnorm_statistics": "running"}

    return values


def _accuracy(trainer: Trainer, probe: Probe, epoch: int, tick: Tick) -> Values:
    """Statistics from the first training images in hash order, as they were last shown."""
    rows = first_of(trainer, "train", probe["statistics_samples"])
    training = shown_by(trainer, "train", rows, probe["statistics_stimulus"], epoch)
    asked, batch_size = _asked(trainer, probe, epoch), trainer.config["batch_size"]
    found = accuracy.measure(trainer.model, asked, training, batch_size, tick)
    return found | {"batchnorm_statistics": "reestimated"}


def _filters(trainer: Trainer, probe: Probe, epoch: int, tick: Tick) -> Values:
    return filters.measure(trainer.model, trainer.shape, tick)


def _saliency(trainer: Trainer, probe: Probe, epoch: int, tick: Tick) -> Values:
    asked = _asked(trainer, probe, epoch)
    of = (probe["granularity"], probe["labels"])
    return saliency.measure(scored_on(trainer, asked, *of, epoch, tick))


def _pruned(trainer: Trainer, probe: Probe, epoch: int, tick: Tick) -> Values:
    """Statistics from training images as they were last shown."""
    rows = first_of(trainer, "train", probe["statistics_samples"])
    training = shown_by(trainer, "train", rows, probe["statistics_stimulus"], epoch)
    asked = _asked(trainer, probe, epoch)
    return left.measure(trainer, probe["prune"], asked, training, epoch, tick)


PROBES: dict[str, Measure] = {
    "fisher": _of_images(fisher.measure),
    "gradient": _of_images(curvature.gradient.measure),
    "hessian_eigenvalue": _of_images(curvature.hessian.eigenvalue),
    "hessian_trace": _of_images(curvature.hessian.trace),
    "second_order": _of_images(curvature.second_order.measure),
    "layer_gradients": _of_images(curvature.layer_gradients.measure),
    "filters": _filters,
    "information_plane": _of_images(information.plane.measure),
    "accuracy": _accuracy,
    "saliency": _saliency,
    "pruned": _pruned,
}


def _asked(trainer: Trainer, probe: Probe, epoch: int) -> Shown:
    """The probe's images under its stimulus."""
    indices = _indices(trainer, probe, epoch)
    return shown_by(trainer, probe["split"], indices, probe["stimulus"], epoch)


def _indices(trainer: Trainer, probe: Probe, epoch: int) -> Tensor:
    """(n,) int64: the same images at every epoch, or others at each. The first of them are a fair
    sample, since a measurement may stop before it has seen all."""
    split, total = probe["split"], len(trainer.labels[probe["split"]])
    asked = min(probe.get("samples") or probe["max_samples"], total)
    if probe["probe_set"] == "redrawn":
        order = torch.randperm(total, generator=rng.generator(0, f"probe_set:{split}", epoch))
        return order[:asked].to(trainer.device)
    return first_of(trainer, split, asked)
