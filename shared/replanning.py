"""The plan of an accepted experiment made once more, for one whose plan is lost."""

from typing import Any

from shared import job, names, planning, stored_spec
from shared.errors import Corrupt, NotFound
from shared.measurements import LaterMeasurements
from shared.plan import Plan
from shared.precious import Precious
from shared.records import Records
from shared.settings import Settings

Json = dict[str, Any]

FIRST_NOTED = 1
"""The training version of all that was accepted before a spec said which."""


def replace(id: str, outcome: str | None, records: Records, settings: Settings) -> None:
    """Corrupt where another plan would come of it than the one that was carried out."""
    stored = _stored(id, records)
    made = _made(id, stored, records, settings)
    _check_version(id, made, stored)
    _check(id, made, outcome, records)
    name = names.experiment_object(id, "plan.json")
    Precious(records.store).replace(name, made.model_dump())


def _made(id: str, stored: Json, records: Records, settings: Settings) -> Plan:
    measured = stored.get("measures")
    if measured is None:
        spec = stored_spec.read(id, stored)
        named = None if spec.reuse else _named_by(stored, records)
        return planning.plan_for(spec, records, settings, named or id, again=named is not None)
    return job.plan_for(
        LaterMeasurements.model_validate(_asked(stored["accepted"])),
        stored_spec.read(measured, _stored(measured, records)),
        records.plan(measured),
        records,
        settings,
    )


def _stored(id: str, records: Records) -> Json:
    return Precious(records.store).find(names.experiment_object(id, "spec.json"))


def _named_by(stored: Json, records: Records) -> str | None:
    """The experiment that names runs which share nothing, where that is the one tried again."""
    if stored.get("retries") is None:
        return None
    try:
        scopes = [segment.scope for segment in records.plan(stored["retries"]).segments]
    except NotFound:  # it ended before it was planned
        return None
    return next(map(names.namesake, scopes), None)


def _asked(accepted: Json) -> Json:
    return {name: value for name, value in accepted.items() if name != "measures"}


def _check_version(id: str, made: Plan, stored: Json) -> None:
    """What was trained under another version has other names, and would be in no view any more."""
    then = stored.get("training_version", FIRST_NOTED)
    now = {config["training_version"] for config in made.configs} - {then}
    if now:
        raise Corrupt(
            f"experiment {id} was planned for training version {then}, and this program plans for"
            f" {max(now)}: make its plan again with a program of that version"
        )


def _check(id: str, made: Plan, outcome: str | None, records: Records) -> None:
    """A data set's name may mean other arrays by now."""
    if not planning.is_certain(made):
        raise Corrupt(f"a data set of experiment {id} is not prepared")
    for digest in {config["dataset"]["digest"] for config in made.configs}:
        if not records.store.exists(names.dataset_use(digest, id)):
            raise Corrupt(f"experiment {id} was planned on other data than its data set now has")
    left = made.epochs.new + sum(len(segment.probes) for segment in made.segments)
    if outcome == "succeeded" and left:
        raise Corrupt(f"experiment {id} has succeeded, but by a new plan {left} things are undone")
