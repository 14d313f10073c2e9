"""Figures: views of an experiment's results, each as data and as a self-contained Vega-Lite spec.

A builder takes `shared.results.Results` and its options, and gives {"data": flat rows, "title",
"vegalite"}. It raises Conflict while there is nothing to draw.
"""

from collections.abc import Callable
from typing import Any

from api.figures import critical_period, fisher_layers, fisher_trace, second_order

FIGURES: dict[str, Callable[..., dict[str, Any]]] = {
    "critical_period": critical_period.build,
    "fisher_trace": fisher_trace.build,
    "fisher_layers": fisher_layers.build,
    "second_order": second_order.build,
}
NORMALISED = ("fisher_layers",)
"""Those that take a `normalisation`."""
