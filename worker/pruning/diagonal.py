"""The diagonal of the Fisher information by the weights of convolutions and linear layers."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from worker.fisher.affine import AFFINE, Term
from worker.fisher.convolution import Dense
from worker.fisher.layers import trainable_layers
from worker.fisher.recording import Recording, Use, evaluation_mode
from worker.fisher.trace import score
from worker.pruning.layers import Layer
from worker.shown import Chunk, Shown

NUMBERS = 1 << 23
"""Of per-image gradients that are held at once: 32 MB."""


def diagonal(
    model: nn.Module, layers: list[Layer], shown: Shown, labels: str, tick: Callable[[], None]
) -> list[Tensor]:
    """F_ii of each layer's weights, over N images: float64, in the shape of the weight.

        F_ii = 1/N sum_x sum_y p_w(y|x) (d log p_w(y|x) / d w_i)^2

    with labels "model": the exact sum over classes, one backward pass for each. "true": the label
    as shown in place of the sum, which is the empirical Fisher. Squares are of each image's own
    gradient, never of a mean. Nats^2 per squared unit of the weight. BatchNorm uses its running
    statistics, so that images do not mix; passes in the model's dtype.
    """
    totals = [torch.zeros_like(layer.module.weight, dtype=torch.float64) for layer in layers]
    with evaluation_mode(model):
        recorded = trainable_layers(model)
        for chunk in shown.chunks():
            recording = Recording(model, recorded, chunk.images)
            for weight, seed in _seeds(recording, chunk, labels):
                tick()
                uses = recording.uses(seed)
                with torch.no_grad():
                    for layer, total in zip(layers, totals, strict=True):
                        for use in uses[layer.module]:
                            _add(use, weight, total)
            del recording
    return [total.cpu() / shown.count for total in totals]


def _seeds(recording: Recording, chunk: Chunk, labels: str) -> Iterable[tuple[Tensor, Tensor]]:
    """(weight of each image (N,), gradient of log p_y by the logits (N, K))."""
    p = recording.logits.detach().cpu().double().softmax(1)
    if labels == "true":
        yield torch.ones(len(p)).to(recording.logits), _seed(p, chunk.labels, recording)
        return
    for label in range(p.shape[1]):
        classes = torch.full((len(p),), label)
        yield p[:, label].to(recording.logits), _seed(p, classes, recording)


def _seed(p: Tensor, labels: Tensor, recording: Recording) -> Tensor:
    return score(p, labels.cpu()).to(recording.logits)


def _add(use: Use, weight: Tensor, total: Tensor) -> None:
    """Add sum_n weight_n g_n^2, g_n the gradient of image n: a few images at a time."""
    size = max(1, NUMBERS // total.numel())
    for rows in torch.arange(len(weight), device=weight.device).split(size):
        term = AFFINE[type(use.module)](use.module, use.input[rows], use.gradient[rows])
        if isinstance(term, Dense) and term.positions == 1:
            total += _of_products(term, weight[rows]).view_as(total)
            continue
        gradient = _gradients(term, use.module, total)
        squares = gradient.square_().mul_(weight[rows].view(-1, *(1 for _ in total.shape)))
        total += squares.sum(0, dtype=torch.float64)


def _of_products(term: Term, weight: Tensor) -> Tensor:
    """Of one position g = b a^T, so that the sum of squares is one matrix product."""
    b, a = term.b.flatten(1).double(), term.x.flatten(1).double()
    return (b.square() * weight.double()[:, None]).mT @ a.square()


def _gradients(term: Term, module: nn.Module, total: Tensor) -> Tensor:
    """(N, *shape of the weight). In patches the channels come last."""
    found = term.by_patches(term.b).flatten(1, 2)
    if isinstance(module, nn.Linear):
        return found.view(-1, *total.shape)
    return found.unflatten(2, (*total.shape[2:], total.shape[1])).movedim(-1, 2)
