"""Figures: views of an experiment's results, each as data and as a self-contained Vega-Lite spec.

A builder takes `shared.results.Results` and gives {"data": flat rows, "title", "vegalite"}. It
raises Conflict while there is nothing to draw.
"""

from collections.abc import Callable
from typing import Any

from api.figures import critical_period, fisher_trace
from shared.results import Results

FIGURES: dict[str, Callable[[Results], dict[str, Any]]] = {
    "critical_period": critical_period.build,
    "fisher_trace": fisher_trace.build,
}
