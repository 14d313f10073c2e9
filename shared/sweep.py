"""Spec -> runs: variants, sweep axes and seeds multiplied out."""

import copy
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import rfc8785
from pydantic import ValidationError

from shared.errors import Fault, Invalid
from shared.faults import body_faults, pointer
from shared.measurements import PARTS
from shared.schedule import changes
from shared.spec import ExperimentSpec, RunSpec

SWEEPABLE = frozenset(RunSpec.model_fields)
DEFAULTS = RunSpec.model_validate({"training": {"epochs": 1}}).model_dump(mode="json")
MAX_SHOWN = 120
TWINS = {"restart": "rate restarted", "constant": "constant rate"}
"""Control -> what a curve under it is called."""


@dataclass(frozen=True)
class Point:
    """One point of the sweep: what every seed of it trains."""

    variant: str | None
    values: dict[str, Any]
    run: RunSpec = field(repr=False)
    base: str | None = None
    """The variant of which this one is a twin."""
    control: str | None = None
    """What the twin controls for: "restart" or "constant"; None: it is no twin."""


@dataclass(frozen=True)
class Curve:
    """What all points of one variant, or of its twin, have in common."""

    label: str | None
    setting: Mapping[str, Any]
    twin: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None
    control: str | None = None


def run_count(spec: ExperimentSpec) -> int:
    count = max(1, len(spec.variants)) * (1 + len(_twins(spec))) * len(spec.seeds)
    for values in spec.sweep.values():
        count *= len(values)
    return count


def points(spec: ExperimentSpec) -> list[Point]:
    """Every combination of a variant and a value of each axis, as a validated run."""
    _check_paths(spec)
    _check_axes(spec)
    given = spec.model_dump(mode="json", include=set(SWEEPABLE), exclude_unset=True)
    axes = [[(path, value) for value in values] for path, values in spec.sweep.items()]
    out = []
    for curve in _curves(spec):
        for combination in itertools.product(*axes):
            values = dict(combination)
            run = _run(given, curve, values)
            _check_constant(curve, run)
            out.append(Point(curve.label, values, run, curve.base, curve.control))
    _check_points_differ(out)
    check_epochs(spec, out)
    return out


def _curves(spec: ExperimentSpec) -> list[Curve]:
    """The variants, each followed by its twins."""
    twins = _twins(spec)
    curves = []
    for variant, setting in spec.variants.items() or [(None, {})]:
        base = variant if variant is not None or not twins else _unnamed(spec)
        curves.append(Curve(base, setting, base=base))
        for control, twin in twins.items():
            name = TWINS[control] if variant is None else f"{base}, {TWINS[control]}"
            curves.append(Curve(name, setting, twin, base, control))
    _check_names_differ(curves)
    return curves


def _twins(spec: ExperimentSpec) -> dict[str, dict[str, Any]]:
    """Control -> what it sets, as {dotted path: value}."""
    asked = spec.controls
    twins: dict[str, dict[str, Any]] = {}
    if asked.restart:
        twins["restart"] = {"training.learning_rate_restart": "at_removal"}
    if asked.constant is not None:
        twins["constant"] = {
            "training.schedule": {"name": "constant"},
            "training.optimizer.learning_rate": asked.constant,
        }
    return twins


def _unnamed(spec: ExperimentSpec) -> str:
    training = spec.training
    falls = training.schedule.name == "exponential" and training.learning_rate_restart == "never"
    return "annealed" if falls else "as scheduled"


def _check_names_differ(curves: list[Curve]) -> None:
    names = [curve.label for curve in curves]
    for curve in curves:
        if curve.control and names.count(curve.label) > 1:
            message = f"the twin '{curve.label}' has the name of a variant: rename the variant"
            raise Invalid(message, [Fault("/controls", "repeated", message)])


def _check_constant(curve: Curve, run: RunSpec) -> None:
    """A change on the way would undo what this twin controls for."""
    changing = [c.at for c in run.training.changes if c.set.sets_rate]
    if curve.control == "constant" and changing:
        message = (
            f"training.changes sets the learning rate at epoch {changing[0]}: there is no twin of a"
            " constant rate; leave out controls.constant"
        )
        raise Invalid(message, [Fault("/controls/constant", "rate-changes", message)])


def check_epochs(spec: ExperimentSpec, points: Sequence[Point]) -> None:
    """Refuse to measure or keep what no run of the experiment reaches."""
    longest = max(point.run.total_epochs for point in points)
    faults = [
        Fault(
            f"/{name}/epochs/{i}",
            "after-the-end",
            f"{name}.epochs: {epoch} lies after the end: the longest run has {longest} epochs",
        )
        for name in (*PARTS, "checkpoints")
        for part in (getattr(spec, name),)
        for i, epoch in enumerate(part.epochs if part else [])
        if epoch > longest
    ]
    if faults:
        raise Invalid(faults[0].message, faults)


# --- one run -------------------------------------------------------------------------------


