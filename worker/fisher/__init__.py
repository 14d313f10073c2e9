"""The trace of the Fisher information: one file per estimator, chosen by name."""

from collections.abc import Callable
from typing import Any

from torch import nn

from worker import rng
from worker.fisher import empirical, exact, label, signs, variational
from worker.shown import Shown

Estimator = Callable[
    [nn.Module, Shown, dict[str, Any], rng.Stream, Callable[[], None]], dict[str, Any]
]

ESTIMATORS: dict[str, Estimator] = {
    "signs": signs.trace,
    "exact": exact.trace,
    "label": label.trace,
    "variational": variational.trace,
    "empirical": empirical.trace,
}


def measure(
    model: nn.Module,
    shown: Shown,
    asked: dict[str, Any],
    draws: rng.Stream,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """What `asked` names: estimator and its options, precision, and samples or relative_error.

    Trace and standard error in total and for each layer, with each layer's share; the model is left
    as it was. Invalid, by name, for a layer that is not supported.
    """
    return ESTIMATORS[asked["estimator"]](model, shown, asked, draws, tick)
