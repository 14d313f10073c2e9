"""Spec -> runs: variants, sweep axes and seeds multiplied out."""

import copy
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from shared.errors import Fault, Invalid
from shared.spec import ExperimentSpec, RunSpec

SWEEPABLE = frozenset(RunSpec.model_fields)


@dataclass(frozen=True)
class Point:
    """One point of the sweep: what every seed of it trains."""

    variant: str | None
    values: dict[str, Any]
    run: RunSpec = field(repr=False)


def run_count(spec: ExperimentSpec) -> int:
    count = max(1, len(spec.variants)) * len(spec.seeds)
    for values in spec.sweep.values():
        count *= len(values)
    return count


def points(spec: ExperimentSpec) -> list[Point]:
    """Every combination of a variant and a value of each axis, as a validated run."""
    _check_paths(spec)
    full = spec.model_dump(mode="json", include=set(SWEEPABLE))
    given = spec.model_dump(mode="json", include=set(SWEEPABLE), exclude_unset=True)
    axes = [[(path, value) for value in values] for path, values in spec.sweep.items()]
    out = []
    for variant, setting in spec.variants.items() or [(None, {})]:
        for combination in itertools.product(*axes):
            values = dict(combination)
            out.append(Point(variant, values, _run(given, full, setting | values, variant, values)))
    return out


def _run(
    given: dict[str, Any],
    full: dict[str, Any],
    settings: dict[str, Any],
    variant: str | None,
    values: dict[str, Any],
) -> RunSpec:
    raw = copy.deepcopy(given)
    where = (f"variant '{variant}' " if variant else "") + ", ".join(
        f"{path} = {value!r}"[:120] for path, value in values.items()
    )
    for path, value in settings.items():
        try:
            _set(raw, full, path.split("."), copy.deepcopy(value))
        except LookupError:
            message = f"'{path}' names no field of the spec"
            raise Invalid(message, [Fault("/sweep", "no-such-field", message)]) from None
    try:
        return RunSpec.model_validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        faults = list(_faults(error, where))
        raise Invalid(faults[0].message, faults) from None


def _faults(error: ValidationError, where: str) -> Iterator[Fault]:
    for one in error.errors(include_url=False, include_input=False):
        path = "".join(f"/{part}" for part in one["loc"])
        prefix = f"at {where}: " if where else ""
        yield Fault("/sweep", one["type"], f"{prefix}{path} {one['msg']}".strip())


def _check_paths(spec: ExperimentSpec) -> None:
    named = [(f"/sweep/{path}", path) for path in spec.sweep]
    named += [(f"/variants/{name}/{path}", path) for name, v in spec.variants.items() for path in v]
    for pointer, path in named:
        if path.split(".")[0] not in SWEEPABLE:
            message = f"'{path}' cannot be swept; a path starts with one of {sorted(SWEEPABLE)}"
            raise Invalid(message, [Fault(pointer, "not-sweepable", message)])


def _set(raw: Any, full: Any, path: list[str], value: Any) -> None:
    """Set raw[path] = value. A part that was not given starts from its default in `full`."""
    head, rest = path[0], path[1:]
    if isinstance(raw, list):
        if not head.isdigit() or int(head) >= len(raw):
            raise LookupError(head)
        raw_key: Any = int(head)
        inner = full[raw_key] if isinstance(full, list) and raw_key < len(full) else None
    elif isinstance(raw, dict):
        raw_key = head
        inner = full.get(head) if isinstance(full, dict) else None
    else:
        raise LookupError(head)
    if not rest:
        raw[raw_key] = value
        return
    if isinstance(raw, dict) and raw.get(raw_key) is None:
        if inner is None:
            raise LookupError(head)
        raw[raw_key] = copy.deepcopy(inner)
    _set(raw[raw_key], inner, rest, value)
