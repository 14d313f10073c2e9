"""What tells the measurements of one line of a figure from those of another: images and method."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.figures import style
from shared import traces, ways
from shared.errors import Conflict
from shared.plan import RunPlan
from shared.probe import FISHER, Probe
from shared.results import Results, Row
from shared.rows import words
from shared.traces import METHOD, Normalisation
from shared.ways import EMPIRICAL

if TYPE_CHECKING:
    import altair as alt

VARIATIONAL = "variational"
EPOCHS = "Epochs trained"
OF_SIGNS = ("norms", "square_root")
"""Options of one estimator: where they are null, the estimator's name says so."""


@dataclass(frozen=True)
class Series:
    """`told` are the fields in which the probes differ."""

    told: tuple[str, ...]
    by_images: bool
    """Whether some state is measured on several stimuli; else its images are called "current"."""

    def label(self, probe: Probe) -> str:
        """Empty where there is a single series."""
        named = [words(probe["stimulus"])] if self.by_images else []
        parts = [field_words(field, probe.get(field)) for field in self.told]
        return ", ".join([*named, *filter(None, parts)])

    def images(self, probe: Probe) -> str:
        return words(probe["stimulus"]) if self.by_images else "current"


def fisher_series(results: Results) -> Series:
    """Of the probes that estimate the Fisher information.

    Conflict where there is none: the empirical Fisher, which takes the true labels, is not it.
    """
    probes = list(fisher_probes(results))
    drawn = [probe for probe in probes if probe["estimator"] != EMPIRICAL]
    if probes and not drawn:
        raise Conflict(
            "What was measured here is of the true labels (estimator 'empirical'), which is not the"
            f" Fisher information: see it in /v1/experiments/{results.experiment}/fisher, or"
            " measure another estimator"
        )
    if results.plan.runs and not drawn:
        raise Conflict(
            "This experiment measures no Fisher trace: its spec has no 'fisher'. POST one to"
            f" /v1/experiments/{results.measures or results.experiment}/measurements"
        )
    return of_probes(drawn, results)


def nothing(results: Results, kind: str, asked: str) -> Conflict:
    """Why a figure of this kind of probe is empty; `asked` is what a spec calls it."""
    probes = results.plan.probes.values()
    if results.plan.runs and not any(probe["kind"] == kind for probe in probes):
        return Conflict(
            f"There is nothing to draw yet: this experiment measures no '{asked}'. POST it to"
            f" /v1/experiments/{results.measures or results.experiment}/measurements"
        )
    return Conflict(f"There is nothing to draw yet: no '{asked}' have been measured")


def fisher_probes(results: Results) -> Iterator[Probe]:
    """Each once, of those that some run is to be measured with."""
    asked = dict.fromkeys(digest for run in results.plan.runs for _, _, digest in run.probes)
    for digest in asked:
        probe = results.plan.probes[digest]
        if probe["kind"] == FISHER:
            yield probe


def of_probes(probes: list[Probe], results: Results) -> Series:
    told = [field for field in METHOD if _differs(field, probes)]
    known = {digest: p for digest, p in results.plan.probes.items() if p in probes}
    return Series(tuple(told), ways.measures_twice(results, known))


def fisher_rows(
    results: Results, run: RunPlan, normalisation: Normalisation = "raw"
) -> Iterator[tuple[Probe, Row]]:
    """A run's measurements of the Fisher information, each with its probe."""
    for probe, row in traces.measured(results, run, normalisation):
        if probe["estimator"] != EMPIRICAL:
            yield probe, row


def method_words(results: Results) -> str:
    """Estimators and numbers of images, for a subtitle; what is left out is said."""
    probes = list(fisher_probes(results))
    drawn = [probe for probe in probes if probe["estimator"] != EMPIRICAL]
    estimators = "/".join(dict.fromkeys(probe["estimator"] for probe in drawn))
    images = "/".join(dict.fromkeys(_count(probe) for probe in drawn))
    text = f"Estimator: {estimators}, {images}."
    if any(probe["estimator"] == VARIATIONAL for probe in drawn):
        text += " variational: of the weights of convolutions and linear layers alone."
    if len(drawn) < len(probes):
        text += " Measurements of the true labels (empirical) are left out."
    return text


def epochs(rows: Sequence[Row], width: int) -> "alt.X":
    """From the initial state to the last epoch measured, without room beyond."""
    import altair as alt

    last = max([1, *(row["epoch"] for row in rows)])
    scale = alt.Scale(domain=[0, last], nice=False)
    return alt.X("epoch:Q", title=EPOCHS, axis=style.epoch_axis(0, last, width), scale=scale)


def _count(probe: Probe) -> str:
    if probe.get("relative_error"):
        return f"images until the error is {100 * probe['relative_error']:g} %"
    return f"{probe['samples']} images"


def _differs(field: str, probes: Iterable[Probe]) -> bool:
    values = {probe.get(field) for probe in probes}
    return len(values - {None} if field in (*OF_SIGNS, "max_samples") else values) > 1


def field_words(field: str, value: Any) -> str:
    if value is None:
        return ""
    named = {
        "split": {"train": "training images", "test": "test images"}.get(str(value), str(value)),
        "norms": f"{value} norms",
        "square_root": f"{value} root",
        "probe_set": "images redrawn" if value == "redrawn" else "images fixed",
        "samples": f"{value} images",
        "max_samples": f"at most {value} images",
    }
    if field == "relative_error":
        return f"to {100 * value:g} %"
    if value == VARIATIONAL:
        return "variational (weights alone)"
    return named.get(field, str(value))
