"""What MLflow is told of a run of ours: its name, tags, parameters and points."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.experiment import Experiment
from api.figures import series
from shared import sweep
from shared.plan import Plan, RunPlan
from shared.probe import FISHER
from shared.results import METRICS, Results, flat

EXPERIMENT, RUN = "hubel.experiment", "hubel.run"
"""Tags that tell runs of ours from one another."""
OF_THE_WHOLE = {"name", "tags", "sweep", "seeds", "variants", "schema_version", "reuse"}
"""Parts of a spec that are no parameters of one run."""
LONGEST_KEY, LONGEST_VALUE = 250, 6000

Point = dict[str, Any]


@dataclass(frozen=True)
class Words:
    """Of one experiment, as long as its plan stands."""

    experiment: Experiment
    fisher: dict[str, str]
    """Digest of a probe -> the metric that its trace is a point of."""
    points: list[sweep.Point]

    @classmethod
    def of(cls, experiment: Experiment, results: Results) -> "Words":
        probes = list(series.fisher_probes(results))
        told = series.of_probes(probes, results)
        fisher = {
            digest: _key(".".join(filter(None, ("fisher_trace", told.label(probe)))))
            for digest, probe in results.plan.probes.items()
            if probe["kind"] == FISHER
        }
        return cls(experiment, fisher, sweep.points(experiment.spec))

    def name(self, run: RunPlan) -> str:
        return f"{self.experiment.spec.name or self.experiment.id} / {run.index}"

    def tags(self, run: RunPlan) -> dict[str, str]:
        accepted = self.experiment.accepted
        found = {_tag(key): value for key, value in self.experiment.spec.tags.items()}
        found |= {
            EXPERIMENT: self.experiment.id,
            RUN: str(run.index),
            "mlflow.source.name": "hubel",
            "mlflow.source.type": "JOB",
        }
        others = {
            "hubel.name": self.experiment.spec.name,
            "hubel.variant": run.variant,
            "hubel.measures": accepted.measures,
            "hubel.retries": accepted.retries,
            "mlflow.user": (accepted.submitted_by or {}).get("name"),
        }
        return found | {key: value for key, value in others.items() if value}

    def params(self, run: RunPlan) -> dict[str, str]:
        """The spec of this run, a parameter for each value in it, by its dotted path."""
        shown = self.experiment.accepted.shown
        seeds = len(self.experiment.spec.seeds)
        own = self.points[run.index // seeds].run.model_dump(mode="json")
        rest = {key: value for key, value in shown.items() if key not in own.keys() | OF_THE_WHOLE}
        found = dict(_flattened(own | rest)) | {"seed": str(run.seed)}
        return found | {_key(path): _said(flat(value)) for path, value in run.point.items()}


def reached(plan: Plan, run: RunPlan, done: set[int]) -> int | None:
    """The epoch up to which a run is stored without a gap; None where nothing of it is."""
    end = None
    for index in run.segments:
        if index not in done and not plan.segments[index].stored:
            break
        end = plan.segments[index].end
    return end


def points(
    results: Results, run: RunPlan, words: Words, sent: dict[str, int], until: int, whole: bool
) -> Iterator[Point]:
    """What there is of a run up to the epoch `until` beyond what was `sent`: of each metric the
    epoch of its last point. Each metric comes in the order of epochs, so that this says it all.

    Not `whole`: a measurement that is still to come holds back those after it.
    """
    if results.measures is None:
        yield from _trained(results, run, sent, until)
    for epoch, key, digest in run.probes:
        metric = words.fisher.get(digest)
        if metric is None or epoch <= sent.get(metric, -1):
            continue
        found = None
        if epoch <= until:
            found = results.measured(results.plan.scope(run), key, digest)
        if found is not None:
            yield _point(metric, epoch, found["values"]["trace"], found["provenance"]["time"])
        elif not whole:
            return


def milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def _trained(results: Results, run: RunPlan, sent: dict[str, int], until: int) -> Iterator[Point]:
    first = min(sent.get(metric, 0) for metric in METRICS)
    for index in run.segments:
        segment = results.plan.segments[index]
        if segment.end > until:
            return
        rows = results.trained(segment) if segment.end > first else []
        for row in rows or []:
            for metric in METRICS:
                if row["epoch"] > sent.get(metric, 0):
                    yield _point(metric, row["epoch"], row[metric], row["time"])


def _point(metric: str, epoch: int, value: Any, time: str) -> Point:
    """A value that is not finite is stored as a word, which is MLflow's word for it too."""
    return {"key": metric, "value": value, "timestamp": milliseconds(time), "step": epoch}


def _flattened(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            yield from _flattened(item, f"{path}.{key}" if path else str(key))
    elif value is not None:
        yield _key(path), _said(value)


def _said(value: Any) -> str:
    return (str(value).lower() if isinstance(value, bool) else str(value))[:LONGEST_VALUE]


def _key(text: str) -> str:
    """As MLflow takes it: letters, digits and some signs."""
    return re.sub(r"[^\w.\- ]", "_", text)[:LONGEST_KEY]


def _tag(text: str) -> str:
    """Names of its own and of ours are not for users to set, and none begins with a dot."""
    key = _key(text)
    return f"tag.{key}" if key.startswith(("mlflow.", "hubel.", ".")) else key
