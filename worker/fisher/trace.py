"""From squared norms per image to the trace of the Fisher information with its standard error.

With J(x) the Jacobian of the logits by the parameters and `H(x) = diag(p) - p p^T`,

    tr F  =  E_x E_{y ~ p_w(y|x)} || grad_w log p_w(y|x) ||^2  =  E_x tr( J^T H J )

An estimator names, for each image, vectors `s_j` over the logits and weights `c_j` with
`E sum_j c_j s_j s_j^T = H`; then `z(x) = sum_j c_j || J^T s_j ||^2` has the image's trace as its
mean, and the estimate is the mean of z over the images.

Unit: nats^2 per squared unit of each parameter, summed over parameters; natural logarithms.
BatchNorm is in evaluation mode: it uses its running statistics, so that images do not mix.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from shared.measurements import FIRST_LOOK
from worker import rng
from worker.fisher.layers import Layer, trainable_layers
from worker.fisher.norms import squared_norms
from worker.fisher.recording import Recording, evaluation_mode
from worker.shown import Chunk, Shown

MANY = 128
"""Images in one pass of a network without convolutions. Fixed, as `worker.shown.CHUNK` is."""

Asked = dict[str, Any]
Tick = Callable[[], None]
Seeds = Callable[[Tensor, Chunk, Recording], Iterable[tuple[Tensor | float, Tensor]]]
"""(log p (N, K) float64 on the CPU, images, their pass) -> pairs (c_j: (N,) or a number,
s_j: (N, K)), float64 on the CPU."""


def estimate(
    model: nn.Module, shown: Shown, asked: Asked, seeds: Seeds, draws: rng.Stream, tick: Tick
) -> dict[str, Any]:
    """tr F, in total and by layer, over the first `samples` images, or over as many as it takes
    until the standard error of the total is `relative_error` of it.

    That rule looks at the error as it is estimated, after 128 images and after each chunk, and
    so stops a little early: of lognormal values with a squared coefficient of variation of 0.5 the
    95 % interval at 5 % held the truth in 94 % and the mean was 0.2 % too low; with 5, in 92 % and
    0.8 % (1,500 trials each). `precision` is that of the passes and the norms; sums over images are
    in float64. `tick()` is called before each backward pass.
    """
    sketched = asked.get("norms") == "sketched"
    norms, logs = [], []
    with _in_precision(model, asked.get("precision", "float32")) as (network, passing):
        layers = trainable_layers(network)
        for chunk in shown.chunks(_chunk(network)):
            with passing():
                recording = Recording(network, layers, _as(chunk.images, network))
            # (N, K) is small: on the CPU in float64 it is alike on every device.
            log_p = recording.logits.detach().cpu().double().log_softmax(1)
            signs = partial(_signs, draws, chunk) if sketched else None
            pairs = seeds(log_p, chunk, recording)
            norms.append(_weighted(recording, layers, pairs, signs, tick))
            logs.append(log_p)
            del recording  # before the next forward pass, which needs the memory
            if _is_enough(norms, asked):
                break
    values = torch.cat(norms)
    return summary(values, layers, asked) | confidence(torch.cat(logs))


@contextmanager
def _in_precision(
    model: nn.Module, precision: str
) -> Iterator[tuple[nn.Module, Callable[[], Any]]]:
    """The network in evaluation mode, and the context of its forward passes: in float64 a copy, in
    bfloat16 torch's autocast, which leaves BatchNorm's statistics in float32."""
    if precision == "float64":
        model = copy.deepcopy(model).double()
    with evaluation_mode(model):
        device = next(model.parameters()).device.type
        cast = partial(torch.autocast, device, torch.bfloat16)
        yield model, cast if precision == "bfloat16" else nullcontext


def _chunk(model: nn.Module) -> int | None:
    """More images at a time where there are no maps: an MLP then takes 0.6 of the time."""
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in model.modules())
    return None if convolves else MANY


def _as(images: Tensor, model: nn.Module) -> Tensor:
    """Channels last: the passes through All-CNN are then 10 % faster on the CPU."""
    images = images.to(next(model.parameters()).dtype)
    return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images


def _signs(draws: rng.Stream, chunk: Chunk, layer: str) -> Callable[[int], Tensor]:
    return lambda size: draws.part(f"sketch:{layer}").signs(chunk.rows, size)


def _weighted(
    recording: Recording,
    layers: list[Layer],
    pairs: Iterable[tuple[Tensor | float, Tensor]],
    signs: Callable[[str], Callable[[int], Tensor]] | None,
    tick: Tick,
) -> Tensor:
    """sum_j c_j || J_l^T s_j ||^2, (N, layers)."""
    total = torch.zeros((), dtype=torch.float64)
    for weight, seed in pairs:
        tick()
        norms = squared_norms(recording, layers, seed.to(recording.logits), signs).cpu()
        total = total + torch.as_tensor(weight).reshape(-1, 1) * norms
    return total


def _is_enough(norms: list[Tensor], asked: Asked) -> bool:
    wanted = asked.get("relative_error")
    if wanted is None or sum(map(len, norms)) < FIRST_LOOK:
        return False
    error = _relative_error(_mean_and_error(torch.cat(norms).sum(1)))
    return error is not None and error <= wanted


def score(p: Tensor, labels: Tensor) -> Tensor:
    """Gradient of `log p_y` by the logits, `e_y - p`, for p: (N, K) and labels: (N,)."""
    seed = -p
    seed[torch.arange(len(p)), labels] += 1
    return seed


def summary(values: Tensor, layers: list[Layer], asked: Asked) -> dict[str, Any]:
    """Means and standard errors of per-image values (n, layers)."""
    total = values.sum(1)
    whole = _mean_and_error(total)
    wanted, found = asked.get("relative_error"), _relative_error(whole)
    return whole | {
        "samples": len(values),
        "relative_error": found,
        "relative_error_reached": None if wanted is None else found is not None and found <= wanted,
        "layers": [
            {"name": layer.name, "parameters": layer.parameters}
            | _mean_and_error(column)
            | _share(column, total)
            for layer, column in zip(layers, values.T, strict=True)
        ],
    }


def _mean_and_error(values: Tensor) -> dict[str, float | None]:
    """Mean z and s / sqrt(n), s the sample standard deviation (n - 1); null for one image.

    It covers the choice of images and the estimator's own draws, as if the images were drawn
    independently from all there are; it does not cover what training itself would vary.
    """
    n = len(values)
    error = (values.std(correction=1) / n**0.5).item() if n > 1 else None
    return {"trace": values.mean().item(), "standard_error": error}


def _relative_error(found: dict[str, float | None]) -> float | None:
    trace, error = found["trace"], found["standard_error"]
    return error / trace if trace and error is not None else None


def _share(column: Tensor, total: Tensor) -> dict[str, float | None]:
    """A layer's part of the total, a ratio r of means; error by linearisation: that of the mean of
    (z_l - r z) / mean z. nan where the total is 0."""
    mean = total.mean()
    share = column.mean() / mean
    error = _mean_and_error((column - share * total) / mean)["standard_error"]
    return {"share": share.item(), "share_standard_error": error}


def confidence(log_p: Tensor) -> dict[str, float]:
    """Mean entropy of the predictions, in nats, and mean largest probability: F shrinks with it."""
    p = log_p.exp()
    return {
        "predictive_entropy": torch.special.entr(p).sum(1).mean().item(),
        "mean_confidence": p.amax(1).mean().item(),
    }
