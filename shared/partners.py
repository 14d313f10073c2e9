"""Which runs of a plan belong together: the seeds of a point, a curve and its twin, a run with a
deficit and the one without it that it is compared with."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from shared.plan import Plan, RunPlan
from shared.pruning import Pruning
from shared.results import Results
from shared.spec import REGULARISERS, Window

T = TypeVar("T")


class Placed(Protocol):
    """A run that is planned, or about to be."""

    @property
    def index(self) -> int: ...
    @property
    def config(self) -> Any: ...
    @property
    def variant(self) -> str | None: ...
    @property
    def point(self) -> dict[str, Any]: ...
    @property
    def windows(self) -> list[dict[str, Any]]: ...
    @property
    def changes(self) -> list[dict[str, Any]]: ...
    @property
    def pruning(self) -> dict[str, Any]: ...
    @property
    def epochs(self) -> int: ...


R = TypeVar("R", bound=Placed)


def points(plan: Plan) -> list[list[RunPlan]]:
    """The runs of each point of the sweep: its seeds."""
    return grouped(plan.runs, lambda run: point_name(run.variant, run.point))


def point_name(variant: str | None, point: dict[str, Any]) -> str:
    """What is the same for all seeds of a point, and for no other."""
    return repr((variant, point))


def grouped(items: Iterable[T], name: Callable[[T], str]) -> list[list[T]]:
    """Those of one name together, in the order in which they first stand."""
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(name(item), []).append(item)
    return list(groups.values())


def curve(run: RunPlan) -> dict[str, Any]:
    """Which variant a run is of, of which one that is a twin, and what for."""
    base = run.variant if run.base is None else run.base
    return {"variant": run.variant, "base": base, "control": run.control}


# --- the run without the deficit ---


def span(run: Placed) -> tuple[int, int] | None:
    """First epoch with a deficit and first epoch after the last one; None: there is none."""
    windows = acting(run)
    if not windows:
        return None
    return min(w["start"] for w in windows), max(w["end"] for w in windows)


def without_deficit(results: Results, run: RunPlan) -> RunPlan | None:
    """The run that differs from this one in having no deficit: same config, seed included, the
    same changes to it at the same epochs, the same place on every axis of the sweep that is not the
    deficit's, and trained as long.

    As long is: as many epochs in all, or as many after the last window (an empty one counts where
    it stands), which is what `epochs_after_deficit` keeps equal. A run without such a partner has
    no drop.
    """
    alike = [other for other in results.plan.runs if _place(other) == _place(run)]
    return _nearest(alike, run)


def partners(results: Results) -> dict[int, RunPlan]:
    """Run index -> its run `without_deficit`, of all with a deficit that have such a partner."""
    return among(results.plan.runs)


def among(runs: Sequence[R]) -> dict[int, R]:
    """`partners` of runs of which nothing has to be trained yet."""
    clean = grouped([run for run in runs if span(run) is None], _place)
    at_place = {_place(group[0]): group for group in clean}
    found = {run.index: _nearest(at_place.get(_place(run), []), run) for run in runs if span(run)}
    return {index: other for index, other in found.items() if other is not None}


def _nearest(alike: list[R], run: R) -> R | None:
    """Of runs at its place one that was trained as long; of several, first of its own variant,
    then with its empty window where the run's begins, then of the most alike length."""
    long = [
        other
        for other in alike
        if span(other) is None and (other.epochs == run.epochs or recovery(other) == recovery(run))
    ]

    def unlike(other: R) -> tuple[bool, int, int, int]:
        away = abs(_onset(other, run) - _onset(run, run))
        return other.variant != run.variant, away, abs(other.epochs - run.epochs), other.epochs

    return min(long, key=unlike, default=None)


def _onset(run: Placed, other: Placed) -> int:
    """Where its first window begins, an empty one too; without any, where the other's does."""
    windows = deficits(run) or deficits(other)
    return min((int(window["start"]) for window in windows), default=0)


def recovery(run: Placed) -> int:
    """Epochs after the last window."""
    return run.epochs - max((window["end"] for window in deficits(run)), default=0)


def _place(run: Placed) -> str:
    own = deficits(run)
    setting = [w for w in run.windows if w not in own and w["end"] > w["start"]]
    place = [run.config, run.changes, elsewhere(run), setting, pruned(run)]
    return json.dumps(place, sort_keys=True)


def pruned(run: Placed) -> dict[str, Any]:
    """How a run is pruned, but for the epochs: the peak at which two runs are scored may be
    another in each."""
    asked = {name: value for name, value in run.pruning.items() if name not in ("at", "scored_at")}
    return asked | ({"earlier": run.pruning["scored_at"] is not None} if asked else {})


def last_step(run: RunPlan) -> int:
    """Epochs before the last step of a run's pruning; its length where nothing is pruned."""
    return Pruning(**run.pruning).last if run.pruning else run.epochs


def elsewhere(run: Placed) -> dict[str, Any]:
    """The run's place on every axis of the sweep that is not the deficit's."""
    heads = ("deficit", "deficits")
    return {path: value for path, value in run.point.items() if path.split(".")[0] not in heads}


def stimulus(window: dict[str, Any]) -> dict[str, Any]:
    """A window's deficit, without its place in time."""
    return {key: value for key, value in window.items() if key not in Window.model_fields}


def deficits(run: Placed) -> list[dict[str, Any]]:
    """The run's windows, without those on a regulariser where there are others: beside a deficit
    these belong to the setting."""
    return [w for w in run.windows if w["name"] not in REGULARISERS] or run.windows


def acting(run: Placed) -> list[dict[str, Any]]:
    """The run's deficits that are not empty."""
    return [window for window in deficits(run) if window["end"] > window["start"]]
