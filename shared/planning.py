"""An accepted spec and the store -> its plan, with every limit and every data set looked at."""

from collections.abc import Collection

from shared import cost, linear_path, names, probe, sweep, tree
from shared.chain import Manifest, Path
from shared.errors import Fault, Invalid
from shared.facts import lookup, provisional
from shared.plan import Plan
from shared.records import Records
from shared.schedule import (
    Facts,
    changes,
    check_against,
    config,
    keys,
    prunings,
    timeline,
)
from shared.settings import Settings
from shared.spec import ExperimentSpec, RunSpec
from shared.storage import Storage
from shared.sweep import Point


def plan_for(
    spec: ExperimentSpec,
    records: Records,
    settings: Settings,
    experiment: str | None = None,
    again: bool = False,
) -> Plan:
    """The plan of what a spec asks for, given what the store holds now.

    Where a data set is not prepared yet, its keys are not known: the plan then stands for how much
    there is to do, and `is_certain` is False. `experiment` names the runs of a spec without reuse;
    `again`: another experiment has trained under that name before.
    """
    check_run_count(spec, settings)
    points = sweep.points(spec)
    _check_epoch_count(spec, points, settings)
    known = _facts(points, records.store)
    for point in points:
        check_against(point.run, known[point.run.dataset.name])
        _check_memory(point.run, known[point.run.dataset.name], settings)
    paths = [
        _path(spec, index, point, known[point.run.dataset.name], seed, experiment)
        for index, (point, seed) in enumerate((p, s) for p in points for s in spec.seeds)
    ]
    paths = linear_path.added(paths, spec.linear_path)
    linear_path.check(spec.linear_path, paths)
    looks = (spec.reuse or again) and all(f.digest for f in known.values())
    made = tree.make(paths, records if looks else _Nothing())
    check_cost(made, settings)
    return made


def is_certain(made: Plan) -> bool:
    """Whether the keys are real ones: every data set has been prepared."""
    return all(config["dataset"]["digest"] for config in made.configs)


def unprepared(spec: ExperimentSpec, store: Storage) -> list[str]:
    wanted = sorted({point.run.dataset.name for point in sweep.points(spec)})
    return [name for name in wanted if lookup(name, store) is None]


class _Nothing:
    """A store that holds nothing of this."""

    def manifest(self, scope: str, key: str) -> Manifest | None:
        return None

    def covering(self, scope: str, key: str) -> str | None:
        return None

    def begun(self, scope: str, key: str) -> bool:
        return False

    def probed(self, scope: str, key: str) -> Collection[str]:
        return ()


def _facts(points: list[Point], store: Storage) -> dict[str, Facts]:
    wanted = {point.run.dataset.name for point in points}
    return {name: facts(name, store) for name in wanted}


def facts(name: str, store: Storage) -> Facts:
    return lookup(name, store) or provisional(name)


def _path(
    spec: ExperimentSpec, index: int, point: Point, facts: Facts, seed: int, experiment: str | None
) -> Path:
    run = point.run
    stretches = timeline(run)
    settings = config(run, facts, seed)
    kept = spec.checkpoints
    return Path(
        index=index,
        scope="" if spec.reuse else names.alone(experiment or "0" * 24, str(index)),
        variant=point.variant,
        base=point.base,
        control=point.control,
        point=point.values,
        seed=seed,
        config=settings,
        stretches=stretches,
        windows=[w.model_dump() | {"end": w.epochs.stop} for w in run.windows],
        changes=changes(run),
        pruning=run.pruning.model_dump() if run.pruning else {},
        keys=keys(settings, stretches),
        probes=probe.probes(spec, run, stretches, facts),
        checkpoints=sorted(
            {step["scored_at"] for step in prunings(run).values() if "scored_at" in step}.union(
                probe.asked_epochs(kept.every, kept.epochs, run.total_epochs) if kept else []
            )
        ),
    )


def check_run_count(spec: ExperimentSpec, settings: Settings) -> None:
    count = sweep.run_count(spec)
    if count > settings.max_runs:
        axes = {path: len(values) for path, values in spec.sweep.items()}
        refuse(
            "/sweep",
            f"{count} runs ({len(spec.variants) or 1} variants x {axes} x {len(spec.seeds)} seeds)"
            f" are {count - settings.max_runs} more than the {settings.max_runs} allowed"
            " (HUBEL_MAX_RUNS): split the experiment",
        )


def _check_epoch_count(spec: ExperimentSpec, points: list[Point], settings: Settings) -> None:
    epochs = len(spec.seeds) * sum(point.run.total_epochs for point in points)
    if epochs > settings.max_epochs:
        refuse(
            "/training",
            f"{epochs} epochs are {epochs - settings.max_epochs} more than the"
            f" {settings.max_epochs} allowed for one experiment (HUBEL_MAX_EPOCHS): split it",
        )


def _check_memory(run: RunSpec, facts: Facts, settings: Settings) -> None:
    samples = run.dataset.train_samples or facts.train
    asked = [change.set.batch_size or 0 for change in run.training.changes]
    batch = min(max(run.training.batch_size, *asked, 0), samples)
    optimizer = run.training.optimizer.name
    needed = cost.memory(run.model.keyed(), facts.shape, facts.classes, optimizer, batch)
    total, allowed = sum(needed), settings.max_model_bytes
    if total > allowed:
        high, wide, channels = facts.shape
        refuse(
            "/model",
            f"{run.model.name} of width {run.model.width:g} on images of {high}x{wide}x{channels}"
            f" takes about {_gigabytes(needed.state)} for weights and {optimizer}'s moments and"
            f" {_gigabytes(needed.batch)} for a batch of {batch}: {_gigabytes(total - allowed)}"
            f" more than the {_gigabytes(allowed)} allowed (HUBEL_MAX_MODEL_BYTES): make the width"
            " or the batch smaller",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2g} GB"


def check_cost(made: Plan, settings: Settings, pointer: str = "/training") -> None:
    hours = made.device_seconds / 3600
    if hours > settings.max_device_hours:
        refuse(
            pointer,
            f"about {hours:.3g} device hours are {hours - settings.max_device_hours:.3g} more than"
            f" the {settings.max_device_hours:g} allowed (HUBEL_MAX_DEVICE_HOURS)",
        )


def refuse(pointer: str, message: str) -> None:
    raise Invalid(message, [Fault(pointer, "over-the-limit", message)])
