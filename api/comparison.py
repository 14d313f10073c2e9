"""Several experiments as one: their runs side by side, each curve named by its experiment."""

from dataclasses import replace
from typing import TYPE_CHECKING

from api import found
from api.figures import curves, series
from shared.errors import Conflict, Fault, Invalid
from shared.plan import Plan, RunPlan, Segment
from shared.probe import Probe
from shared.results import Results, Row
from shared.schedule import Config

if TYPE_CHECKING:
    from api.service import Service

LEAST, MOST = 2, 8


def of(ids: list[str], service: "Service", with_trace: bool = False) -> Results:
    """Their results, joined, in the order of `ids`; those still to be prepared have none."""
    if not LEAST <= len(ids) <= MOST:
        message = f"{len(ids)} experiments are named: give {LEAST} to {MOST}, by id"
        raise Invalid(message, [Fault("/query/experiments", "number-of-experiments", message)])
    all_results = [_results(id, service) for id in ids]
    parts = [one for one in all_results if one.plan.runs]
    if len(parts) < LEAST:
        raise Conflict("There is nothing to compare yet: fewer than two of them have a plan")
    for one in parts if with_trace else []:
        _check_trace(one)
    made = _joined(list(zip(_names(parts), parts, strict=True)))
    if _told_apart(made.plan, parts):
        return made
    return _joined([(one.experiment, one) for one in parts])


def _results(id: str, service: "Service") -> Results:
    if service.accepted(id).measures is not None:
        message = f"{id} is a measurement job: compare the experiment that it measures"
        raise Invalid(message, [Fault("/query/experiments", "measurement-job", message)])
    return found.with_later(id, service, found.results(id, service))


def _check_trace(results: Results) -> None:
    """A figure of the others alone would look as if it were of all."""
    if not any(True for run in results.plan.runs for _ in series.fisher_rows(results, run)):
        raise Conflict(
            f"No Fisher trace of {results.experiment} has been measured: leave it out, or measure"
            f" it (POST /v1/experiments/{results.experiment}/measurements)"
        )


def _names(parts: list[Results]) -> list[str]:
    """Each by its name, or by its id where it has none or shares it."""
    all_names = [one.name for one in parts]
    return [
        one.name if one.name and all_names.count(one.name) == 1 else one.experiment for one in parts
    ]


def _told_apart(plan: Plan, parts: list[Results]) -> bool:
    """Whether no curve has the name of another experiment's: "X: v" may be an experiment, or the
    variant v of one that is called X. Ids begin nobody else's."""
    owners = [one.experiment for one in parts for _ in one.plan.runs]
    variants, labels = [run.variant for run in plan.runs], curves.layout(plan).labels.values()
    return all(
        len(set(zip(names, owners, strict=True))) == len(set(names)) for names in (variants, labels)
    )


def _joined(parts: list[tuple[str, Results]]) -> Results:
    plans = [results.plan for _, results in parts]
    runs: list[RunPlan] = []
    segments: list[Segment] = []
    configs: list[Config] = []
    probes: dict[str, Probe] = {}
    complete: set[int] = set()
    later: set[tuple[int, int, str]] = set()
    for place, (name, results) in enumerate(parts):
        plan = results.plan
        before = (len(runs), len(segments), len(configs))
        runs += [_run(run, name, *before) for run in plan.runs]
        segments += [_segment(segment, place, before[2]) for segment in plan.segments]
        configs += plan.configs
        probes |= plan.probes
        complete |= {index + before[1] for index in results.whole or ()}
        later |= {(run + before[0], epoch, digest) for run, epoch, digest in results.later}
    whole = Plan(
        configs=configs,
        probes=probes,
        segments=segments,
        runs=runs,
        epochs=plans[0].epochs,
        device_seconds=sum(plan.device_seconds for plan in plans),
    )
    first = parts[0][1]

    def trained(segment: Segment) -> list[Row] | None:
        results, scope = owner(segment.scope)
        return results.trained(segment.model_copy(update={"scope": scope}))

    def measured(scope: str, key: str, digest: str) -> Row | None:
        results, scope = owner(scope)
        return results.measured(scope, key, digest)

    def owner(scope: str) -> tuple[Results, str]:
        place, _, scope = scope.partition(" ")
        return parts[int(place)][1], scope

    return replace(
        first,
        plan=whole,
        name=" and ".join(name for name, _ in parts),
        trained=trained,
        measured=measured,
        is_done=None,
        whole=frozenset(complete),
        later=frozenset(later),
    ).remembering()


def _run(run: RunPlan, name: str, runs: int, segments: int, configs: int) -> RunPlan:
    def named(variant: str | None) -> str:
        return f"{name}: {variant}" if variant else name

    return run.model_copy(
        update={
            "index": run.index + runs,
            "variant": named(run.variant),
            "base": named(run.variant if run.base is None else run.base),
            "config": run.config + configs,
            "segments": [index + segments for index in run.segments],
        }
    )


def _segment(segment: Segment, place: int, configs: int) -> Segment:
    """Each experiment has its own: of one state that two of them share, one may know and one that
    was cancelled before does not."""
    scope = f"{place} {segment.scope}"
    return segment.model_copy(update={"scope": scope, "config": segment.config + configs})
