"""Joining segments into runs, tables, scores: against counts by hand, numpy and scipy."""

import csv
import io
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from results_by_hand import (
    EXPERIMENT,
    TABLE,
    blob,
    epoch_row,
    manifest,
    plan_of,
    results_of,
    run_plan,
    segment,
    sweep,
    time_of,
)
from scipy import stats

from shared import partners, rows, score
from shared.errors import Invalid
from shared.results import METRICS, Results, joined


@pytest.fixture
def two_runs():
    """A shared trunk of 2 epochs; run 0 ends at 4; run 1 ends at 5 and has an epoch to train."""
    segments = [segment("trunk", 0, 2), segment("a", 2, 4), segment("b", 2, 4), segment("c", 4, 5)]
    runs = [
        run_plan(0, [0, 1], 4, point={"deficit.end": 2, "model": {"name": "mlp", "width": 2}}),
        run_plan(1, [0, 2, 3], 5, point={"deficit.end": 4, "model": None}, seed=7),
    ]
    epochs = {
        "trunk": [epoch_row(1), epoch_row(2, train_loss="NaN", stimulus=[{"name": "noise"}])],
        "a": [epoch_row(3), epoch_row(4, test_accuracy=0.75)],
        "b": [epoch_row(3), epoch_row(4, train_loss="-Infinity", learning_rate=1 / 3)],
    }
    return results_of(plan_of(segments, runs), epochs)


# --- joining ---


def test_segments_stored_with_other_cuts_are_trimmed_to_the_epochs_asked_for():
    found = joined([manifest(0, 4, "theirs", "gpu"), manifest(4, 6)], blob, 3, EXPERIMENT)
    assert [row["epoch"] for row in found] == [4, 5, 6]
    assert [row["train_loss"] for row in found] == [4.0, 5.0, 6.0]
    assert [row["time"] for row in found] == [time_of(4), time_of(5), time_of(6)]
    assert [row["reused"] for row in found] == [True, False, False]
    assert [row["numerics"] for row in found] == ["gpu", "cpu", "cpu"]


def test_a_running_run_shows_its_epochs_up_to_the_first_gap(two_runs):
    first, second = two_runs.plan.runs
    assert [row["epoch"] for row in two_runs.epochs(first)] == [1, 2, 3, 4]
    assert [row["epoch"] for row in two_runs.epochs(second)] == [1, 2, 3, 4]
    assert two_runs.last_epochs(second, 2) is None
    assert [row["epoch"] for row in two_runs.last_epochs(first, 3)] == [2, 3, 4]
    assert len(two_runs.last_epochs(first, 99)) == 4


def test_a_mixture_of_numerics_classes_is_said(two_runs):
    rows_of = two_runs.trained
    mixed = Results(
        two_runs.plan,
        EXPERIMENT,
        lambda s: (part := rows_of(s)) and [r | {"numerics": s.key} for r in part],
        two_runs.measured,
    )
    assert two_runs.numerics() == ["cpu"]
    assert mixed.numerics([mixed.plan.runs[0]]) == ["a", "trunk"]
    assert score.summary(mixed)["mixed_numerics"] is True


# --- tables ---


def test_rows_are_flat_and_hold_every_number_of_every_epoch(two_runs):
    found = list(rows.metric_rows(two_runs))
    assert len(found) == 2 * 4 * len(METRICS)
    assert found[0] == {
        "time": time_of(1), "run": 0, "variant": None, "seed": 0, "deficit.end": 2,
        "model": "name=mlp width=2", "metric": "train_loss", "epoch": 1, "value": 0.5,
    }  # fmt: skip
    assert all(not isinstance(value, dict | list) for row in found for value in row.values())


def test_what_is_not_finite_is_null_and_named(two_runs):
    lost = [row for row in rows.metric_rows(two_runs) if "non_finite" in row]
    assert [(r["run"], r["epoch"], r["metric"], r["value"], r["non_finite"]) for r in lost] == [
        (0, 2, "train_loss", None, "NaN"),
        (1, 2, "train_loss", None, "NaN"),
        (1, 4, "train_loss", None, "-Infinity"),
    ]
    wide = [row for row in rows.wide_rows(two_runs) if "non_finite" in row]
    assert wide[0]["train_loss"] is None
    assert wide[0]["non_finite"] == {"train_loss": "NaN"}


