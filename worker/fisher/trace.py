"""From squared norms per image to the trace of the Fisher information with its standard error.

With J(x) the Jacobian of the logits by the parameters and `H(x) = diag(p) - p p^T`,

    tr F  =  E_x E_{y ~ p_w(y|x)} || grad_w log p_w(y|x) ||^2  =  E_x tr( J^T H J )

An estimator names, for each image, vectors `s_j` over the logits and weights `c_j` with
`E sum_j c_j s_j s_j^T = H`; then `z(x) = sum_j c_j || J^T s_j ||^2` has the image's trace as its
mean, and the estimate is the mean of z over the images.

Unit: nats^2 per squared unit of each parameter, summed over parameters; natural logarithms.
BatchNorm is in evaluation mode: it uses its running statistics, so that images do not mix.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from worker.fisher.per_example import Layer, Recording, evaluation_mode, trainable_layers

# Images in one pass. Fixed: the last bits of a sum depend on it, so no setting may change it.
CHUNK = 32

Seeds = Callable[[Tensor, slice], Iterable[tuple[Tensor | float, Tensor]]]


def estimate(
    model: nn.Module, images: Tensor, seeds: Seeds, tick: Callable[[], None]
) -> dict[str, Any]:
    """tr F, in total and per layer, over `images` (n, C, H, W) in the model's dtype and device.

    `seeds(p, rows)` gives the pairs (c_j: (N,) or a number, s_j: (N, K)), float64 on the CPU, for
    the images `rows`, whose probabilities are p: (N, K). `tick()` is called before each pass.
    """
    layers = trainable_layers(model)
    norms, probabilities = [], []
    with evaluation_mode(model):
        for start in range(0, len(images), CHUNK):
            rows = slice(start, min(start + CHUNK, len(images)))
            recording = Recording(model, layers, images[rows])
            # (N, K) is small: on the CPU in float64 it is alike on every device.
            p = recording.logits.detach().cpu().double().softmax(1)
            norms.append(_weighted_norms(recording, seeds(p, rows), tick))
            probabilities.append(p)
            del recording  # before the next forward pass, which needs the memory
    return _summary(torch.cat(norms), layers) | _confidence(torch.cat(probabilities))


def _weighted_norms(
    recording: Recording,
    seeds: Iterable[tuple[Tensor | float, Tensor]],
    tick: Callable[[], None],
) -> Tensor:
    """sum_j c_j || J_l^T s_j ||^2, (N, layers)."""
    total = torch.zeros((), dtype=torch.float64)
    for weight, seed in seeds:
        tick()
        norms = recording.squared_norms(seed.to(recording.logits)).cpu()
        total = total + torch.as_tensor(weight).reshape(-1, 1) * norms
    return total


def score(p: Tensor, labels: Tensor) -> Tensor:
    """Gradient of `log p_y` by the logits, `e_y - p`, for p: (N, K) and labels: (N,)."""
    seed = -p
    seed[torch.arange(len(p)), labels] += 1
    return seed


def _summary(values: Tensor, layers: list[Layer]) -> dict[str, Any]:
    """Mean and standard error of per-image values (n, layers)."""
    return _mean_and_error(values.sum(1)) | {
        "samples": len(values),
        "layers": [
            {"name": layer.name, "parameters": layer.parameters} | _mean_and_error(column)
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


def _confidence(p: Tensor) -> dict[str, float]:
    """Mean entropy of the predictions, in nats, and mean largest probability: F shrinks with it."""
    return {
        "predictive_entropy": torch.special.entr(p).sum(1).mean().item(),
        "mean_confidence": p.amax(1).mean().item(),
    }
