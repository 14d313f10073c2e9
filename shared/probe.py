"""Measurements as data: which probe at which epoch, and the digest that names it.

A probe is outside the key: (state key, probe digest) names a measurement.
"""

from typing import Any

from shared.schedule import Facts, Stimulus, Stretch, digest
from shared.spec import ExperimentSpec, Fisher, RunSpec

Probe = dict[str, Any]


def probes(
    spec: ExperimentSpec, run: RunSpec, stretches: list[Stretch], facts: Facts
) -> list[tuple[int, Probe]]:
    """(epoch, probe) for all that the spec asks of one run, in order of epochs.

    An epoch here is the number of epochs trained: 0 is the initial state.
    """
    if spec.fisher is None:
        return []
    fisher, total = spec.fisher, run.total_epochs
    out: list[tuple[int, Probe]] = []
    for epoch in asked_epochs(fisher.every, fisher.epochs, total):
        for stimulus in _stimuli(fisher, run, stretches, epoch):
            probe = _fisher_probe(fisher, stimulus, run, facts)
            if (epoch, probe) not in out[-len(fisher.images) :]:
                out.append((epoch, probe))
    return out


def asked_epochs(every: int | None, epochs: list[int], total: int) -> list[int]:
    """0, every, 2*every, ..., the last epoch, and those named one by one."""
    asked = {e for e in epochs if e <= total}
    if every is not None:
        asked |= set(range(0, total + 1, every)) | {total}
    return sorted(asked)


def current(stretches: list[Stretch], epoch: int) -> Stimulus:
    """What a network with `epoch` epochs behind it was last shown (at 0: is about to be shown)."""
    shown = max(epoch - 1, 0)
    return next(s.stimulus for s in stretches if s.start <= shown < s.end)


def _stimuli(fisher: Fisher, run: RunSpec, stretches: list[Stretch], epoch: int) -> list[Stimulus]:
    deficits: Stimulus = []
    for window in run.windows:
        if window.stimulus() not in deficits:
            deficits.append(window.stimulus())
    choices = {"current": current(stretches, epoch), "clean": [], "deficit": deficits}
    return [choices[images] for images in fisher.images]


def _fisher_probe(fisher: Fisher, stimulus: Stimulus, run: RunSpec, facts: Facts) -> Probe:
    """`samples` is what is really there: asking for more than that is asking for all."""
    train, test = run.dataset.train_samples or facts.train, run.dataset.test_samples or facts.test
    return {
        "kind": "fisher",
        "estimator": fisher.estimator,
        "samples": min(fisher.samples, train if fisher.split == "train" else test),
        "split": fisher.split,
        "stimulus": stimulus,
    }


def name(probe: Probe) -> str:
    """The probe's digest, with which a state's key names the measurement."""
    return digest(probe)
