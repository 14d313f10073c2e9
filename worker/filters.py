"""The weights of the first layer as images, and the spatial frequencies that they look at."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from shared.errors import Invalid

MOST = 64
"""Filters that are kept as images."""
GRID = 32
"""Frequencies in each direction, unless the filter itself is larger."""
CUT = 0.25
"""Cycles per pixel: half of what pixels can hold along an axis."""


def measure(
    model: nn.Module, shape: tuple[int, int, int], tick: Callable[[], None]
) -> dict[str, Any]:
    """Filters of the first convolution or linear layer, in the order in which the network defines
    its layers; images of `shape` (H, W, C).

    `weights` are (n, C, h, w) as in `shape`, flat, the last axis fastest: the kernels of a
    convolution, the rows of a linear layer laid out as the image is. Of the `of` filters there are,
    the 64 of largest norm at most, in the network's order; `indices` are their places in it.

    Over all filters i and their channels c, zero-padded to 32 x 32 (or their own size, if that is
    larger), W_ic the discrete Fourier transform over rows and columns, frequencies in cycles per
    pixel in [-1/2, 1/2):

        P(f) = sum_ic |W_ic(f)|^2,    share = sum_{|f| > 1/4} P(f) / sum_f P(f)

    with |f|^2 = fy^2 + fx^2. |W_ic|^2 is what the filter passes of each frequency: a filter counts
    by its power. Nothing is subtracted first, a mean colour counts as low, and the share stays the
    same under any rotation of the colours. Uncorrelated weights have a flat P and a share of 0.81,
    the part of the plane beyond 1/4; a 3 x 3 mean has 0.19. float64; null where all weights are
    zero.
    """
    tick()
    name, filters = _first_layer(model, shape)
    indices = _largest(filters)
    kept = filters[indices]
    return {
        "layer": name,
        "shape": list(kept.shape),
        "of": len(filters),
        "indices": indices.tolist(),
        "weights": _written(kept),
        "high_frequency_share": _high_frequency_share(filters),
    }


def _first_layer(model: nn.Module, shape: tuple[int, int, int]) -> tuple[str, Tensor]:
    """Its name and filters (n, C, h, w), on the CPU."""
    height, width, channels = shape
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module.weight.detach().cpu()
        if isinstance(module, nn.Linear):
            if module.in_features != channels * height * width:
                raise Invalid(
                    f"the first layer '{name}' takes {module.in_features} numbers, not images of"
                    f" {channels} x {height} x {width}: its weights are no filters"
                )
            rows = module.weight.detach().cpu()
            return name, rows.reshape(-1, channels, height, width)
    raise Invalid("the network has neither a 2-D convolution nor a linear layer: no filters")


def _largest(filters: Tensor) -> Tensor:
    """(n,) int64, ascending; of two alike the first."""
    norms = filters.double().flatten(1).norm(dim=1)
    return norms.argsort(descending=True, stable=True)[:MOST].sort().values


def _written(weights: Tensor) -> list[float]:
    """The shortest numbers that are the same in the weights' precision: half the JSON."""
    return [float(str(weight)) for weight in weights.contiguous().numpy().ravel()]


def _high_frequency_share(filters: Tensor) -> float | None:
    size = [max(GRID, side) for side in filters.shape[2:]]
    blocks = filters.double().split(MOST)  # of a wide linear layer all would be large at once
    power = torch.stack([_power(block, size) for block in blocks]).sum(0)
    fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64) for n in size)
    # Exactly 1/4 is low, on grids on which rounding would say otherwise too.
    high = fy[:, None].square() + fx.square() > CUT**2 + 1e-9
    total = power.sum().item()
    return power[high].sum().item() / total if total else None


def _power(filters: Tensor, size: list[int]) -> Tensor:
    """(n, C, h, w) -> (H, W), summed over filters and channels."""
    return torch.fft.fft2(filters, s=size).abs().square().sum((0, 1))
