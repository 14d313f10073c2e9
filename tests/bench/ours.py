"""Our own estimators, as the product calls them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tests.bench.method import Estimate, Make, Method
from worker import fisher, rng
from worker.fisher import trace
from worker.shown import Shown

SIGNS = {"estimator": "signs", "norms": "sketched", "square_root": "rotated"}


def ours(**asked: Any) -> Make:
    def make(model: nn.Module, images: Tensor) -> Estimate:
        return lambda images, seed: measure(model, images, asked, seed)["trace"]

    return make


def measure(model: nn.Module, images: Tensor, asked: dict[str, Any], seed: int) -> dict[str, Any]:
    asked = {"precision": "float32", "samples": len(images)} | asked
    return fisher.measure(
        model, Shown.of(images), asked, rng.Stream(seed, "bench"), tick=lambda: None
    )


def per_image(model: nn.Module, images: Tensor, asked: dict[str, Any], seed: int) -> Tensor:
    """(n,) float64: each image's own value of the total, whose mean `measure` gives."""
    with listening() as heard:
        measure(model, images, asked, seed)
    return heard[0].sum(1)


@contextmanager
def listening() -> Iterator[list[Tensor]]:
    """What goes into the summary, (n, layers), which the product does not give away."""
    heard: list[Tensor] = []
    summary = trace.summary

    def listen(values: Tensor, *rest: Any) -> dict[str, Any]:
        heard.append(torch.as_tensor(values))
        return summary(values, *rest)

    trace.summary = listen
    try:
        yield heard
    finally:
        trace.summary = summary


BFLOAT16 = SIGNS | {"precision": "bfloat16"}
SYMMETRIC = SIGNS | {"square_root": "symmetric"}
EXACT_NORMS = SIGNS | {"norms": "exact"}

OURS = [
    Method("signs (the default)", "signs", True, ours(**SIGNS), 64),
    Method("signs, bfloat16", "signs", True, ours(**BFLOAT16), 64),
    Method("signs, symmetric root", "signs", True, ours(**SYMMETRIC), 64),
    Method("signs, exact norms", "signs", True, ours(**EXACT_NORMS), 64),
    Method("label", "label", True, ours(estimator="label"), 64),
    Method("exact", "nothing", True, ours(estimator="exact"), 16),
]
