"""Learning curves of one experiment, and several experiments on one axis."""

from typing import Any

import httpx
import numpy as np
import pytest
from carried_out import carried_out
from scipy import stats
from small import body, submit

from worker.preparation import prepare

pytestmark = pytest.mark.services


@pytest.fixture
def two(lab: Any) -> list[str]:
    """The second one has a deficit and seeds of its own."""
    flip = {"name": "vertical_flip", "start": 0, "end": 0}
    return [
        ended(lab, **body(name="blur", fisher=None, seeds=[0, 1, 2])),
        ended(lab, **body(name="flip", fisher=None, seeds=[3, 4], deficit=flip)),
    ]


def ended(lab: Any, **parts: Any) -> str:
    id = carried_out(lab.service, **parts)
    lab.wait(id)
    return id


def wide(http: httpx.Client, id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get(f"/v1/experiments/{id}/metrics?shape=wide").json()
    return found


def test_a_line_is_the_mean_over_seeds_with_its_interval(
    two: list[str], http: httpx.Client
) -> None:
    path = f"/v1/experiments/{two[0]}/figures/learning_curves"
    made = http.get(path, params={"format": "json"}).json()["data"]
    lines = ["no deficit", "deficit until 2", "deficit until 4"]
    assert list(dict.fromkeys(row["line"].rsplit(", ", 1)[1] for row in made)) == lines
    rows = wide(http, two[0])
    for line in made:
        end = line["window_epoch"] or 0
        values = [
            100 * row["test_accuracy"]
            for row in rows
            if (row["deficit.end"], row["epoch"]) == (end, line["epoch"])
        ]
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert line["n"] == len(values) == 3
        assert line["value"] == pytest.approx(np.mean(values))
        assert (line["low"], line["high"]) == pytest.approx((max(0, low), high))
    losses = http.get(path, params={"format": "json", "metric": "test_loss"}).json()["data"]
    epochs, left = (
        {(row["window_epoch"] or 0, row["epoch"]) for row in found} for found in (made, losses)
    )
    assert (0, 2) in epochs - left  # it is infinite
    refused = http.get(f"/v1/experiments/{two[0]}/figures/critical_period?metric=test_loss")
    assert refused.status_code == 422


def test_compared_curves_are_those_of_each_experiment_under_its_name(
    two: list[str], http: httpx.Client
) -> None:
    asked = {"experiments": ",".join(two), "figure": "critical_period", "format": "json"}
    both = http.get("/v1/compare", params=asked).json()["data"]
    for name, id in zip(("blur", "flip"), two, strict=True):
        path = f"/v1/experiments/{id}/figures/critical_period"
        alone = http.get(path, params={"format": "json"}).json()["data"]
        kinds = ("mean", "seed")
        fields = ("kind", "epoch", "test_accuracy_percent", "low", "high", "n", "seed")
        mine = [[r.get(f) for f in fields] for r in both if r.get("variant") == name]
        own = [[r.get(f) for f in fields] for r in alone if r["kind"] in kinds]
        assert [row for row in mine if row[0] in kinds] == own
        assert own
    for form in ("vegalite", "svg", "png", "pdf", "csv"):
        answer = http.get("/v1/compare", params=asked | {"format": form})
        assert answer.status_code == 200, (form, answer.text)
        assert len(answer.content) > 1000, form


def test_what_cannot_be_compared_is_said(lab: Any, http: httpx.Client, two: list[str]) -> None:
    early, other = submit(lab, dataset={"name": "cifar10"}), submit(lab)
    asked = [
        ([two[0]], {}, 422),
        ([two[0], two[0]], {}, 422),
        (two * 5, {}, 200),
        ([f"{i:024x}" for i in range(9)], {}, 422),
        ([two[0], "f" * 24], {}, 404),
        ([two[0], "x"], {}, 404),
        (two, {"figure": "fisher_trace"}, 409),
        (two, {"figure": "critical_period", "metric": "test_loss"}, 422),
        (two, {"figure": "filters"}, 422),
        ([early, two[0]], {}, 409),
        ([other, two[0]], {}, 200),
    ]
    for ids, more, status in asked:
        answer = http.get("/v1/compare", params={"experiments": ",".join(ids), **more})
        assert answer.status_code == status, (ids, more, answer.text)


def test_experiments_of_one_name_go_by_their_ids(lab: Any, http: httpx.Client) -> None:
    ids = [ended(lab, **body(name="same", fisher=None, seeds=[seed])) for seed in (0, 1)]
    asked = {"experiments": ids, "figure": "learning_curves", "format": "json"}
    made = http.get("/v1/compare", params=asked).json()["data"]
    assert {row["variant"] for row in made} == set(ids)


PLAIN: dict[str, Any] = {"fisher": None, "sweep": {}}
BATCHES = {"training.batch_size": [32, 64]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"name": "x", "variants": {"v": {}}}, {"name": "x: v"}),
        ({"name": "x", "sweep": BATCHES}, {"name": "x, batch size 32"}),
        ({"name": ""}, {}),
    ],
)
def test_no_two_experiments_have_one_curve_whatever_their_names(
    lab: Any, http: httpx.Client, one: dict[str, Any], other: dict[str, Any]
) -> None:
    first = ended(lab, **body(**PLAIN | one))
    longer = {"training": {"epochs": 3}, "name": first}  # the name of one that has none
    ids = [first, ended(lab, **body(**PLAIN | longer | other))]
    asked = {"experiments": ids, "figure": "learning_curves", "format": "json"}
    made = http.get("/v1/compare", params=asked).json()["data"]
    assert {row["n"] for row in made} == {1}
    lines = [(row["line"], row["epoch"]) for row in made]
    assert len(set(lines)) == len(lines)
    assert all(row["line"].startswith(tuple(ids)) for row in made)