def _run(given: dict[str, Any], curve: Curve, values: Mapping[str, Any]) -> RunSpec:
    raw = copy.deepcopy(given)
    pointers = dict.fromkeys(curve.twin, "/controls")
    pointers |= {path: pointer(("variants", curve.base or "", path)) for path in curve.setting}
    pointers |= {path: pointer(("sweep", path)) for path in values}
    # One after the other, the twin's last: nothing may undo what it controls for.
    for path, value in [*curve.setting.items(), *values.items(), *curve.twin.items()]:
        try:
            put(raw, DEFAULTS, path.split("."), copy.deepcopy(value))
        except LookupError as error:
            message = f"'{path}' names no field of the spec: {error}"
            raise Invalid(message, [Fault(pointers[path], "unknown-field", message)]) from None
    try:
        return RunSpec.model_validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        whole = "/sweep" if values else pointer(("variants", curve.base or ""))
        place = _place(curve.label, values)
        faults = [
            Fault(blamed(fault, pointers, whole), fault.code, f"at {place}: {fault.message}")
            for fault in body_faults(error.errors(include_url=False), raw, RunSpec)
        ]
        raise Invalid(faults[0].message, faults) from None


def blamed(fault: Fault, pointers: Mapping[str, str], whole: str) -> str:
    """The setting that lies nearest to where the fault is; `whole` where none is near."""
    location = fault.pointer.split("/")[1:]
    near = {path: _shared(location, path.split(".")) for path in pointers}
    nearest = max(near, key=near.__getitem__)
    return pointers[nearest] if near[nearest] else whole


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts two locations begin with together."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _place(variant: str | None, values: Mapping[str, Any]) -> str:
    named = [] if variant is None else [f"variant '{variant}'"]
    return ", ".join(named + [f"{path} = {_shown(value)}" for path, value in values.items()])


def _shown(value: Any) -> str:
    return json.dumps(value)[:MAX_SHOWN]


def put(raw: Any, default: Any, path: list[str], value: Any) -> None:
    """Set raw[path] = value. A part that was not given starts with the name of its default and
    nothing else of it, so that another name brings defaults of its own."""
    head, rest = path[0], path[1:]
    key = _index(raw, head) if isinstance(raw, list) else head
    if not rest:
        raw[key] = value
        return
    inner = default.get(head) if isinstance(default, dict) else None
    if isinstance(raw, dict) and raw.get(key) is None:
        raw[key] = _start(inner)
    if not isinstance(raw[key], dict | list):
        raise LookupError(f"'{head}' has no fields")
    put(raw[key], inner, rest, value)


def _start(default: Any) -> Any:
    if isinstance(default, dict):
        return {"name": default["name"]} if "name" in default else {}
    return {} if default is None else copy.copy(default)


def _index(entries: list[Any], text: str) -> int:
    for i in range(len(entries)):
        if text == str(i):
            return i
    raise LookupError(f"'{text}' is no place in a list of {len(entries)}, counted from 0")


# --- what is refused before or after -------------------------------------------------------


def _check_paths(spec: ExperimentSpec) -> None:
    named = [["sweep", path] for path in spec.sweep]
    named += [["variants", name, path] for name, v in spec.variants.items() for path in v]
    for *place, path in named:
        if path.split(".")[0] not in SWEEPABLE:
            message = f"'{path}' cannot be swept; a path starts with one of {sorted(SWEEPABLE)}"
            raise Invalid(message, [Fault(pointer([*place, path]), "not-sweepable", message)])


def _check_axes(spec: ExperimentSpec) -> None:
    """A value that stands twice would count each seed twice. 1 and 1.0 are one value."""
    for path, values in spec.sweep.items():
        seen: set[bytes] = set()
        for value in values:
            meaning = rfc8785.dumps(value)
            if meaning in seen:
                message = (
                    f"'{path}' has the value {_shown(value)} twice: to repeat it, give more seeds"
                )
                raise Invalid(message, [Fault(pointer(("sweep", path)), "repeated", message)])
            seen.add(meaning)


def _check_points_differ(points: Sequence[Point]) -> None:
    """Two points of one curve that train the same would pass for twice as many seeds."""
    first: dict[tuple[str | None, bytes], Point] = {}
    for point in points:
        other = first.setdefault((point.variant, _meaning(point.run)), point)
        if other is not point:
            places = f"{_place(None, other.values)} and {_place(None, point.values)}"
            message = f"two points of the sweep are the same run: {places}"
            if point.control:
                message += f", in the twin '{point.variant}', which sets the rate itself"
            where = "/controls" if point.control else "/sweep"
            raise Invalid(message, [Fault(where, "repeated", message)])


def _meaning(run: RunSpec) -> bytes:
    """The same for `end` and `length`, `deficit` and `deficits`, and both lengths of training."""
    windows = [w.model_dump(exclude={"length"}) | {"end": w.epochs.stop} for w in run.windows]
    training = run.training.model_dump(exclude={"epochs_after_deficit"})
    training["changes"] = changes(run)
    rest = run.model_dump(include={"dataset", "model", "pruning"})
    return rfc8785.dumps(
        rest | {"windows": windows, "training": training | {"epochs": run.total_epochs}}
    )
