"""A trained run pruned in several ways, as a fork: what is asked for in one body."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from shared.errors import Fault
from shared.fork import Fork
from shared.measurements import PARTS
from shared.part import Count, Epoch, Every, Part, listed
from shared.pruning import (
    CRITERION,
    GRANULARITY,
    Criterion,
    Granularity,
    Labels,
    Pruning,
    Ranking,
    Sparsity,
)
from shared.spec import Seed, Tag

Json = dict[str, Any]


class Prune(Part):
    """A run is pruned after an epoch, by each criterion to each sparsity, and trained on. What
    comes is an ordinary experiment: each way of pruning is a run of it, which shares all epochs
    before with this one. Beside the accuracies the rank correlations of the criteria are measured
    there, and nothing else."""

    run: Annotated[int, Field(ge=0, strict=True, description="Index of the run.")]
    epoch: Epoch = Field(description="Epochs trained before it is pruned; 0: at initialisation.")
    criterion: Annotated[list[Criterion], BeforeValidator(listed)] = Field(
        ["magnitude", "fisher", "random"],
        min_length=1,
        description=f"One or several of: {CRITERION}",
    )
    granularity: Granularity = Field("weights", description=GRANULARITY)
    ranking: Ranking = Field("global", description="global, or layer: the same share of each.")
    sparsities: list[Sparsity] = Field(
        [0, 0.5, 0.8, 0.9, 0.95, 0.98],
        min_length=1,
        max_length=100,
        description="Shares that are taken away; 0 is the dense run, and costs nothing twice.",
    )
    steps: Annotated[int, Field(ge=1, le=100, strict=True)] = Field(
        1, description="1: all at once. More: iterative, each step scored anew."
    )
    every: Every = Field(1, description="Epochs between two steps.")
    fine_tuning_epochs: Epoch = Field(5, description="Epochs trained after the last step.")
    seeds: list[Seed] | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        description="null: the run's own. Others are trained from the start, as far as they are"
        " not stored.",
    )
    scored_at: Epoch | None = Field(
        None, description="Score by the run's state after so many epochs; null: after `epoch`."
    )
    labels: Labels = Field("model", description="Of the Fisher information: its own, or the true.")
    samples: Count = Field(256, description="Training images that are looked at, at most all.")
    learning_rate_restart: bool = Field(
        False,
        description="false: the schedule goes on by absolute epoch. true: it starts again where the"
        " pruning begins.",
    )
    name: Annotated[str, StringConstraints(max_length=200)] | None = None
    tags: dict[Tag, Annotated[str, StringConstraints(max_length=256)]] | None = Field(
        None, max_length=32
    )

    @model_validator(mode="after")
    def _can_be(self) -> "Prune":
        for field in ("criterion", "sparsities"):
            named = getattr(self, field)
            if len(set(named)) != len(named):
                raise ValueError(f"'{field}' names the same one twice")
        if len(set(self.seeds or [])) != len(self.seeds or []):
            raise ValueError("'seeds' names the same seed twice")
        if self.scored_at is not None and self.scored_at > self.epoch:
            raise ValueError(
                f"'scored_at' ({self.scored_at}) lies after 'epoch' ({self.epoch}): it is an epoch"
                " that comes before the pruning"
            )
        if "theis" in self.criterion and self.granularity == "weights":
            raise ValueError("'granularity': theis scores channels: give channels")
        if self.learning_rate_restart and self.total == self.epoch:
            raise ValueError(
                "'learning_rate_restart': nothing is trained after the pruning: give"
                " fine_tuning_epochs"
            )
        if self.total < 1:
            raise ValueError(
                "'fine_tuning_epochs': a run of no epochs: pruned at initialisation it is trained"
                " afterwards or not at all"
            )
        return self

    @property
    def total(self) -> int:
        """Epochs of the runs."""
        return self.epoch + (self.steps - 1) * self.every + self.fine_tuning_epochs

    def fork(self, windows: list[Json]) -> Fork:
        """`windows`: those of the run, which end no later than the runs now do."""
        own = {"ranking", "granularity", "steps", "every", "scored_at", "labels", "samples"}
        first = {"criterion": self.criterion[0], "sparsity": self.sparsities[0]}
        pruning = Pruning(at=self.epoch, **first, **self.model_dump(include=own))
        setting: Json = {"training.epochs": self.total, "pruning": pruning.model_dump()}
        if self.learning_rate_restart:
            setting["training.learning_rate_restart"] = True
        if any(window["end"] > self.total for window in windows):
            setting["deficits"] = [*_within(windows, self.epoch, self.total)]
        body: Json = {
            **dict.fromkeys(set(PARTS) - {"saliency"}),
            "run": self.run,
            "epoch": self.epoch,
            "set": setting,
            "sweep": {"pruning.criterion": self.criterion, "pruning.sparsity": self.sparsities},
            "saliency": {
                "epochs": [self.epoch],
                "granularity": self.granularity,
                "labels": self.labels,
                "samples": min(self.samples, 100_000),
            },
        }
        for field in ("seeds", "name", "tags"):
            if (value := getattr(self, field)) is not None:
                body[field] = value
        return Fork.model_validate(body)


def _within(windows: list[Json], epoch: int, total: int) -> list[Json]:
    return [
        {name: value for name, value in window.items() if name != "length"}
        | {"end": min(window["end"], total)}
        for window in windows
        if window["end"] > epoch and window["start"] < total
    ]


PLACES = {
    "/sweep/pruning.criterion": "/criterion",
    "/sweep/pruning.sparsity": "/sparsities",
    "/sweep": "/sparsities",
    "/set/training.epochs": "/fine_tuning_epochs",
    "/set/training.learning_rate_restart": "/learning_rate_restart",
    "/set/deficits": "/fine_tuning_epochs",
    "/set/pruning": "/granularity",
    "/set": "/epoch",
    "/saliency": "/samples",
}
"""Where in the fork -> where in the body."""


def blamed(fault: Fault) -> Fault:
    """A fault of the fork, said of the body's own fields."""
    for there, here in PLACES.items():
        if fault.pointer == there or fault.pointer.startswith(f"{there}/"):
            return replace(fault, pointer=here)
    return fault
