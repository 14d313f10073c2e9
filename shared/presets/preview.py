"""What a preset costs before anything is known of this deployment's store, and what it leaves open.

Plans are made of provisional facts: they count as if nothing were stored.
"""

from functools import cache
from typing import Any

from shared import planning
from shared.choices import choices
from shared.errors import NotFound
from shared.plan import Plan
from shared.presets.preset import Json, Preset, spec
from shared.presets.scale import Scale
from shared.records import Records
from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.storage import Storage


class _Empty(Storage):
    """A store in which nothing is: no data set has been prepared."""

    def __init__(self) -> None:
        pass

    def read_json(self, name: str) -> Any:
        raise NotFound(f"{name} is not stored")


def plan(asked: ExperimentSpec) -> Plan:
    """Of a spec on built-in data sets."""
    # No environment: what a deployment allows is looked at when a preset is submitted to it.
    return planning.plan_for(asked, Records(_Empty()), Settings.model_construct())


@cache
def of(name: str, preset: Preset, scale: Scale) -> Json:
    made = plan(ExperimentSpec.model_validate(spec(name, preset, scale)))
    count = made.epochs
    return {
        "plan": {
            "runs": len(made.runs),
            "epochs": {"alone": count.alone, "shared": count.shared},
            "device_seconds": round(made.device_seconds, 1),
        },
        "choices": choices(made),
    }
