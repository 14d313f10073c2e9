"""The exact value, and the exact variance of drawing labels: every class of every image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.bench.states import CACHE, State
from worker.fisher.layers import trainable_layers
from worker.fisher.norms import squared_norms
from worker.fisher.recording import Recording
from worker.fisher.trace import score


@dataclass(frozen=True)
class Truth:
    p: Tensor
    """(n, K) float64, the model's probabilities."""
    norms: Tensor
    """(n, K) float64: || grad_w log p_w(y|x) ||^2 of image x and class y."""

    @property
    def traces(self) -> Tensor:
        """(n,): tr F(x) = sum_y p(y|x) || grad_w log p_w(y|x) ||^2."""
        return (self.p * self.norms).sum(1)

    def first(self, count: int) -> "Truth":
        return Truth(self.p[:count], self.norms[:count])

    def at(self, rows: Tensor | slice) -> "Truth":
        return Truth(self.p[rows], self.norms[rows])

    @property
    def between(self) -> float:
        """Squared coefficient of variation over images: all that is left to an exact method."""
        return (self.traces.var() / self.traces.mean() ** 2).item()

    @property
    def within_label(self) -> float:
        """What drawing a label for each image adds: mean variance of one draw, without sampling
        it, over the squared mean."""
        second = (self.p * self.norms**2).sum(1)
        return ((second - self.traces**2).mean() / self.traces.mean() ** 2).item()


def truth(state: State, count: int) -> Truth:
    """Of the first `count` images of a state, by float32 passes; cached."""
    path = CACHE / f"{state.name}-truth-{count}.pt"
    if not path.exists():
        found = _compute(state, count)
        CACHE.mkdir(exist_ok=True)
        torch.save((found.p, found.norms), path)
    return Truth(*torch.load(path))


def _compute(state: State, count: int) -> Truth:
    layers = trainable_layers(state.model)
    parts = [_chunk(state, layers, images) for images in state.images[:count].split(32)]
    return Truth(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _chunk(state: State, layers: list, images: Tensor) -> tuple[Tensor, Tensor]:
    recording = Recording(state.model, layers, images)
    p = recording.logits.detach().double().softmax(1)
    columns = []
    for label in range(p.shape[1]):
        seed = score(p, torch.full((len(p),), label)).to(recording.logits)
        columns.append(squared_norms(recording, layers, seed).sum(1))
    return p, torch.stack(columns, dim=1)
