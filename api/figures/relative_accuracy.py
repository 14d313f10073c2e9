"""relative_accuracy."""

from typing import Any

from shared.errors import Conflict
from shared.results import Results


def build(results: Results) -> dict[str, Any]:
    raise Conflict("There is nothing to draw yet")