@pytest.mark.parametrize("make", [rows.metric_rows, rows.wide_rows])
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_pages_put_together_are_the_whole(two_runs, make, size):
    whole, pages, after = list(make(two_runs)), [], None
    while True:
        page = [row for row, _ in zip(make(two_runs, after=after), range(size), strict=False)]
        if not page:
            break
        pages += page
        after = rows.position(page[-1])
    assert pages == whole


def test_filters_choose_metrics_runs_and_times(two_runs):
    def moment(text):
        return rows.moment(text, "from")

    query = rows.Query(
        ("test_accuracy", "train_loss"),
        frozenset([1]),
        moment("2026-01-01T01:02:00+01:00"),
        moment(str(int(datetime(2026, 1, 1, 0, 3, tzinfo=UTC).timestamp() * 1000))),
    )
    found = [(r["run"], r["epoch"], r["metric"]) for r in rows.metric_rows(two_runs, query)]
    names = ["train_loss", "test_accuracy"]
    assert found == [(1, epoch, name) for epoch in (2, 3) for name in names]


@pytest.mark.parametrize("text", ["", "soon", "2026-01-01T00:00:00", "9" * 30, "--1", "²", "1e9"])
def test_a_time_that_is_none_is_refused_by_name(text):
    with pytest.raises(Invalid, match="'to' is"):
        rows.moment(text, "to")


def test_an_unknown_metric_is_refused_with_those_there_are():
    with pytest.raises(Invalid, match="train_loss, train_accuracy"):
        rows.Query(("accuracy",))


def test_the_experiments_own_time_spreads_its_longest_run_over_its_span(two_runs):
    clock = rows.clock(two_runs, "2026-02-01T00:00:00.000Z", "2026-02-01T00:00:50.000Z")
    found = list(rows.wide_rows(two_runs, rows.Query(clock=clock)))
    # Run 1 has 5 epochs: each is 10 s of the 50, in both runs.
    assert [row["time"][17:] for row in found] == ["10.000Z", "20.000Z", "30.000Z", "40.000Z"] * 2


def test_csv_keeps_every_digit_and_leaves_what_is_not_finite_empty(two_runs):
    text = "".join(rows.csv_lines(rows.wide_rows(two_runs), rows.wide_columns(two_runs)))
    table = list(csv.DictReader(io.StringIO(text)))
    assert float(table[7]["learning_rate"]) == 1 / 3
    assert (table[7]["train_loss"], table[7]["non_finite"]) == ("", "train_loss=-Infinity")
    assert (table[1]["stimulus"], table[0]["stimulus"]) == ("noise", "clean")
    assert (table[0]["reused"], table[0]["variant"]) == ("false", "")
    long = "".join(rows.csv_lines(rows.metric_rows(two_runs), rows.metric_columns(two_runs)))
    assert len(list(csv.DictReader(io.StringIO(long)))) == 40


def test_csv_of_nothing_is_its_header():
    assert list(rows.csv_lines([], ["time", "value"])) == ["time,value\r\n"]


# --- scores ---


def test_the_interval_is_students_as_scipy_has_it():
    values = np.random.default_rng(0).normal(0.9, 0.02, 7)
    found = score.spread(values)
    expected = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    np.testing.assert_allclose(found["interval"], expected, rtol=1e-12)
    assert found["standard_deviation"] == pytest.approx(np.std(values, ddof=1), rel=1e-14)
    assert found["n"] == 7


def test_the_interval_of_two_seeds_is_the_tabled_one():
    # t(0.975, 1) = 12.706 in every table; s = |a - b| / sqrt(2), half = t * s / sqrt(2).
    low, high = score.spread([0.90, 0.94])["interval"]
    assert (high - low) / 2 == pytest.approx(12.706 * 0.02, rel=1e-4)


def test_one_seed_has_no_interval():
    assert score.spread([0.5]) == {
        "n": 1, "mean": 0.5, "standard_deviation": None, "interval": None,
    }  # fmt: skip


def test_the_final_score_is_the_mean_of_the_last_five_epochs():
    results = sweep(TABLE, missing=[3])
    assert score.final_score(results, results.plan.runs[4]) == pytest.approx(0.875, abs=1e-12)
    assert score.final_score(results, results.plan.runs[3]) is None


