"""A fork: a run that goes on otherwise from an epoch on, as an ordinary spec.

What it changes of the deficits is their windows; what it changes of how a run is trained is a
change at that epoch (`training.changes`), so that all states before it keep their names.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from shared import planning, sweep
from shared.errors import Fault, Invalid
from shared.measurements import PARTS
from shared.part import Epoch
from shared.plan import Plan, RunPlan
from shared.rewriting import Rewriting
from shared.settings import Settings
from shared.spec import ExperimentSpec, Multiplied, Paths
from shared.sweep import Point

NAME_LENGTH = 200

Json = dict[str, Any]


class Fork(Multiplied):
    """A run that goes on otherwise. Without `seeds`: with its own seed. Measurements, checkpoints
    and tags that are left out are those of the experiment; null switches a measurement off."""

    run: Annotated[int, Field(ge=0, strict=True, description="Index of the run.")]
    epoch: Epoch = Field(
        description="Epochs that stay as they are; what is other begins here. From 0 on anything of"
        " a run may be other."
    )
    set: Paths = Field(
        {},
        max_length=64,
        description="Dotted path in the run's spec -> value, for the epochs that come. `deficits`"
        " as a whole: the windows from here on. training.optimizer, schedule, batch_size and"
        " augmentation: from here on. training.learning_rate_restart and optimizer_restart: true"
        " starts again here. Paths of `sweep` and `variants` mean the same.",
    )


def point_of(spec: ExperimentSpec, run: RunPlan) -> Point:
    return sweep.points(spec)[run.index // len(spec.seeds)]


def spec(
    asked: Fork, old: ExperimentSpec, run: RunPlan, rewriting: Rewriting, settings: Settings
) -> ExperimentSpec:
    """What is to be trained."""
    own = {"name": _name(old, asked), "seeds": [run.seed], "tags": old.tags}
    own |= asked.model_dump(mode="json", exclude_unset=True, exclude={"run", "epoch", "set"})
    own |= {"sweep": rewriting.sweep, "variants": rewriting.variants}
    bare = rewriting.validated(rewriting.run | own)
    planning.check_run_count(bare, settings)
    longest = max(point.run.total_epochs for point in sweep.points(bare))
    return rewriting.validated(rewriting.run | own | dict(_inherited(asked, old, longest)))


def _name(old: ExperimentSpec, asked: Fork) -> str:
    ending = f"run {asked.run} from epoch {asked.epoch}"
    return f"{old.name[: NAME_LENGTH - len(ending) - 2]}, {ending}" if old.name else ending


def _inherited(asked: Fork, old: ExperimentSpec, longest: int) -> Iterator[tuple[str, Json]]:
    """Without the epochs that no run reaches any more."""
    for name in ("scoring", "checkpoints", *PARTS):
        part = getattr(old, name)
        if name in asked.model_fields_set or name not in old.model_fields_set or part is None:
            continue
        found = part.model_dump(mode="json", exclude_unset=True)
        if "epochs" in found:
            found["epochs"] = [epoch for epoch in found["epochs"] if epoch <= longest]
        if name not in PARTS or found.get("every") or found.get("epochs"):
            yield name, found


def check_differs(asked: Fork, old: Plan, run: RunPlan, made: Plan) -> None:
    """Refuse what is the same run once more, unless something else is measured or kept of it."""
    if len(made.runs) > 1 or "checkpoints" in asked.model_fields_set:
        return
    [new] = made.runs
    if made.keys(new) == old.keys(run) and not {*new.probes} - {*run.probes}:
        message = (
            f"nothing would be other than in run {asked.run}: set what is to change from epoch"
            f" {asked.epoch} on, or ask for other measurements"
        )
        raise Invalid(message, [Fault("/set", "nothing-changes", message)])
