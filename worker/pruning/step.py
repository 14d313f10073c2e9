"""A step of pruning in a run: what goes at the start of an epoch, and stays away."""

from typing import Any

from torch import nn

from worker.pruning import masks
from worker.pruning.layers import Layer, prunable
from worker.pruning.masks import Masks
from worker.pruning.scores import CRITERIA, Scored, with_statistics
from worker.shown import Shown, first_of, shown_by
from worker.train import Tick, Trainer

Step = dict[str, Any]


def begin(trainer: Trainer, pruning: Step, epoch: int, tick: Tick) -> None:
    """At the start of an epoch: prune, if it is the one, and keep away what is 0 by then. The mask
    of every epoch is told by the weights alone, so that it does not depend on where a run is cut
    or resumed."""
    trainer.hold = None
    if not pruning:
        return
    layers = prunable_by(trainer.model, trainer.shape, pruning["granularity"])
    if epoch == pruning["at"]:
        found = choose(trainer, pruning, epoch, tick)
    else:
        found = masks.zeros(layers, pruning["granularity"])
    gone = masks.parameters(layers, pruning["granularity"], found)
    masks.clear(gone, trainer.optimizer)
    trainer.hold = masks.still(gone)


def choose(trainer: Trainer, step: Step, epoch: int, tick: Tick) -> Masks:
    """What a step takes from the state after `epoch` epochs, in all: for each layer that can be
    pruned so. The trainer is left as it was."""
    scored = step.get("scored_at", epoch)
    scorer = trainer if scored == epoch else trainer.earlier(trainer, scored)
    scores = CRITERIA[step["criterion"]](_asked(scorer, step, scored, tick))
    layers = prunable_by(trainer.model, trainer.shape, step["granularity"])
    gone = masks.zeros(layers, step["granularity"])
    return masks.chosen(scores, step["sparsity"], step["ranking"], gone)


def _asked(trainer: Trainer, step: Step, epoch: int, tick: Tick) -> Scored:
    count = min(step.get("samples", 0), len(trainer.labels["train"]))
    rows = first_of(trainer, "train", count)
    shown = shown_by(trainer, "train", rows, step.get("stimulus", []), epoch)
    return scored_on(trainer, shown, step["granularity"], step.get("labels", "model"), epoch, tick)


def scored_on(
    trainer: Trainer, shown: Shown, granularity: str, labels: str, epoch: int, tick: Tick
) -> Scored:
    batch_size = trainer.config["batch_size"]
    model = with_statistics(trainer.model, epoch, shown, batch_size, tick)
    layers = prunable_by(model, trainer.shape, granularity)
    return Scored(model, layers, granularity, shown, labels, trainer.seed, epoch, tick)


def prunable_by(model: nn.Module, shape: tuple[int, int, int], granularity: str) -> list[Layer]:
    return masks.of(prunable(model, shape), granularity)
