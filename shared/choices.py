"""What the paper leaves open, and what an experiment chose: said beside its results.

Each is a field of the spec. What is recommended, and why, stands here once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from shared.partners import acting, recovery, span
from shared.plan import Plan
from shared.probe import ACCURACY, FISHER
from shared.rows import words


@dataclass(frozen=True)
class Question:
    path: str
    """Of the field that switches it; `*` is any window."""
    asks: str
    recommended: Any
    why: str
    chosen: Callable[[Plan], Iterator[Any]]
    """Every value among the plan's runs; nothing where the question does not arise."""


def choices(plan: Plan) -> list[dict[str, Any]]:
    """Each open question that this experiment answers, with all the values it has for it."""
    found = ((question, _distinct(question.chosen(plan))) for question in QUESTIONS)
    return [
        {
            "path": question.path,
            "question": question.asks,
            "chosen": values,
            "recommended": question.recommended,
            "why": question.why,
        }
        for question, values in found
        if values
    ]


def _distinct(values: Iterator[Any]) -> list[Any]:
    out: list[Any] = []
    for value in values:
        if value not in out:
            out.append(value)
    return out


def _config(part: str, name: str, field: str, default: Any = None) -> Callable[[Plan], Any]:
    """Of one kind of model or optimiser; `default` where keys leave the field out."""

    def chosen(plan: Plan) -> Iterator[Any]:
        changed = (c.get("settings", {}) for run in plan.runs for c in run.changes)
        for config in (*plan.configs, *changed):
            if part in config and config[part]["name"] == name:
                yield config[part].get(field, default)

    return chosen


def _window(name: str, field: str, default: Any = None) -> Callable[[Plan], Any]:
    return lambda plan: (
        window.get(field, default)
        for run in plan.runs
        for window in run.windows
        if window["name"] == name and window["end"] > window["start"]
    )


def _restarts(field: str) -> Callable[[Plan], Any]:
    """Only where a deficit ends before the run does."""

    def chosen(plan: Plan) -> Iterator[str]:
        for run in plan.runs:
            ends = {window["end"] for window in acting(run)}
            if min(ends, default=run.epochs) < run.epochs:
                parts = (plan.segments[index].stretches for index in run.segments)
                # Those that `training.changes` asks for are of no removal.
                restarted = any(getattr(one, field) in ends for part in parts for one in part)
                yield "at_removal" if restarted else "never"

    return chosen


def _clean_epochs(plan: Plan) -> Iterator[int]:
    for run in plan.runs:
        if span(run) and (clean := recovery(run)):
            yield clean


def _of_fisher(field: str) -> Callable[[Plan], Any]:
    def chosen(plan: Plan) -> Iterator[Any]:
        for probe in plan.probes.values():
            if probe["kind"] == FISHER:
                value = probe.get(field)
                if value is not None:
                    yield words(value) if field == "stimulus" else value

    return chosen


def _statistics(plan: Plan) -> Iterator[str]:
    measured = any(probe["kind"] == ACCURACY for probe in plan.probes.values())
    yield "reestimated" if measured else "running"


QUESTIONS = (
    Question(
        "training.optimizer.momentum", "Momentum of SGD", 0.9,
        "not found in the paper; the authors' later code has 0.9, and runs without it do not give"
        " the paper's shape", _config("optimizer", "sgd", "momentum"),
    ),
    Question(
        "training.optimizer.weight_decay", "Weight decay of SGD", 0.001,
        "three reproductions and the authors' later code agree; the values of the appendix were not"
        " found", _config("optimizer", "sgd", "weight_decay"),
    ),
    Question(
        "model.blocks", "Convolutions of the All-CNN", 9,
        "two reproductions that name the paper's appendix agree; a third has 8",
        _config("model", "all_cnn", "blocks", 9),
    ),
    Question(
        "model.head", "What follows its last convolution", "plain",
        "two reproductions put BatchNorm and ReLU there, the authors' later code nothing",
        _config("model", "all_cnn", "head", "plain"),
    ),
    Question(
        "deficits.*.distribution", "Distribution of noise", "normal",
        "the natural reading of white noise after normalisation",
        _window("noise", "distribution", "normal"),
    ),
    Question(
        "deficits.*.redraw", "Noise fresh in each epoch, or fixed", "every_epoch",
        "not found in the paper", _window("noise", "redraw"),
    ),
    Question(
        "deficits.*.augmented", "Noise augmented", False,
        "the authors' later code leaves it out", _window("noise", "augmented", False),
    ),
    Question(
        "deficits.*.of", "What a label permutation permutes", "classes",
        "only then has the last layer alone to adapt",
        _window("label_permutation", "of", "classes"),
    ),
    Question(
        "training.learning_rate_restart", "Learning rate after the removal", "never",
        "a function of the absolute epoch in all reproductions and the authors' later code;"
        " `controls` runs the other beside it", _restarts("restart"),
    ),
    Question(
        "training.optimizer_restart", "Momentum at the removal", "never",
        "the authors' later code drops it where it branches; one unbroken run keeps it",
        _restarts("optimizer_restart"),
    ),
    Question(
        "training.epochs_after_deficit", "Clean epochs after the removal", 160,
        "160 in the published version, 300 in the first preprint", _clean_epochs,
    ),
    Question(
        "fisher.images", "Images of the Fisher information", None,
        "not found; by default what the network was last shown", _of_fisher("stimulus"),
    ),
    Question(
        "fisher.samples", "Images of each Fisher measurement", None,
        "not found; every trace carries its standard error", _of_fisher("samples"),
    ),
    Question(
        "fisher.estimator", "Estimator of the Fisher trace", "signs",
        "unbiased, with the smallest error for its cost", _of_fisher("estimator"),
    ),
    Question(
        "scoring.batchnorm_statistics", "BatchNorm statistics of the final accuracy", "running",
        "the authors' later code re-estimates them before each evaluation", _statistics,
    ),
)  # fmt: skip
