"""Measurements of where the quadratic picture holds, as a table: a row for each size of the
perturbation."""

from collections.abc import Iterator

from shared import numbers
from shared.plan import RunPlan
from shared.probe import SECOND_ORDER
from shared.results import Results, Row, identity
from shared.rows import words

COLUMNS = (
    "size", "length", "kl", "kl_standard_error", "quadratic", "quadratic_standard_error", "ratio",
    "ratio_standard_error", "n",
)  # fmt: skip
"""Of one size; `size` is the perturbation's length over that of the weights, KL is in nats."""


def of_run(results: Results, run: RunPlan) -> Iterator[Row]:
    """One flat row for each epoch, images and size, in the order of the plan.

    What is not finite is null, and `non_finite` says what it was.
    """
    for found in results.measurements(run, {SECOND_ORDER}):
        for one in found["values"]["sizes"]:
            lost: list[dict[str, str]] = []
            measured = {name: one.get(name) for name in COLUMNS}
            measured["weights_length"] = found["values"].get("weights_length")
            values = numbers.shown(measured, "", lost)
            names = {item["pointer"][1:]: item["value"] for item in lost}
            row = identity(run) | _about(found, results) | values
            yield row | ({"non_finite": names} if names else {})


def columns(results: Results) -> list[str]:
    head = ["time", "run", "variant", "seed", *results.paths, "epoch", "key", "stimulus", "split"]
    return [*head, "probe_set", "samples", "directions", *COLUMNS, "holds_up_to", "weights_length",
            "reused", "numerics", "non_finite"]  # fmt: skip


def _about(found: Row, results: Results) -> Row:
    """What the sizes of one measurement have in common."""
    probe, values = found["probe"], found["values"]
    return {
        **results.about(found),
        "stimulus": words(probe["stimulus"]),
        "split": probe["split"],
        "probe_set": probe.get("probe_set"),
        "samples": values.get("samples"),
        "directions": values.get("directions"),
        "holds_up_to": numbers.shown(values.get("holds_up_to")),
    }
