"""What notebooks and scripts import: `from hubel import Client`, and the parts of a spec by name,
as in `from hubel import ExperimentSpec, Blur`."""

from typing import TYPE_CHECKING, Any

from api.sdk.client import Client
from api.sdk.errors import ExperimentFailed, ServiceError, needed
from api.sdk.experiment import Experiment

if TYPE_CHECKING:
    from shared.measurements import *  # noqa: F403
    from shared.spec import *  # noqa: F403

__all__ = ["Client", "Experiment", "ExperimentFailed", "ServiceError"]


def __getattr__(name: str) -> Any:
    """A model of the spec, which needs pydantic: dicts and presets do without."""
    if not name.startswith("_"):
        found = getattr(needed("shared.spec"), name, None) or getattr(
            needed("shared.measurements"), name, None
        )
        if isinstance(found, type) and issubclass(found, needed("shared.part").Part):
            return found
    raise AttributeError(f"hubel has no {name!r}: models of the spec stand in shared/spec.py")
