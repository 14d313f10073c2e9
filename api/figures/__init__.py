"""Figures: views of an experiment's results, each as data and as a self-contained Vega-Lite spec.

A builder takes `shared.results.Results` and its options, and gives {"data": flat rows, "title",
"vegalite"}. It raises Conflict while there is nothing to draw.
"""

from collections.abc import Callable
from typing import Any

from api.figures import (
    bottleneck,
    critical_period,
    filters,
    fisher_layers,
    fisher_sensitivity,
    fisher_trace,
    gradients,
    information_plane,
    learning_curves,
    plasticity,
    pruning,
    relative_accuracy,
    second_order,
    sensitivity,
)

FIGURES: dict[str, Callable[..., dict[str, Any]]] = {
    "critical_period": critical_period.build,
    "sensitivity": sensitivity.build,
    "relative_accuracy": relative_accuracy.build,
    "learning_curves": learning_curves.build,
    "fisher_trace": fisher_trace.build,
    "fisher_sensitivity": fisher_sensitivity.build,
    "fisher_layers": fisher_layers.build,
    "plasticity": plasticity.build,
    "filters": filters.build,
    "gradients": gradients.build,
    "second_order": second_order.build,
    "information_plane": information_plane.build,
    "bottleneck": bottleneck.build,
    "pruning": pruning.build,
}
NORMALISED = ("fisher_layers",)
"""Those that take a `normalisation`."""
OVERLAID = ("critical_period", "sensitivity", "relative_accuracy")
"""Those over which a digitised curve of the paper can be laid: they take an `overlay`."""
