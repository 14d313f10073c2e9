"""Weights taken away on the way: which criterion ranks them, how many go, and when."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from shared.part import Count, Epoch, Every, Part

Criterion = Literal["magnitude", "fisher", "fisher_alone", "theis", "snip", "random"]
Granularity = Literal["weights", "channels"]
Ranking = Literal["global", "layer"]
Labels = Literal["model", "true"]
Sparsity = Annotated[float, Field(ge=0, lt=1)]
Json = dict[str, Any]
Shown = Callable[[int], list[Json]]
"""What a network with so many epochs behind it was last shown."""

OF_IMAGES = frozenset({"fisher", "fisher_alone", "theis", "snip"})
"""Criteria that look at images."""
OF_LABELS = frozenset({"fisher", "fisher_alone"})
"""Criteria for which it matters whose labels are taken."""

CRITERION = (
    "magnitude: |w|. fisher: F w^2 / 2 with the diagonal F of the Fisher information, what the loss"
    " rises by to second order. fisher_alone: F, which estimates no rise of the loss. theis:"
    " 1/(2N) sum over images of (sum over pixels of a dL/da)^2 of a channel's output a. snip:"
    " |w dL/dw| of the mean loss. random: a control."
)
GRANULARITY = (
    "weights: one by one. channels: whole filters, with what only they feed (bias, BatchNorm); the"
    " score is the sum over a channel's weights, but for theis and random, which score channels."
)


class Pruning(Part):
    """Weights of convolutions and linear layers are set to 0 at an epoch, and stay 0."""

    at: Epoch = Field(
        description="Epochs trained before it. 0: at initialisation, as SNIP. The run's length: at"
        " its end, without fine-tuning."
    )
    sparsity: Sparsity = Field(
        description="Share of the weights, or of the channels, that are taken away in the end. 0:"
        " none, and the run is the dense one."
    )
    criterion: Criterion = Field("magnitude", description=CRITERION)
    granularity: Granularity = Field("weights", description=GRANULARITY)
    ranking: Ranking = Field(
        "global",
        description="global: the lowest scores of the network go, whatever layer they are in."
        " layer: the same share of every layer.",
    )
    steps: Annotated[int, Field(ge=1, le=100, strict=True)] = Field(
        1,
        description="1: all at once. n: in n steps, after which 1 - (1 - sparsity)^(i/n) is gone,"
        " i = 1 to n, scored anew at each.",
    )
    every: Every = Field(1, description="Epochs between two steps.")
    scored_at: Epoch | None = Field(
        None,
        description="The scores are those of the same run after so many epochs, not after `at`:"
        " the weights at the end by the Fisher information at its peak, say. null: of the state"
        " that is pruned.",
    )
    labels: Labels = Field(
        "model",
        description="Of the Fisher information. model: its own labels, by the exact sum over"
        " classes. true: the labels as shown, the empirical Fisher.",
    )
    samples: Count = Field(256, description="Training images that are looked at, at most all.")

    @model_validator(mode="after")
    def _holds(self) -> "Pruning":
        if self.criterion == "theis" and self.granularity == "weights":
            raise ValueError(
                "'criterion': theis scores channels, and 'granularity' is weights: give channels"
            )
        if self.scored_at is not None and self.scored_at > self.at:
            raise ValueError(
                f"'scored_at' ({self.scored_at}) lies after 'at' ({self.at}): it is an epoch that"
                " comes before the pruning"
            )
        return self

    @property
    def last(self) -> int:
        """Epochs trained before the last step."""
        return self.at + (self.steps - 1) * self.every

    def prunes(self, epochs: int, shown: Shown) -> dict[int, Json]:
        """Epoch -> what is done at its start, as it enters a key: all that the mask depends on
        beside the state, and nothing else. None for a sparsity of 0."""
        if self.sparsity == 0:
            return {}
        steps = ((i, self.at + i * self.every) for i in range(self.steps))
        return {epoch: self._step(i, epoch, shown) for i, epoch in steps if epoch <= epochs}

    def _step(self, i: int, epoch: int, shown: Shown) -> Json:
        left = (1 - self.sparsity) ** ((i + 1) / self.steps)
        step: Json = {
            "sparsity": self.sparsity if i + 1 == self.steps else 1 - left,
            "criterion": self.criterion,
            "granularity": self.granularity,
            "ranking": self.ranking,
        }
        scored = epoch if self.scored_at is None else self.scored_at
        if scored != epoch and self.criterion != "random":
            step["scored_at"] = scored
        if self.criterion in OF_IMAGES:
            step |= {"samples": self.samples, "stimulus": shown(scored)}
        if self.criterion in OF_LABELS:
            step["labels"] = self.labels
        return step