@pytest.mark.parametrize(
    ("epochs", "end", "scored"),
    [(200, 40, 5), (30, 20, 5), (12, 4, 4), (6, 4, 1), (6, 5, 1), (6, 6, 3), (3, 0, 1), (1, 0, 1)],
)
def test_a_short_run_is_not_scored_under_its_deficit_or_at_its_first_steps(epochs, end, scored):
    window = {"name": "blur", "start": 0, "end": end, "resolution": 8}
    assert score.scored_epochs(run_plan(0, [0], epochs, windows=[window])) == scored


def test_the_summary_says_how_many_epochs_are_scored():
    runs = [run_plan(i, [0], epochs) for i, epochs in enumerate((30, 4))]
    assert score.score_words(runs[:1]) == "mean test accuracy of the last 5 epochs"
    assert score.score_words(runs) == "mean test accuracy of the last 2 to 5 epochs"


def test_drops_are_paired_by_seed_with_the_run_without_deficit():
    found = score.summary(sweep(TABLE))["points"]
    assert [(p["variant"], p["point"]["deficit.end"], p["n"]) for p in found] == [
        (variant, end, 3) for variant in ("blur", "flip") for end in (0, 4, 5)
    ]
    assert found[0]["drop"] is None
    for point in found[1:3]:
        end = point["point"]["deficit.end"]
        drops = [TABLE["blur", 0, s] - TABLE["blur", end, s] for s in range(3)]
        expected = stats.t.interval(0.95, 2, np.mean(drops), stats.sem(drops))
        np.testing.assert_allclose(point["drop"]["interval"], expected, rtol=1e-9)
        assert point["drop"]["mean"] == pytest.approx(np.mean(drops), rel=1e-9)


def test_a_pair_that_is_not_finished_does_not_count():
    found = score.summary(sweep(TABLE, missing=[0, 5]))["points"]
    assert (found[0]["n"], found[1]["n"], found[1]["drop"]["n"]) == (2, 2, 1)
    assert found[1]["drop"]["interval"] is None
    assert found[1]["runs"] == 3


def test_a_variant_without_its_own_clean_run_takes_that_of_the_same_config():
    table = {key: value for key, value in TABLE.items() if key[:2] != ("flip", 0)}
    results = sweep(table)
    flipped = next(run for run in results.plan.runs if run.variant == "flip")
    clean = partners.without_deficit(results, flipped)
    assert (clean.variant, clean.seed, partners.span(clean)) == ("blur", flipped.seed, None)
    own = sweep(TABLE)
    assert partners.without_deficit(own, own.plan.runs[-1]).variant == "flip"


def plan_of_pair(clean_epochs, epochs, end, clean_window=None):
    """A run without a deficit and a blurred one [0, end) of another variant, and their scores."""
    windows = [{"name": "blur", "start": 0, "end": end, "resolution": 8}]
    runs = [
        run_plan(0, [0], clean_epochs, variant="clean", windows=clean_window or []),
        run_plan(1, [1], epochs, variant="blur", windows=windows),
    ]
    segments = [segment("clean", 0, clean_epochs), segment("blur", 0, epochs)]
    rows_of = {
        "clean": [epoch_row(e + 1, test_accuracy=0.9) for e in range(clean_epochs)],
        "blur": [epoch_row(e + 1, test_accuracy=0.6) for e in range(epochs)],
    }
    return results_of(plan_of(segments, runs), rows_of)


def test_runs_of_different_length_give_no_drop():
    clean, blurred = score.summary(plan_of_pair(clean_epochs=1, epochs=6, end=2))["points"]
    assert clean["drop"] is None
    assert blurred["drop"] is None


@pytest.mark.parametrize(
    ("clean_epochs", "empty"),
    [(6, []), (4, []), (5, [{"name": "blur", "start": 1, "end": 1}])],
    ids=["as long in all", "as long after the deficit", "counted from an empty window"],
)
def test_runs_trained_as_long_in_all_or_after_the_deficit_give_a_drop(clean_epochs, empty):
    found = score.summary(plan_of_pair(clean_epochs, epochs=6, end=2, clean_window=empty))
    assert found["points"][1]["drop"]["mean"] == pytest.approx(0.3)


def test_a_score_that_is_not_a_number_is_left_out_of_the_mean():
    table = dict(TABLE)
    table["blur", 4, 0] = math.nan
    assert score.summary(sweep(table))["points"][1]["n"] == 2
