"""How a run is trained: optimiser, schedule, batches, augmentation; and what of that may change on
the way."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.part import Epoch, Part

Rate = Annotated[float, Field(gt=0, le=100)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0, le=1)]
BatchSize = Annotated[int, Field(ge=2, le=65_536)]


class SGD(Part):
    name: Literal["sgd"]
    learning_rate: Rate = 0.05
    momentum: Momentum = 0.9
    weight_decay: Decay = 0.001


class Adam(Part):
    name: Literal["adam"]
    learning_rate: Rate = 0.001
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0, le=1)
    weight_decay: Decay = 0.0001


class Exponential(Part):
    """learning_rate * gamma ** epoch, by absolute epoch."""

    name: Literal["exponential"]
    gamma: float = Field(0.97, gt=0, le=1)


class Constant(Part):
    name: Literal["constant"]


Schedule = Annotated[Exponential | Constant, Field(discriminator="name")]


class Augmentation(Part):
    shift: int = Field(4, ge=0, le=64, description="Random shift of up to this many pixels.")
    horizontal_flip: bool = True


class ChangedOptimizer(Part):
    """Not its kind: what one kind remembers of its steps means nothing to another. Nor the betas of
    Adam, whose correction counts steps under one of them."""

    learning_rate: Rate | None = None
    momentum: Momentum | None = Field(None, description="Of sgd; 0 forgets what there is of it.")
    weight_decay: Decay | None = None


class Changed(Part):
    """What is left out stays as it was."""

    optimizer: ChangedOptimizer = ChangedOptimizer()
    schedule: Schedule | None = Field(
        None, description="Counted as before: from epoch 0, or from where it last started again."
    )
    batch_size: BatchSize | None = None
    augmentation: Augmentation | None = Field(
        None, description="As a whole: what it leaves out is at its default."
    )
    learning_rate_restart: bool = Field(
        False, description="The schedule starts again: its epoch 0 is this one."
    )
    optimizer_restart: bool = Field(False, description="Momentum and moments are forgotten.")

    @property
    def sets_rate(self) -> bool:
        return self.schedule is not None or self.optimizer.learning_rate is not None


class Change(Part):
    """From an epoch on a run is trained as if its config had always had these values."""

    at: Annotated[int, Field(ge=1, le=100_000, strict=True)] = Field(
        description="First epoch that is trained so."
    )
    set: Changed


class Training(Part):
    epochs: Annotated[int, Field(ge=1, le=100_000, strict=True)] | None = Field(
        None, description="Total epochs of a run. Give this or `epochs_after_deficit`."
    )
    epochs_after_deficit: Epoch | None = Field(
        None, description="Epochs after the end of the last window."
    )
    batch_size: BatchSize = Field(
        128, description="Images in a step; BatchNorm cannot train on one."
    )
    optimizer: Annotated[SGD | Adam, Field(discriminator="name")] = SGD(name="sgd")
    schedule: Schedule = Exponential(name="exponential")
    learning_rate_restart: Literal["never", "at_removal"] = Field(
        "never",
        description="at_removal: the schedule starts again wherever a deficit window ends. The "
        "control that tells a critical period from a learning rate that has merely decayed.",
    )
    optimizer_restart: Literal["never", "at_removal"] = Field(
        "never",
        description="at_removal: momentum and moments are forgotten wherever a deficit window ends."
        " The authors' later code does so where it branches a run.",
    )
    augmentation: Augmentation = Augmentation()
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32",
        description="Of convolutions and matrix products; states are float32 in each. tf32: on a"
        " GPU, inputs rounded to 10 bits of mantissa; on a processor it is float32. bfloat16: to 8"
        " bits; fast on GPUs, and on processors with AVX512-BF16 or AMX.",
    )
    changes: list[Change] = Field(
        [], max_length=64, description="What is other from an epoch on, in the order of epochs."
    )

    @model_validator(mode="after")
    def _has_one_length(self) -> "Training":
        if (self.epochs is None) == (self.epochs_after_deficit is None):
            raise ValueError("give exactly one of 'epochs' and 'epochs_after_deficit'")
        return self

    @model_validator(mode="after")
    def _changes_hold(self) -> "Training":
        for one, other in pairwise(self.changes):
            if other.at <= one.at:
                raise ValueError(
                    f"'changes': epoch {other.at} comes after epoch {one.at}: give them in order,"
                    " and of one epoch one"
                )
        has_momentum = isinstance(self.optimizer, SGD)
        for change in self.changes:
            if change.set.optimizer.momentum is not None and not has_momentum:
                raise ValueError(
                    f"'changes': at epoch {change.at} momentum is set, which is of sgd; this"
                    f" optimizer is {self.optimizer.name}"
                )
        return self
