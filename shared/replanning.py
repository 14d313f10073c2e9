"""The plan of an accepted experiment made once more, for one whose plan is lost."""

from typing import Any

from shared import job, names, planning, stored_spec
from shared.errors import Corrupt
from shared.measurements import LaterMeasurements
from shared.plan import Plan
from shared.records import Records
from shared.settings import Settings


def replace(id: str, outcome: str | None, records: Records, settings: Settings) -> None:
    """Corrupt where another plan would come of it than the one that was carried out."""
    made = _made(id, records, settings)
    _check(id, made, outcome, records)
    name = names.experiment_object(id, "plan.json")
    records.store.remove(name)
    records.store.create_json(name, made.model_dump())


def _made(id: str, records: Records, settings: Settings) -> Plan:
    stored = records.store.read_json(names.experiment_object(id, "spec.json"))
    measured = stored.get("measures")
    if measured is None:
        return planning.plan_for(stored_spec.read(id, stored), records, settings, id)
    plan = records.store.read_json(names.experiment_object(measured, "plan.json"))
    spec = records.store.read_json(names.experiment_object(measured, "spec.json"))
    return job.plan_for(
        LaterMeasurements.model_validate(_asked(stored["accepted"])),
        stored_spec.read(measured, spec),
        Plan.model_validate(plan),
        records,
        settings,
    )


def _asked(accepted: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in accepted.items() if name != "measures"}


def _check(id: str, made: Plan, outcome: str | None, records: Records) -> None:
    """A data set's name may mean other arrays by now, and training may have another version."""
    if not planning.is_certain(made):
        raise Corrupt(f"a data set of experiment {id} is not prepared")
    for digest in {config["dataset"]["digest"] for config in made.configs}:
        if not records.store.exists(names.dataset_use(digest, id)):
            raise Corrupt(f"experiment {id} was planned on other data than its data set now has")
    left = made.epochs.new + sum(len(segment.probes) for segment in made.segments)
    if outcome == "succeeded" and left:
        raise Corrupt(f"experiment {id} has succeeded, but by a new plan {left} things are undone")
