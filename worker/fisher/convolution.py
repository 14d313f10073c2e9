"""One use of a convolution as a matrix product: `gradient by the weight = sum_t b_t a_t^T`.

a_t is what output position t sees of the input x, b_t the gradient by the output there. Shapes, per
image and group: x (C, U) with U input positions, a (D, T) with D = C times the kernel's size, b
(O, T). Any stride, padding, dilation, groups; one, two or three dimensions.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

Convolutional = nn.Conv1d | nn.Conv2d | nn.Conv3d


class Convolution:
    """x (N, channels, *sides) and b (N, outputs, *places) of one use."""

    def __init__(self, module: nn.Module, x: Tensor, b: Tensor) -> None:
        assert isinstance(module, Convolutional)
        self.module, self.groups = module, module.groups
        widths = module._reversed_padding_repeated_twice
        if module.padding_mode != "zeros" and any(widths):
            x, widths = pad(x, widths, mode=module.padding_mode), [0] * len(widths)
        self.x, self.widths = x.to(b.dtype), widths
        # torch lists (before, after) from the last dimension to the first.
        self.before = widths[-2::-2]
        self.sides, self.places = x.shape[2:], b.shape[2:]
        self.b = b.unflatten(1, (self.groups, -1)).flatten(3)
        self.channels, self.taps = x.shape[1] // self.groups, math.prod(module.kernel_size)
        self.inputs, self.positions = math.prod(self.sides), math.prod(self.places)
        self.columns, self.rows = self.channels * self.taps, self.b.shape[2]

    def by_patches(self, left: Tensor) -> Tensor:
        """sum_t left_t a_t^T. left (N, G, m, T) -> (N, G, m, D)."""
        return left @ self.patches()

    def by_shifts(self, left: Tensor) -> Tensor:
        """The same numbers in another order, by moving `left` about and not x: it is cheaper where
        left has fewer rows than x. left (N, G, m, T) -> (N, G, m * taps, C).

        At input position u and tap o the output position is (u + before - o * dilation) / stride,
        if that is one; so left goes onto a canvas of zeros, `stride` apart.
        """
        module = self.module
        reach = [(k - 1) * d for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        room = [max(0, r - p) for r, p in zip(reach, self.before, strict=True)]
        used = [s * (t - 1) + 1 for s, t in zip(module.stride, self.places, strict=True)]
        axes = list(zip(room, self.before, self.sides, used, strict=True))
        size = [first + max(p + side, n) for first, p, side, n in axes]
        canvas = left.new_zeros(*left.shape[:3], *size)
        placed = [
            slice(first, first + n, s)
            for first, n, s in zip(room, used, module.stride, strict=True)
        ]
        canvas[(..., *placed)] = left.unflatten(3, self.places)  # type: ignore[index]
        steps = canvas.stride()[3:]
        start = [first + p - r for first, p, r in zip(room, self.before, reach, strict=True)]
        view = canvas.as_strided(
            (*left.shape[:3], *module.kernel_size, *self.sides),
            (*canvas.stride()[:3], *_times(steps, module.dilation), *steps),
            sum(_times(steps, start)),
        )
        moved = view.reshape(*left.shape[:2], -1, self.inputs)
        return moved @ self.x.reshape(len(self.x), self.groups, self.channels, -1).mT

    def patches(self) -> Tensor:
        """What each output position sees: (N, G, T, D), channels last in D.

        A strided view, copied once, in runs of channels where x lies in memory that way: torch's
        unfold takes several times as long on the CPU.
        """
        module, x = self.module, self._padded()
        (n, far), (deep, *steps) = (x.shape[0], x.stride(0)), x.stride()[1:]
        view = x.as_strided(
            (n, self.groups, *self.places, *module.kernel_size, self.channels),
            (
                *(far, deep * self.channels),
                *_times(steps, module.stride),
                *_times(steps, module.dilation),
                deep,
            ),
        )
        return view.reshape(n, self.groups, self.positions, -1)

    def _padded(self) -> Tensor:
        return pad(self.x, self.widths) if any(self.widths) else self.x

    def gram(self) -> Tensor:
        """<a_t, a_s>: (N, G, T, T), from inner products of x alone, summed over the taps."""
        module, x = self.module, self._padded()
        sides = x.shape[2:]
        x = x.reshape(len(x), self.groups, self.channels, -1)
        if self.taps == 1 and sides == self.places:
            return x.mT @ x
        inner = (x.mT @ x).unflatten(3, sides).unflatten(2, sides)
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for tap in itertools.product(*map(range, module.kernel_size)):
            starts = _times(list(tap), module.dilation)
            seen = [
                slice(start, start + step * (count - 1) + 1, step)
                for start, step, count in zip(starts, module.stride, self.places, strict=True)
            ]
            total = total + inner[(..., *seen, *seen)]
        return total.reshape(*x.shape[:2], self.positions, self.positions)


class Dense:
    """One use of a linear layer: x (N, ..., D), b (N, ..., O), over whatever axes lie between."""

    def __init__(self, module: nn.Module, x: Tensor, b: Tensor) -> None:
        self.groups, self.taps = 1, 1
        self.x = x.to(b.dtype).reshape(len(x), 1, -1, x.shape[-1]).mT
        self.b = b.reshape(len(b), 1, -1, b.shape[-1]).mT
        (self.columns, self.positions), self.rows = self.x.shape[-2:], self.b.shape[-2]
        self.channels, self.inputs = self.columns, self.positions

    def by_patches(self, left: Tensor) -> Tensor:
        return left @ self.x.mT

    by_shifts = by_patches

    def gram(self) -> Tensor:
        return self.x.mT @ self.x


def _times(steps: list[int] | tuple[int, ...], factors: list[int] | tuple[int, ...]) -> list[int]:
    return [step * factor for step, factor in zip(steps, factors, strict=True)]
