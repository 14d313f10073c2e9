"""Noise in the weights, as much as the predictions bear: the noise-based estimate of Achille et al.

In the form in which the first author published it (Task2Vec, Achille et al. 2019, arXiv 1902.03545;
awslabs/aws-cv-task2vec), with what it takes to agree with the Fisher information.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, linear

from shared.errors import Invalid
from worker import rng
from worker.fisher.layers import Part, trainable_layers
from worker.fisher.recording import evaluation_mode
from worker.fisher.trace import Asked, Tick, confidence
from worker.shown import CHUNK, Chunk, Shown

NOISE = 1e-4
"""Variance at the start over a layer's mean squared weight. Published: 0.05 of the filter's."""
STEPS = 320
"""At least, and two passes at least. Published: 312, two passes of 10,000 images by 64."""
RATE = 0.2
"""Adam's for log-variances, falling linearly to 0. Published: 0.01, constant."""
LEAST = 1e-20
"""beta where the noise moves no prediction: no curvature to be seen."""
NOISY = {nn.Conv2d, nn.Linear}
QUIET = {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}


def trace(
    model: nn.Module, shown: Shown, asked: Asked, draws: rng.Stream, tick: Tick
) -> dict[str, Any]:
    """tr F of the weights of convolutions and linear layers, from the noise that they bear.

    Each weight w_i gets normal noise of variance v_f, one for each filter f of k_f weights, and

        L(v) = E_x E_noise KL( p_w(y|x) || p_{w + noise}(y|x) )
               + beta sum_f k_f ( v_f / lambda^2 - log v_f ),   lambda^2 = mean w^2 of the layer,

    is minimised. For small noise the first term is 1/2 sum_i F_ii v_i; where dL/dv = 0, therefore,

        tr F = sum_f 2 beta k_f ( 1 / v_f - 1 / lambda^2 ),   and   KL ~ beta sum_f k_f nats.

    Images (C, H, W); passes in the model's dtype, the rest in float64. Unit as for the other
    estimators. BatchNorm (in evaluation mode) and biases carry no noise: `trace` and `parameters`
    are of weights alone. `mean_precision` of a layer is what was published, the mean of 1 / v_f.

    As published: the penalty (constants left out, lambda^2 held at its start), one variance for
    each filter, Adam, about as many steps. Ours, because the published choice gave 0.05 (trained)
    and 0.11 (fitted) of the exact trace on All-CNN of width 1/12 and 256 CIFAR-10 images, and
    28,000 times it before training (all points but the last as published):
    - Noise in the weights: the same at all positions of an image, with signs of its own for each
      image (Flipout, Wen et al. 2018, arXiv 1803.04386). Published: at the outputs, independent
      from position to position (local reparameterisation, Kingma et al. 2015, arXiv 1506.02557),
      of inputs squared + 0.01. For a convolution that is another curvature, at positions t
      sum_t |a_t|^2 |b_t|^2 and not |sum_t b_t a_t^T|^2: exactly computed, 0.04 (trained) and 0.31
      (fitted) of the total, so that the noise may be small and the curve still wrong.
    - The KL: labels from the model's own distribution, as in F, summed out. Published: the data's.
    - beta and the start: NOISE everywhere, beta such that L is balanced there as a whole, then each
      layer's variances such that it is balanced too. Published: 1e-7, with which the minimum
      itself is 1,500 times too high before training, where no noise below lambda^2 costs enough.
    - RATE: at the published 0.01 log-variances move by about 3 at most; some needed more than 5.
    - BatchNorm and the classifier stay as they are. Published: trained along, and the classifier
      without noise.

    Biased: noise of a size sees a neighbourhood, the more so in layers that hold little (3 times
    the exact value in one that holds 5e-6 of the total); and 1 / v is convex in a v that 320 steps
    leave noisy. Ratio to exact, mean (sd of one estimate over draws): width 1/12, 256 images: 1.01
    (0.03) before training, 1.04 (0.03) trained, 1.06 (0.02) fitted, there 1.03 (0.02) with 1,280
    steps and 1.25 (0.03) with NOISE = 1e-3; width 1/4, 1,000 images: 1.07 (0.03) trained, 1.06
    (0.02) half of them fitted, single layers 0.9 to 1.4.

    No standard error, for this is the end of an optimisation: v_f is its mean over the last half of
    the steps, `drift` the relative change of the total between the two halves of those.

    Cost: 10 passes over 1,000 images, each of two forward passes and their backward; 43 s for
    1,000 images at width 1/4 (one thread, torch 2.13), where `signs` takes 4 s. For comparison.
    """
    layers = _covered(model)
    with evaluation_mode(model):
        noise = _Noise(model, layers, draws)
        log_p, beta, variance = _start(noise, shown, tick)
        late, steps = _minimise(noise, shown, log_p, beta, variance, tick)
    half = len(late) // 2
    before, after = (noise.fisher(beta, part.mean(0)).sum() for part in (late[:half], late[half:]))
    return (
        _summary(noise, beta, late.mean(0))
        | {"samples": shown.count, "estimator": "variational", "beta": beta, "steps": steps}
        | {
            "drift": (after / before - 1).item(),
            "covers": "weights of convolutions and linear layers",
        }
        | confidence(log_p.cpu())
    )


