"""Measurements of the information plane, as a table: a row for each layer."""

from collections.abc import Iterator

from shared import numbers
from shared.plan import RunPlan
from shared.probe import INFORMATION_PLANE
from shared.results import Results, Row, identity
from shared.rows import words

ESTIMATES = (
    "i_xt_binned", "i_xt_lower", "i_xt_upper", "i_ty_binned", "i_ty_lower", "i_ty_upper",
    "i_ty_kl", "i_ty_bhattacharyya", "i_ty_decoder", "i_ty_decoder_error",
)  # fmt: skip
"""In bits."""
COLUMNS = (
    "layer", "units", *ESTIMATES, "cross_entropy", "held_out_accuracy", "noise_variance",
    "bin_size", "codes",
)  # fmt: skip
"""Of one layer."""
CEILINGS = ("classes", "log2_samples", "log2_classes", "label_entropy")
ASKED = ("split", "probe_set", "noise", "bins")
"""All that a probe says but its images, their number and its layers. `noise_variance` and
`bin_size` are here what was used; what was asked for is in `noise_variance_asked`."""


def of_run(results: Results, run: RunPlan) -> Iterator[Row]:
    """One flat row for each epoch, images and layer, in the order of the plan.

    What is not finite is null, and `non_finite` says what it was.
    """
    for found in results.measurements(run, {INFORMATION_PLANE}):
        about = identity(run) | _about(found, results)
        for layer in found["values"]["layers"]:
            lost: list[dict[str, str]] = []
            values = numbers.shown({name: layer.get(name) for name in COLUMNS}, "", lost)
            names = {item["pointer"][1:]: item["value"] for item in lost}
            yield about | values | ({"non_finite": names} if names else {})


def columns(results: Results) -> list[str]:
    head = ["time", "run", "variant", "seed", *results.paths, "epoch", "key", "stimulus"]
    return [*head, *ASKED, "noise_variance_asked", "samples", *CEILINGS, *COLUMNS,
            "batchnorm_statistics", "reused", "numerics", "non_finite"]  # fmt: skip


def _about(found: Row, results: Results) -> Row:
    """What the layers of one measurement have in common."""
    probe, values = found["probe"], found["values"]
    return {
        **results.about(found),
        "stimulus": words(probe["stimulus"]),
        **{name: probe.get(name) for name in ASKED},
        "noise_variance_asked": probe["noise_variance"],
        **{name: values.get(name) for name in ("samples", *CEILINGS, "batchnorm_statistics")},
    }
