"""A measurement job: measurements of an experiment that exists, as a plan that trains nothing."""

from collections.abc import Iterator

from shared import known, linear_path, planning, probe, sweep, tree
from shared.chain import Manifest, Path, Remembered
from shared.errors import Fault, Invalid
from shared.measurements import PARTS, LaterMeasurements
from shared.partners import among
from shared.plan import Plan, RunPlan
from shared.records import Records
from shared.schedule import Config, Facts, Stretch
from shared.settings import Settings
from shared.spec import ExperimentSpec, RunSpec


def plan_for(
    asked: LaterMeasurements,
    spec: ExperimentSpec,
    plan: Plan,
    records: Records,
    settings: Settings,
    reached: dict[int, int] | None = None,
) -> Plan:
    """The plan of measuring what `plan`, made of `spec`, has trained so far.

    Each run ends with the longest part of it that is stored, so that nothing is new; what lies
    between two checkpoints is replayed. A run keeps its index, and ends at `reached` (run ->
    epoch) where more of it has been stored for others.
    """
    runs = _chosen(asked, plan)
    _check_run_count(runs, settings)
    stored = Remembered(records)
    whole = [_path(run, plan) for run in runs]
    if reached is not None:
        whole = [
            path.model_copy(update={"keys": path.keys[: reached[path.index] + 1]}) for path in whole
        ]
    ways = known.chains(whole, {s.key for s in plan.segments}, stored)
    _check_epochs(asked, max((m.end for chain in ways for m in chain), default=0))
    specs = [point.run for point in sweep.points(spec)]
    paths = [
        _measured(path, chain, asked, specs[path.index // len(spec.seeds)])
        for path, chain in zip(whole, ways, strict=True)
    ]
    wanted = None if asked.runs is None else set(asked.runs)
    if wanted is not None:  # a partner is there to be looked at
        paths = [p if p.index in wanted else p.model_copy(update={"probes": []}) for p in paths]
    ended = {run.index for run, path in zip(runs, paths, strict=True) if run.epochs == path.epochs}
    paths = linear_path.added(paths, asked.linear_path, ended, wanted)
    linear_path.check(asked.linear_path, paths, "has ended")
    made = tree.joined(paths, known.stored_alone(paths, ways, stored), stored)
    _check_cost(made, settings)
    return made


def counts(made: Plan) -> dict[str, int]:
    """Measurements of different states that a plan holds: how many there are already."""
    asked = {(made.scope(run), key, digest) for run in made.runs for _, key, digest in run.probes}
    new = sum(len(segment.probes) for segment in made.segments)
    return {"asked": len(asked), "stored": len(asked) - new, "new": new}


def _chosen(asked: LaterMeasurements, plan: Plan) -> list[RunPlan]:
    if asked.runs is None:
        return plan.runs
    _check_runs(asked.runs, plan)
    chosen = set(asked.runs)
    if asked.linear_path is not None:
        chosen |= {other.index for index, other in among(plan.runs).items() if index in chosen}
    return [plan.runs[run] for run in sorted(chosen)]


def _check_runs(runs: list[int], plan: Plan) -> None:
    last = len(plan.runs) - 1
    faults = [
        Fault(f"/runs/{i}", "no-such-run", f"runs: there is no run {run}: the last one is {last}")
        for i, run in enumerate(runs)
        if run > last
    ]
    if faults:
        raise Invalid(faults[0].message, faults)


def _path(run: RunPlan, plan: Plan) -> Path:
    """As it was planned: of a data set that now goes by this name nothing is asked."""
    segments = [plan.segments[i] for i in run.segments]
    return Path(
        index=run.index,
        scope=plan.scope(run),
        variant=run.variant,
        base=run.base,
        control=run.control,
        point=run.point,
        seed=run.seed,
        config=plan.configs[run.config],
        stretches=[stretch for segment in segments for stretch in segment.stretches],
        windows=run.windows,
        changes=run.changes,
        pruning=run.pruning,
        keys=[segments[0].parent, *(key for segment in segments for key in segment.keys)],
    )


def _measured(path: Path, chain: list[Manifest], asked: LaterMeasurements, run: RunSpec) -> Path:
    """Up to what is stored, with the probes that are asked for on the way."""
    reached = chain[-1].end if chain else 0
    kept = [0, *(manifest.end for manifest in chain)]
    found = probe.probes(asked, run, path.stretches, _facts(path.config), kept)
    return path.model_copy(
        update={
            "keys": path.keys[: reached + 1],
            "stretches": list(_up_to(reached, path.stretches)),
            "probes": [one for one in found if one[0] <= reached],
        }
    )


def _up_to(epoch: int, stretches: list[Stretch]) -> Iterator[Stretch]:
    for stretch in stretches:
        if stretch.start < epoch:
            yield stretch.model_copy(update={"end": min(stretch.end, epoch)})


def _facts(config: Config) -> Facts:
    data = config["dataset"]
    return Facts(
        name=data["name"],
        digest=data["digest"],
        shape=tuple(data["shape"]),
        classes=data["classes"],
        train=data["train_samples"],
        test=data["test_samples"],
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
    )


def _check_run_count(runs: list[RunPlan], settings: Settings) -> None:
    if len(runs) > settings.max_runs:
        planning.refuse(
            "/runs",
            f"{len(runs)} runs are {len(runs) - settings.max_runs} more than the"
            f" {settings.max_runs} allowed (HUBEL_MAX_RUNS): name some of them in 'runs'",
        )


def _check_epochs(asked: LaterMeasurements, reached: int) -> None:
    """Refuse to measure where no run has a state."""
    faults = [
        Fault(
            f"/{name}/epochs/{i}",
            "not-stored",
            f"{name}.epochs: {epoch} is not stored: these runs are stored up to epoch {reached};"
            " ask for that, or wait for more while they are trained",
        )
        for name in PARTS
        for part in (getattr(asked, name),)
        for i, epoch in enumerate(part.epochs if part else [])
        if epoch > reached
    ]
    if faults:
        raise Invalid(faults[0].message, faults)


def _check_cost(made: Plan, settings: Settings) -> None:
    if made.epochs.replayed > settings.max_epochs:
        planning.refuse(
            "",
            f"{made.epochs.replayed} epochs to replay are"
            f" {made.epochs.replayed - settings.max_epochs} more than the {settings.max_epochs}"
            " allowed (HUBEL_MAX_EPOCHS): measure at fewer epochs between checkpoints, or fewer"
            " runs",
        )
    planning.check_cost(made, settings, "")