def test_what_one_of_them_has_trained_is_there_though_another_was_cancelled_before(
    lab: Any, http: httpx.Client
) -> None:
    prepare("gratings", lab.service.store, lab.settings)
    cancelled = submit(lab, **PLAIN, name="cancelled")
    lab.service.cancel(cancelled)
    lab.wait(cancelled)
    assert wide(http, cancelled) == []
    ids = [ended(lab, **body(**PLAIN, name="whole")), cancelled]
    asked = {"experiments": ids, "figure": "learning_curves", "format": "json"}
    made = http.get("/v1/compare", params=asked).json()["data"]
    whole = [row["epoch"] for row in made if row["variant"] == "whole"]
    assert whole == [row["epoch"] for row in wide(http, ids[0])] == [1, 2]
    assert [row for row in made if row["variant"] == "cancelled"] == []


def test_whoever_is_named_is_drawn(lab: Any, http: httpx.Client) -> None:
    """Of more lines than there is room for, some of each; who has no trace is told by name."""
    wide_sweep = {"sweep": {"deficit.end": list(range(13))}, "fisher": None}
    bare = ended(lab, **body(name="wide", **wide_sweep))
    measured = ended(lab, **body(name="narrow"))
    asked = {"experiments": [bare, measured], "figure": "learning_curves"}
    drawn = http.get("/v1/compare", params=asked | {"format": "vegalite"}).text
    data = http.get("/v1/compare", params=asked | {"format": "json"}).json()["data"]
    lines = {row["line"]: row["variant"] for row in data}
    assert len(lines) == 13 + 3
    assert "12 of 16 lines" in drawn
    shown = [name for line, name in lines.items() if f'"line":"{line}"' in drawn.replace(": ", ":")]
    assert (shown.count("wide"), shown.count("narrow")) == (9, 3)
    refusal = http.get("/v1/compare", params=asked | {"figure": "fisher_trace"})
    assert refusal.status_code == 409
    assert bare in refusal.json()["detail"]
    assert measured not in refusal.json()["detail"]


def test_a_clean_run_is_no_mean_over_experiments_that_train_otherwise(
    lab: Any, http: httpx.Client
) -> None:
    blur = {"name": "blur", "resolution": 4, "start": 0, "end": 0}

    def removal(seed: int, batch: int, *more: dict[str, Any]) -> str:
        training = {"epochs": 12, "batch_size": batch}
        deficits = {"deficit": None, "deficits": [blur, *more], "sweep": {"deficits.0.end": [0, 4]}}
        one = body(fisher=None, seeds=[seed], training=training, **deficits)
        return ended(lab, **one)

    decay = {"name": "weight_decay", "value": 0, "start": 0, "end": 8}
    ids = [removal(0, 32), removal(1, 64), removal(1, 32, decay), removal(1, 32)]
    are_there = []
    for other in ids[1:]:
        asked = {"experiments": [ids[0], other], "figure": "critical_period", "format": "json"}
        made = http.get("/v1/compare", params=asked).json()["data"]
        are_there.append(any(row["kind"] == "clean" for row in made))
    assert are_there == [False, False, True]
