"""TensorBoard's files: they hold what the tables hold, NaN and infinity among it."""

import math

import numpy as np
from results_by_hand import experiment_of, measured, measurement
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from api.export import tensorboard
from shared import traces, ways

OF_A_LAYER = ("trace", "standard_error")
OF_ALL = (*OF_A_LAYER, "predictive_entropy", "mean_confidence", *traces.BESIDE_COLUMNS)


def scalars(results, tmp_path):
    """Tag -> its values by epoch."""
    (run,) = results.plan.runs
    of = ways.ways(results, empirical=True)
    file = tmp_path / "events.out.tfevents.hubel"
    file.write_bytes(b"".join(tensorboard.event_file(results, run, of)))
    events = EventAccumulator(str(file)).Reload()
    return {
        tag: {one.step: one.value for one in events.Scalars(tag)}
        for tag in events.Tags()["scalars"]
    }


def test_every_number_of_the_table_of_traces_is_there_whatever_it_is(tmp_path):
    side = {"kind": "gradient", "split": "train", "probe_set": "fixed", "stimulus": [],
            "samples": 10}  # fmt: skip
    empirical = {"estimator": "empirical"}
    results = experiment_of({"accuracies": [0.5, 0.5], "measured": {
        (0, "p"): measurement(0, 2.0, layers={"a": 1.5, "b": 0.5}),
        (0, "g"): measured(side, 0, gradient_norm=0.25, noise_scale="Infinity"),
        (0, "e"): measurement(0, 3.0, **empirical),
        (2, "p"): measurement(2, "NaN", layers={"a": "-Infinity", "b": 0.5}),
        (2, "e"): measurement(2, "NaN", **empirical),
        (2, "f"): measurement(2, 5.0, **empirical | {"samples": 20}),
    }})  # fmt: skip
    found = scalars(results, tmp_path)
    told = [tag for tag in found if tag.startswith("fisher (")]
    rows = list(traces.layer_rows(traces.of_run(results, results.plan.runs[0])))
    numbers = [
        row[name] if row.get(name) is not None else float(row["non_finite"][name])
        for row in rows
        for name in (OF_ALL if row["layer"] == "total" else OF_A_LAYER)
        if row.get(name) is not None or name in row.get("non_finite", {})
    ]
    values = [value for tag in told for value in found[tag].values()]
    np.testing.assert_array_equal(np.sort(np.float32(numbers)), np.sort(np.float32(values)))
    ours, few, many = "fisher (exact, train, clean, samples 10)", 10, 20
    assert math.isnan(found[f"{ours}/total"][2])
    assert found[f"{ours}/layers/a"] == {0: 1.5, 2: -math.inf}
    assert found[f"{ours}/noise_scale"] == {0: math.inf}
    of_labels = {n: f"fisher (empirical, train, clean, samples {n})/total" for n in (few, many)}
    assert (found[of_labels[few]][0], found[of_labels[many]]) == (3.0, {2: 5.0})
