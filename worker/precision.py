"""What a config's `precision` means for the passes of training. The state is float32 in each.

"tf32": a GPU's convolutions and matrix products round their inputs to 10 bits of mantissa and add
up in float32; a processor knows none, and computes it as float32. "bfloat16": convolutions, matrix
products and what lies between them in bfloat16 (8 bits of mantissa), sums in float32; weights,
their gradients and the optimiser in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_BACKENDS = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
)


def in_ieee() -> None:
    """No TF32 in float32: so it is but for the epochs of a config that asks for it."""
    for backend in _BACKENDS:
        backend.fp32_precision = "ieee"


@contextmanager
def rounding(precision: str) -> Iterator[None]:
    """Around forward and backward passes."""
    if precision == "tf32":
        for backend in _BACKENDS:
            backend.fp32_precision = "tf32"
    try:
        yield
    finally:
        in_ieee()


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Around a forward pass alone: its backward pass follows it in each layer. Without a cache: a
    network uses a weight once."""
    return torch.autocast(
        device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False
    )
