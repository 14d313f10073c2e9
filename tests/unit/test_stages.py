"""Where a run stands: by a trace that is written out."""

import pytest
from results_by_hand import blurred, experiment_of, measurement

from shared.stages import of_run, stages, stands

RISE_AND_FALL = [(0, 1.0), (2, 6.0), (4, 10.0), (6, 8.0), (8, 5.0), (10, 2.0)]


@pytest.mark.parametrize(
    ("until", "stage", "peak"),
    [
        (2, "memorising", 2),
        (4, "memorising", 4),
        (5, "memorising", 4),
        (6, "crossing", 4),
        (8, "forgetting", 4),  # half of the peak is no more than half
        (10, "forgetting", 4),
    ],
)
def test_a_run_memorises_up_to_its_peak_crosses_it_and_forgets_below_half(until, stage, peak):
    found = stands(RISE_AND_FALL, until)
    assert (found["stage"], found["peak_epoch"]) == (stage, peak)


def test_only_what_was_measured_by_then_counts():
    twice = [*RISE_AND_FALL, (12, 50.0), (14, 40.0)]
    assert stands(twice, 10) == stands(RISE_AND_FALL, 10)
    assert stands(twice, 14)["stage"] == "crossing"
    assert stands(twice, 14)["trace_over_peak"] == pytest.approx(0.8)


def test_from_one_measurement_nobody_can_tell():
    assert stands(RISE_AND_FALL, 1) is None
    assert stands([], 5) is None


def test_a_removal_and_the_end_are_looked_at_with_the_accuracy_there():
    accuracy = {1: 0.1, **dict.fromkeys(range(2, 11), 0.9)}
    found = of_run(RISE_AND_FALL, 6, accuracy)
    assert (found["at_removal"]["stage"], found["at_end"]["stage"]) == ("crossing", "forgetting")
    assert found["at_removal"]["test_accuracy"] == 0.9
    assert (found["plateau_epoch"], found["at_removal"]["at_plateau"]) == (2, True)
    assert found["rise_after_removal"] == pytest.approx(5 / 8)
    without = of_run(RISE_AND_FALL, None, accuracy)
    assert (without["at_removal"], without["rise_after_removal"]) == (None, None)


def test_runs_are_counted_by_point_and_each_is_told():
    def life(seed, traces, **more):
        measured = {(e, "fisher"): measurement(e, t) for e, t in enumerate(traces)}
        return {"accuracies": [0.5] * 4, "seed": seed, "measured": measured} | more

    window = {"windows": [blurred(0, 2)], "point": {"deficit.end": 2}}
    results = experiment_of(
        life(0, [1.0, 4, 3, 2, 1], **window), life(1, [1.0, 2, 3, 4, 5], **window)
    )
    [found] = stages(results)
    assert (found["removal"], found["n"]) == (2, 2)
    assert found["at_removal"] == {"memorising": 1, "crossing": 1, "forgetting": 0}
    assert found["at_end"] == {"memorising": 1, "crossing": 0, "forgetting": 1}
    assert [run["rise_after_removal"] for run in found["runs"]] == pytest.approx([2 / 3, 5 / 3])
