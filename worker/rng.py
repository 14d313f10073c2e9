"""Keyed randomness: every draw comes from (seed, purpose, epoch) and nothing is carried along, so
that a checkpoint holds no generator state and a measurement cannot disturb training."""

import hashlib
import math

import torch
from torch import Tensor

# splitmix64 (Steele, Lea, Flood 2014), read at any counter.
_GAMMA, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def key(seed: int, purpose: str, epoch: int = 0) -> int:
    """The first 64 bits of SHA-256 of "seed:purpose:epoch"."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{purpose}:{epoch}".encode()).digest()[:8], "big")


def generator(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """A generator for one purpose in one epoch.

    It lives on the CPU whatever the device, so that draws are the same on every device. torch's
    CPU generator uses the low 32 bits of its seed: two purposes may once in a while draw alike,
    which does no harm.
    """
    return torch.Generator().manual_seed(key(seed, purpose, epoch))


def normals(seed: int, purpose: str, epoch: int, rows: Tensor, size: int) -> Tensor:
    """Standard normal numbers addressed by row: a row's numbers do not depend on the other rows.

    rows (B,) int64, on any device -> (B, size) float32 on the same device. Box-Muller on 24-bit
    halves of splitmix64's output at counter row * ceil(size / 2) + column. Drawn where they are
    used: a data set's worth of noise is never held, nor moved. The integers are the same on every
    device, logarithm and cosine agree to rounding.
    """
    pairs = (size + 1) // 2
    columns = torch.arange(pairs, device=rows.device)
    bits = _splitmix64(key(seed, purpose, epoch), rows[:, None] * pairs + columns)
    radius = (((bits >> 40) & 0xFFFFFF).float() + 0.5).mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
    angle = (bits & 0xFFFFFF).float().mul_(2.0 * math.pi * 2.0**-24)
    both = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    return both[:, :size].contiguous()


def _splitmix64(start: int, counter: Tensor) -> Tensor:
    z = (counter + 1) * _signed(_GAMMA) + _signed(start)
    z = (z ^ _shift_right(z, 30)) * _signed(_MIX_1)
    z = (z ^ _shift_right(z, 27)) * _signed(_MIX_2)
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, n: int) -> Tensor:
    """Shift in zeros: torch has only signed 64-bit integers, whose shift repeats the sign."""
    return (z >> n) & ((1 << (64 - n)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
