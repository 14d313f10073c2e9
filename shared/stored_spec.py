"""An accepted spec as it was stored, by this version or an earlier one."""

from typing import Any

from pydantic import ValidationError

from shared.errors import TooNew
from shared.spec import ExperimentSpec

SCHEMA_VERSION = ExperimentSpec.model_fields["schema_version"].default


def read(id: str, stored: Any) -> ExperimentSpec:
    """TooNew for a version that comes after this program's.

    What was given is read, not what it was filled up to: a field that came since has its default.
    """
    version = stored["given"].get("schema_version", 1)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise TooNew(
            f"Experiment {id} has schema version {version}, and this program reads up to"
            f" {SCHEMA_VERSION}: start a newer one"
        )
    try:
        return ExperimentSpec.model_validate(stored["given"])
    except ValidationError as error:
        raise TooNew(
            f"The spec of experiment {id} is whole, and none that this program accepts: start the"
            f" one that accepted it ({error.error_count()} fields are not as expected)"
        ) from error
