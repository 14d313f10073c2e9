"""Ways of measuring the Fisher information: method and images. Measurements of one way make a line
over epochs; those of two are never joined or averaged."""

from dataclasses import dataclass
from typing import Any

from shared import traces
from shared.plan import RunPlan
from shared.probe import FISHER, Probe
from shared.results import Results, Row
from shared.rows import words
from shared.traces import METHOD

EMPIRICAL = "empirical"
"""The estimator of the true labels, which is not the Fisher information."""
ALWAYS = ("estimator", "split")


@dataclass(frozen=True)
class Ways:
    """Of one plan. Where no state is measured on several stimuli, what a run is shown in one epoch
    and in the next belongs to one line."""

    by_images: bool
    told: tuple[str, ...]
    """Fields of the method in which the ways differ."""
    images: str
    """What all are measured on; "current": what each run was last shown."""

    def label(self, probe: Probe) -> str:
        """Its way in words, which differ where ways do: signs, train, clean."""
        images = words(probe["stimulus"]) if self.by_images else self.images
        told = [f"{f} {probe[f]}" for f in self.told if probe.get(f) is not None]
        return ", ".join([*(str(probe[field]) for field in ALWAYS), images, *told])


def ways(results: Results, empirical: bool = False) -> Ways:
    """`empirical`: the empirical Fisher is told apart as well."""
    probes = _probes(results, empirical)
    stimuli = {words(probe["stimulus"]) for probe in probes.values()}
    methods = {traces.method(probe) for probe in probes.values()}
    told = [name for i, name in enumerate(METHOD) if len({method[i] for method in methods}) > 1]
    return Ways(
        by_images=measures_twice(results, probes),
        told=tuple(name for name in told if name not in ALWAYS),
        images=stimuli.pop() if len(stimuli) == 1 else "current",
    )


def lines(results: Results, run: RunPlan, of: Ways) -> dict[str, list[Row]]:
    """Label of a way -> the run's measurements with a finite trace, in order of epochs: rows of
    `traces.of_run`. The empirical Fisher is left out."""
    found: dict[str, list[Row]] = {}
    for probe, row in traces.measured(results, run, "raw"):
        if probe["estimator"] != EMPIRICAL and row["trace"] is not None:
            found.setdefault(of.label(probe), []).append(row)
    return {label: sorted(rows, key=_epoch) for label, rows in found.items()}


def planned(results: Results, run: RunPlan, of: Ways) -> dict[str, list[int]]:
    """Label of a way -> the epochs at which the run is to be measured with it, in order."""
    found: dict[str, set[int]] = {}
    for epoch, _, digest in run.probes:
        if _is_fisher(probe := results.plan.probes[digest]):
            found.setdefault(of.label(probe), set()).add(epoch)
    return {label: sorted(epochs) for label, epochs in found.items()}


def _epoch(row: Row) -> int:
    return int(row["epoch"])


def _is_fisher(probe: Probe, empirical: bool = False) -> bool:
    return bool(probe["kind"] == FISHER and (empirical or probe["estimator"] != EMPIRICAL))


def _probes(results: Results, empirical: bool) -> dict[str, Probe]:
    """By digest, those that some run is to be measured with."""
    asked = dict.fromkeys(digest for run in results.plan.runs for _, _, digest in run.probes)
    probes = {digest: results.plan.probes[digest] for digest in asked}
    return {digest: probe for digest, probe in probes.items() if _is_fisher(probe, empirical)}


def measures_twice(results: Results, probes: dict[str, Probe]) -> bool:
    """Whether at one epoch of some run one of these methods is used on several stimuli."""
    for run in results.plan.runs:
        seen: dict[tuple[int, Any], str] = {}
        for epoch, _, digest in run.probes:
            if digest in probes:
                name = (epoch, traces.method(probes[digest]))
                if seen.setdefault(name, digest) != digest:
                    return True
    return False
