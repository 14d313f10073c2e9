"""The trace of the Fisher information: one file per estimator, chosen by name."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from worker.fisher import exact, label

Estimator = Callable[[nn.Module, Tensor, torch.Generator, Callable[[], None]], dict[str, Any]]

ESTIMATORS: dict[str, Estimator] = {"label": label.trace, "exact": exact.trace}