def _covered(model: nn.Module) -> list[tuple[str, Part]]:
    """The weights that get noise, with the names of their layers."""
    covered = []
    for layer in trainable_layers(model):
        if (kind := type(layer.modules[0])) not in {*NOISY, *QUIET}:
            raise Invalid(
                f"layer '{layer.name}' is a {kind.__name__}: the variational estimate knows"
                " Conv2d, Linear and BatchNorm alone; use signs"
            )
        covered += [(layer.name, p) for p in layer.parts if kind in NOISY and p.role == "weight"]
    if not covered:
        raise Invalid("the network has no trainable convolution or linear weights to put noise in")
    return covered


class _Noise:
    """Normal noise in the weights; what is given by filter is (F,) float64, F filters in all."""

    def __init__(self, model: nn.Module, layers: list[tuple[str, Part]], draws: rng.Stream) -> None:
        self.model, self._draws, self.layers = model, draws, layers
        weights = [part.parameter.detach() for _, part in layers]
        self.filters = [len(w) for w in weights]
        counts = [w.new_full((len(w),), w[0].numel(), dtype=torch.float64) for w in weights]
        squares = [w.double().square().mean().expand(len(w)) for w in weights]
        self.weights, self.prior = torch.cat(counts), torch.cat(squares).clamp(min=1e-8)

    def fisher(self, beta: float, variance: Tensor) -> Tensor:
        """tr F by filter."""
        return 2 * beta * self.weights * (1 / variance - 1 / self.prior)

    def by_layer(self, values: Tensor) -> Tensor:
        """Each filter's value replaced by the sum over its layer."""
        return torch.cat([part.sum().expand(len(part)) for part in values.split(self.filters)])

    def divergence(self, log_p: Tensor, chunk: Chunk, variance: Tensor, draw: str) -> Tensor:
        """KL of the noisy predictions from log_p (N, K), summed over the images."""
        return kl_div(self._noisy(chunk, variance, draw), log_p, reduction="sum", log_target=True)

    def _noisy(self, chunk: Chunk, variance: Tensor, draw: str) -> Tensor:
        """(N, K) float64."""
        hooks = []
        try:
            for (name, part), v in zip(self.layers, variance.split(self.filters), strict=True):
                draws = self._draws.part(f"{draw}:{name}")
                hook = _disturb(_drawn(part.parameter, v.sqrt(), draws), draws, chunk.rows)
                hooks += [module.register_forward_hook(hook) for module in part.modules]
            return _log_p(self.model, chunk)
        finally:
            for handle in hooks:
                handle.remove()


def _log_p(model: nn.Module, chunk: Chunk) -> Tensor:
    """(N, K) float64."""
    logits: Tensor = model(chunk.images.to(next(model.parameters()).dtype))
    return logits.double().log_softmax(1)


def _drawn(weight: Tensor, deviation: Tensor, draws: rng.Stream) -> Tensor:
    """Of the weight's shape and dtype; deviation: one for each filter."""
    rows = torch.arange(len(weight), device=weight.device)
    normal = draws.part("noise").normals(rows, weight[0].numel())
    return (deviation[:, None] * normal).to(weight.dtype).view_as(weight)


