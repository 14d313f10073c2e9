"""Which curve of a figure a run lies on, and where: its label, and its window's place in time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.partners import elsewhere, span
from shared.plan import Plan, RunPlan
from shared.results import Row, flat
from shared.spec import Window
from shared.sweep import TWINS

AS_ASKED = "as scheduled"
"""The learning rate of a curve that is no twin, where its twins have panels of their own."""
MODELS = {
    "all_cnn": "All-CNN",
    "resnet18": "ResNet-18",
    "mlp": "MLP",
    "depth_cnn": "depth CNN",
    "deep_linear": "deep linear network",
}


@dataclass(frozen=True)
class Layout:
    """How a plan's runs are laid out: over the removal epoch, or over a sliding window's onset."""

    by_onset: bool
    labels: dict[int, str]
    """run index -> label of its curve"""
    positions: dict[int, int | None]
    """run index -> epoch on the x axis; None: no deficit, where the axis is the onset"""
    bases: dict[int, str]
    """run index -> label of the curve of which this one is a twin; its own where it is none"""

    @property
    def curves(self) -> list[str]:
        """In the order of the plan."""
        return list(dict.fromkeys(self.labels.values()))

    @property
    def epochs(self) -> set[int]:
        """All places on the x axis."""
        return {place for place in self.positions.values() if place is not None}

    @property
    def longest(self) -> int:
        """The latest of them."""
        return max(self.epochs, default=0)

    @property
    def axis(self) -> str:
        return "Deficit begins at epoch" if self.by_onset else "Deficit removed at epoch"


def layout(plan: Plan, by_onset: bool | None = None) -> Layout:
    """`by_onset`: which of the two axes; None: what the plan slides."""
    over = _slides(plan) if by_onset is None else by_onset
    labels, bases = _labels(plan, over)
    if over:
        labels, bases = (_by_length(plan, names) for names in (labels, bases))
    positions = {run.index: _position(run, over) for run in plan.runs}
    return Layout(by_onset=over, labels=labels, positions=positions, bases=bases)


def panel(control: str | None) -> str:
    """Of a figure with a panel for each control."""
    return AS_ASKED if control is None else TWINS[control]


def place(run: RunPlan, layout: Layout) -> Row:
    """The fields that say where a row is drawn."""
    return {
        "curve": layout.labels[run.index],
        "base": layout.bases[run.index],
        "control": run.control,
        "panel": panel(run.control),
        "variant": run.variant,
        "epoch": layout.positions[run.index],
    }


def run_of(
    found: Row, plan: Plan, layout: Layout, fits: Callable[[RunPlan], bool]
) -> RunPlan | None:
    """A run of the curve that an analysis speaks of: of its variant, at its place on the axes that
    are not the deficit's, and of which `fits` is true. None where such runs lie on several curves.
    """
    runs = [
        run
        for run in plan.runs
        if run.variant == found["variant"] and elsewhere(run) == found["point"] and fits(run)
    ]
    return runs[0] if len({layout.labels[run.index] for run in runs}) == 1 else None


def _position(run: RunPlan, by_onset: bool) -> int | None:
    there = span(run)
    if by_onset:
        return there[0] if there else None
    return there[1] if there else 0


def _slides(plan: Plan) -> bool:
    """Whether the windows of some variant differ in where they begin and not in length or end; or
    in fewer lengths than ends, which is a window of several lengths that slides."""
    spans: dict[str | None, set[tuple[int, int]]] = {}
    for run in plan.runs:
        if there := span(run):
            spans.setdefault(run.variant, set()).add(there)
    if any(path.endswith(".length") for run in plan.runs for path in run.point):
        return any(len({start for start, _ in s}) > 1 for s in spans.values())
    return any(_has_slid(s) for s in spans.values())


def _has_slid(windows: set[tuple[int, int]]) -> bool:
    starts, ends = ({window[i] for window in windows} for i in (0, 1))
    lengths = {end - start for start, end in windows}
    return len(starts) > 1 and (1 in (len(lengths), len(ends)) or len(lengths) < len(ends))


def _labels(plan: Plan, by_onset: bool) -> tuple[dict[int, str], dict[int, str]]:
    """Variant, and whatever else of the sweep differs but for the window's place on the x axis; and
    the same with the base in place of a twin."""
    parts = {run.index: _parts(run, by_onset) for run in plan.runs}
    keys = dict.fromkeys(key for part in parts.values() for key in part)
    told = [k for k in keys if len({repr(part.get(k)) for part in parts.values()}) > 1]
    if "variant" in keys and "variant" not in told:
        told.insert(0, "variant")
    whole = deficit_words(plan)

    def label(part: dict[str, Any]) -> str:
        return ", ".join(filter(None, (_words(k, part[k]) for k in told if k in part))) or whole

    twins = {run.index: {"variant": run.base} for run in plan.runs if run.control}
    bases = {index: label(part | twins.get(index, {})) for index, part in parts.items()}
    return {index: label(part) for index, part in parts.items()}, bases


def _by_length(plan: Plan, labels: dict[int, str]) -> dict[int, str]:
    """The labels, with the length where windows that begin together on one curve differ in it. A
    window with a fixed end is a single curve: one length at each onset."""
    spans = {run.index: span(run) for run in plan.runs}
    found: dict[str, set[tuple[int, int]]] = {}
    for index, label in labels.items():
        if there := spans[index]:
            found.setdefault(label, set()).add(there)
    several = {label for label, s in found.items() if len({start for start, _ in s}) < len(s)}
    whole = deficit_words(plan)

    def words(label: str, there: tuple[int, int] | None) -> str:
        if label not in several:
            return label
        if there:
            return f"{label}, length {there[1] - there[0]}"
        return "no deficit" if label == whole else f"{label}, no deficit"

    return {index: words(label, spans[index]) for index, label in labels.items()}


def _parts(run: RunPlan, by_onset: bool) -> dict[str, Any]:
    other = "length" if by_onset else "start"
    parts: dict[str, Any] = {} if run.variant is None else {"variant": run.variant}
    for path, value in run.point.items():
        head, _, last = path.rpartition(".")
        if head.split(".")[0] in ("deficit", "deficits") and last in Window.model_fields:
            if last == other and not (by_onset and last == "start"):
                parts[last] = value
        else:
            parts[path] = _without_window(value)
    return parts


def _without_window(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_window(v) for k, v in value.items() if k not in Window.model_fields}
    if isinstance(value, list):
        return [_without_window(item) for item in value]
    return value


def _words(key: str, value: Any) -> str:
    if key == "variant":
        return str(value)
    if key in ("deficit", "deficits"):
        entries = value if isinstance(value, list) else [value] if value else []
        return " + ".join(describe(entry) for entry in entries)
    return f"{key.rsplit('.', 1)[-1].replace('_', ' ')} {flat(value)}"


def describe(deficit: dict[str, Any]) -> str:
    """A deficit, or a window with one, in words for a reader."""
    name = str(deficit.get("name", "deficit"))
    if name == "blur" and "resolution" in deficit:
        return f"blur to {deficit['resolution']}\u00d7{deficit['resolution']}"
    return name.replace("_", " ")


def deficit_words(plan: Plan) -> str:
    """All deficits of a plan, for a figure with a single curve."""
    found = dict.fromkeys(describe(w) for run in plan.runs for w in run.windows)
    return ", ".join(found) or "no deficit"


def setting(plan: Plan) -> str:
    """What was trained, for a subtitle: All-CNN on cifar10, 3 seeds."""
    models = dict.fromkeys(_model_words(config["model"]) for config in plan.configs)
    data = dict.fromkeys(config["dataset"]["name"] for config in plan.configs)
    return f"{', '.join(models)} on {', '.join(data)}"


def seeds_words(counts: set[int]) -> str:
    low, high = min(counts), max(counts)
    if low == high:
        return "1 seed" if low == 1 else f"{low} seeds"
    return f"{low} to {high} seeds"


def _model_words(model: dict[str, Any]) -> str:
    name = MODELS.get(model["name"], model["name"])
    return name if model.get("width", 1) == 1 else f"{name} (width {model['width']:g})"
