"""What came before a fork stays as it was: told by the names of the run's states."""

from shared import sweep
from shared.errors import Fault, Invalid
from shared.faults import pointer
from shared.fork import Fork
from shared.schedule import Facts, config, keys, timeline
from shared.spec import ExperimentSpec, RunSpec
from shared.sweep import Point


def check(asked: Fork, made: ExperimentSpec, trunk: list[str], seed: int, facts: Facts) -> None:
    """Refuse what would train the epochs before the fork otherwise. `trunk`: the run's keys."""
    if asked.epoch == 0:
        return  # nothing came before
    alone = made.model_copy(update={"sweep": {}, "variants": {}, "controls": type(made.controls)()})
    for point in (*sweep.points(alone), *sweep.points(made)):
        chain = _keys(point.run, facts, seed, asked.epoch)
        if len(chain) <= asked.epoch:
            message = (
                f"the run would end after {len(chain) - 1} epochs, before the fork at epoch"
                f" {asked.epoch}"
            )
            raise Invalid(message, [Fault(_blamed(asked, point, None), "ends-before", message)])
        others = (e for e, (a, b) in enumerate(zip(chain, trunk, strict=False)) if a != b)
        first = 0 if point.run.dataset.name != facts.name else next(others, None)
        if first is not None:
            raise _of_the_past(asked, point, first)


def _keys(run: RunSpec, facts: Facts, seed: int, epoch: int) -> list[str]:
    stretches = [
        stretch.model_copy(update={"end": min(stretch.end, epoch)})
        for stretch in timeline(run)
        if stretch.start < epoch
    ]
    return keys(config(run, facts, seed), stretches)


def _of_the_past(asked: Fork, point: Point, states: int) -> Invalid:
    """`states`: how many of the run's are as they were."""
    if states == 0:
        message = (
            "what is set shapes training from its very beginning: on the way only deficits,"
            " training.epochs, training.schedule, batch_size, augmentation and numbers of the"
            " optimizer can change; fork from epoch 0, or submit it as an experiment of its own"
        )
    else:
        message = (
            f"epoch {states - 1} would be trained otherwise: what comes before epoch"
            f" {asked.epoch} is as it was"
        )
    return Invalid(message, [Fault(_blamed(asked, point, states), "changes-the-past", message)])


def _blamed(asked: Fork, point: Point, states: int | None) -> str:
    if point.control:
        return "/controls"
    if point.values:
        return pointer(("sweep", next(iter(point.values))))
    if point.variant is not None:
        return pointer(("variants", point.variant))
    heads = ("dataset", "model") if states == 0 else ("deficit", "deficits")
    # Windows that are set as a whole were looked at, see continued.py.
    named = [p for p in asked.set if p.split(".")[0] in heads and p not in ("deficit", "deficits")]
    named += [path for path in asked.set if path.startswith("training.")]
    return pointer(("set", named[0])) if named else "/set"
