"""The spec of a run with what a fork sets in it, and every fault in it said of the fork."""

import contextlib
import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from shared import continued, sweep
from shared.errors import Fault, Invalid
from shared.faults import body_faults, pointer
from shared.schedule import timeline, under, whole_settings
from shared.spec import ExperimentSpec, RunSpec
from shared.training import ChangedOptimizer

if TYPE_CHECKING:
    from shared.fork import Fork

CHANGEABLE = ("optimizer", "schedule", "batch_size", "augmentation")
RESTARTS = ("learning_rate_restart", "optimizer_restart")
WHOLE = ("schedule", "augmentation")
"""Parts of a change that stand in it whole, whatever of them is other."""

Json = dict[str, Any]


class Rewriting:
    """`run` is the spec of the run; `sweep` and `variants` are the fork's, with paths of a spec."""

    def __init__(self, asked: "Fork", old: RunSpec) -> None:
        self.asked, self._old, self._epoch = asked, old, asked.epoch
        self._asked_as: dict[str, str] = {}
        self.run: Json = old.model_dump(mode="json", exclude_unset=True)
        in_variants = [path for setting in asked.variants.values() for path in setting]
        self._prepare([*asked.set, *asked.sweep, *in_variants])
        self.set = self._setting(asked.set, ("set",))
        for path, value in self.set.items():
            self._put(path, value)
        self.sweep = self._axes(asked.sweep)
        self.variants = {
            name: self._setting(setting, ("variants", name))
            for name, setting in asked.variants.items()
        }

    @contextlib.contextmanager
    def blaming(self) -> Iterator[None]:
        """What is refused inside of the new spec is said of the fork's own fields."""
        try:
            yield
        except Invalid as error:
            faults = [replace(fault, pointer=self._place(fault)) for fault in error.faults]
            raise Invalid(error.detail, faults) from None

    def validated(self, raw: Json) -> ExperimentSpec:
        try:
            return ExperimentSpec.model_validate_json(json.dumps(raw), strict=True)
        except ValidationError as error:
            faults = body_faults(error.errors(include_url=False), raw, ExperimentSpec)
            raise Invalid(faults[0].message, faults) from None

    # --- the run, ready for what is set in it ---

    def _prepare(self, paths: list[str]) -> None:
        training = self.run["training"]
        for field, epochs in self._lengths().items():
            if f"training.{field}" in paths:
                training.pop("epochs", None)
                training.pop("epochs_after_deficit", None)
                training[field] = epochs
        end = self.asked.set.get("training.epochs")
        if isinstance(end, int) and training.get("changes"):  # what a shorter run never comes to
            training["changes"] = [one for one in training["changes"] if one["at"] < end]
        if any(path.split(".")[0] == "deficits" or path == "deficit" for path in paths):
            given = self.run.pop("deficit", None)
            self.run["deficits"] = [given] if given else self.run.get("deficits", [])
        changing = [path.split(".") for path in paths if self._is_on_the_way(path)]
        explicit = [path for path in paths if path.startswith("training.changes")]
        if changing and explicit:
            message = f"give '{explicit[0]}' or '{'.'.join(changing[0])}', not both"
            raise _refused(["set"], "said-twice", message)
        if changing:
            self._prepare_change([parts[1] for parts in changing if len(parts) > 2])

    def _lengths(self) -> dict[str, int]:
        last = max((window.epochs.stop for window in self._old.windows), default=0)
        total = self._old.total_epochs
        return {"epochs": total, "epochs_after_deficit": total - last}

    def _prepare_change(self, parts: list[str]) -> None:
        """A change at the fork's epoch, in which what is set in part stands whole."""
        changes = self.run["training"].setdefault("changes", [])
        self._index = sum(change["at"] < self._epoch for change in changes)
        if not any(change["at"] == self._epoch for change in changes):
            changes.insert(self._index, {"at": self._epoch, "set": {}})
        known = whole_settings(self._old.training)
        for stretch in timeline(self._old):
            if stretch.start <= self._epoch:
                now = under(known, stretch)
        for part in WHOLE:
            if part in parts:
                changes[self._index]["set"].setdefault(part, now[part])

    # --- paths ---

    def _setting(self, setting: Json, place: tuple[str, ...]) -> Json:
        made: Json = {}
        for path, value in setting.items():
            written = self._written(path, [value], (*place, path), made)
            made[written] = self._value(path, value, (*place, path))
        return made

    def _axes(self, axes: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made: dict[str, list[Any]] = {}
        for path, values in axes.items():
            place = ("sweep", path)
            written = self._written(path, values, place, made)
            made[written] = [self._value(path, v, (*place, i)) for i, v in enumerate(values)]
        return made

    def _written(
        self, path: str, values: list[Any], place: Sequence[str], before: Iterable[str]
    ) -> str:
        """The path as the new spec has it; `before` are those that stand before it there."""
        parts = path.split(".")
        if parts[0] not in sweep.SWEEPABLE:
            raise _refused(
                place,
                "not-of-a-run",
                f"'{path}' is not of a run: a path starts with one of {sorted(sweep.SWEEPABLE)};"
                " seeds, names and measurements stand beside 'set'",
            )
        written = path
        if path == "deficit":
            written = "deficits"
        elif parts[0] == "deficit" and len(self.run.get("deficits") or []) == 1:
            written = ".".join(["deficits", "0", *parts[1:]])
        elif self._changes(path, values):
            self._check_optimizer(path, parts, place)
            written = ".".join(["training", "changes", str(self._index), "set", *parts[1:]])
        self._check_once(path, written, place, before)
        self._asked_as[written] = path
        return written

    def _check_once(
        self, path: str, written: str, place: Sequence[str], before: Iterable[str]
    ) -> None:
        """Refuse what undoes a path before it, and a window of those that were just given: its
        number counts the old ones too."""
        for other in before:
            windows = other == "deficits" and written.startswith("deficits.")
            if windows or f"{other}.".startswith(f"{written}."):
                message = f"'{self._asked_as[other]}' and '{path}' set the same: give one of them"
                raise _refused(place, "said-twice", message)

    def _value(self, path: str, value: Any, place: Sequence[str | int]) -> Any:
        if path == "deficit" and value is not None:
            return continued.windows(self._old.windows, self._epoch, [value], place)
        if path in ("deficit", "deficits"):
            return continued.windows(self._old.windows, self._epoch, value, place)
        field = path.removeprefix("training.")
        if self._epoch == 0 and field in RESTARTS and isinstance(value, bool):
            return getattr(self._old.training, field)  # there all starts anyway
        return value

    def _changes(self, path: str, values: list[Any]) -> bool:
        """Whether what is set becomes a change: "at_removal" is not one, and true is."""
        restarts = path.split(".")[-1] in RESTARTS
        are_true = all(isinstance(value, bool) for value in values)
        return self._is_on_the_way(path) and (are_true or not restarts)

    def _is_on_the_way(self, path: str) -> bool:
        """Whether it is of what may change on the way. At epoch 0 there was no way yet."""
        parts = path.split(".")
        known = parts[0] == "training" and len(parts) > 1 and parts[1] in (*CHANGEABLE, *RESTARTS)
        return known and self._epoch > 0

    def _check_optimizer(self, path: str, parts: list[str], place: Sequence[str]) -> None:
        can = list(ChangedOptimizer.model_fields)
        if parts[1] == "optimizer" and (len(parts) != 3 or parts[2] not in can):
            raise _refused(
                place,
                "cannot-change",
                f"'{path}' cannot change on the way: of the optimizer {', '.join(can)} can, each by"
                " its own path",
            )

    def _put(self, path: str, value: Any) -> None:
        try:
            sweep.put(self.run, sweep.DEFAULTS, path.split("."), copy.deepcopy(value))
        except LookupError as error:
            asked = self._asked_as[path]
            message = f"'{asked}' names no field of the spec: {error}"
            raise _refused(("set", asked), "unknown-field", message) from None

    def _place(self, fault: Fault) -> str:
        """Where in the fork stands what is refused in its spec."""
        parts = [p.replace("~1", "/").replace("~0", "~") for p in fault.pointer.split("/")[1:]]
        written = [self._asked_as.get(part, part) for part in parts]
        if parts and parts[0] in self.asked.model_fields_set:
            return pointer(written)
        said = {path: pointer(("set", self._asked_as[path])) for path in self.set}
        only = next(iter(said.values())) if len(said) == 1 else "/set"
        return sweep.blamed(fault, said, only)


def _refused(place: Sequence[str | int], code: str, message: str) -> Invalid:
    return Invalid(message, [Fault(pointer(place), code, message)])