def _disturb(noise: Tensor, draws: rng.Stream, rows: Tensor) -> Callable[..., Tensor]:
    """A hook that adds the noise's part to a layer's output, with signs drawn for each image at
    inputs and outputs: of the same law, and uncorrelated between images."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x, axis = inputs[0], 1 if isinstance(module, nn.Conv2d) else -1
        sizes = [x.shape[axis], output.shape[axis]]
        signs = draws.part("signs").signs(rows, sum(sizes)).to(x.dtype).split(sizes, dim=1)
        x = x * _along(axis, signs[0], x)
        if isinstance(module, nn.Conv2d):
            moved = module._conv_forward(x, noise, None)
        else:
            moved = linear(x, noise)
        return output + moved * _along(axis, signs[1], output)

    return hook


def _along(axis: int, signs: Tensor, x: Tensor) -> Tensor:
    shape = [len(x)] + [1] * (x.dim() - 1)
    shape[axis] = -1
    return signs.view(shape)


def _start(noise: _Noise, shown: Shown, tick: Tick) -> tuple[Tensor, float, Tensor]:
    """log p (n, K) without noise, beta, and variances that balance each layer as a whole."""
    logs, divergence, gradient = [], 0.0, torch.zeros_like(noise.prior)
    log_variance = (NOISE * noise.prior).log().requires_grad_()
    for number, chunk in enumerate(shown.chunks()):
        tick()
        with torch.no_grad():
            logs.append(_log_p(noise.model, chunk))
        with torch.enable_grad():
            found = noise.divergence(logs[-1], chunk, log_variance.exp(), f"start{number}")
            gradient += torch.autograd.grad(found, [log_variance])[0] / shown.count
        divergence += found.item() / shown.count
    beta = max(divergence / noise.weights.sum().item(), LEAST)
    ratio = noise.by_layer(gradient) / noise.by_layer(beta * noise.weights)
    # From few images a flat layer's may even be negative.
    return torch.cat(logs), beta, NOISE * noise.prior / ratio.clamp(min=0.1)


def _minimise(
    noise: _Noise, shown: Shown, log_p: Tensor, beta: float, variance: Tensor, tick: Tick
) -> tuple[Tensor, int]:
    """The variances of the last half of the steps, (steps / 2, F), and the number of steps.

    Averaged as variances: the KL is linear in them, so it is their mean that balances it. L is
    divided by beta, lest Adam's epsilon be felt.
    """
    log_variance = variance.log().requires_grad_()
    if not math.isfinite(beta):
        return torch.full_like(log_variance, torch.nan)[None], 0
    chunks = math.ceil(shown.count / CHUNK)
    passes = 2 * math.ceil(max(STEPS / chunks, 2) / 2)
    steps, step, late = passes * chunks, 0, []
    adam = torch.optim.Adam([log_variance], lr=RATE)
    for _ in range(passes):
        for chunk in shown.chunks():
            tick()
            adam.param_groups[0]["lr"] = RATE * (1 - step / steps)
            with torch.enable_grad():
                v = log_variance.exp()
                divergence = noise.divergence(log_p[chunk.rows], chunk, v, f"step{step}")
                penalty = (noise.weights * (v / noise.prior - log_variance)).sum()
                loss = divergence * (chunks / shown.count / beta) + penalty
                (log_variance.grad,) = torch.autograd.grad(loss, [log_variance])
            adam.step()
            step += 1
            if 2 * step > steps:
                late.append(log_variance.detach().exp())
    return torch.stack(late), steps


def _summary(noise: _Noise, beta: float, variance: Tensor) -> dict[str, Any]:
    traces = [f.sum().item() for f in noise.fisher(beta, variance).split(noise.filters)]
    precisions = [(1 / v).mean().item() for v in variance.split(noise.filters)]
    total = sum(traces)
    layers = [
        {"name": name, "parameters": part.parameter.numel(), "trace": found, "standard_error": None}
        | {"share": found / total if total else None, "share_standard_error": None}
        | {"mean_precision": precision}
        for (name, part), found, precision in zip(noise.layers, traces, precisions, strict=True)
    ]
    errors = {"standard_error": None, "relative_error": None, "relative_error_reached": None}
    return {"trace": total, **errors, "layers": layers}
