"""Every epoch and every Fisher trace as events: none twice, none left out, however often a
connection breaks, and at whichever process it is taken up."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from api_process import api_process
from small import submit
from test_events import parsed

from api.points import Points, Sent
from shared.results import METRICS

pytestmark = pytest.mark.services


class Listener:
    """Collects what a stream says, over any number of connections."""

    def __init__(self, id: str) -> None:
        self.path = f"/v1/experiments/{id}/events?points=true"
        self.last: str | None = None
        self.epochs: list[tuple[int, int]] = []
        self.values: dict[tuple[int, int], dict[str, Any]] = {}
        self.measured: list[tuple[int, int, str]] = []
        self.fisher: dict[tuple[int, int, str], dict[str, Any]] = {}
        self.ended = False

    def listen(self, http: httpx.Client, events: int | None = None) -> None:
        """Until the end, or until so many events were received."""
        with self._open(http) as answer:
            for count, event in enumerate(e for e in parsed(answer.iter_lines()) if "event" in e):
                self._take(event)
                if self.ended or count + 1 == events:
                    return

    def break_off(self, http: httpx.Client, after: int) -> None:
        """The connection breaks after so many bytes, most often within an event."""
        text = ""
        with self._open(http) as answer:
            for part in answer.iter_text(100):
                text += part
                if len(text) >= after:
                    break
        whole = text[:after].rpartition("\n\n")[0] + "\n\n"
        for event in parsed(iter(whole.split("\n"))):
            if "event" in event:
                self._take(event)

    @contextmanager
    def _open(self, http: httpx.Client) -> Iterator[httpx.Response]:
        headers = {} if self.last is None else {"Last-Event-ID": self.last}
        with http.stream("GET", self.path, headers=headers) as answer:
            assert answer.status_code == 200
            yield answer

    def _take(self, event: dict[str, Any]) -> None:
        self.last = event["id"]
        data = json.loads(event["data"])
        self.ended = event["event"] == "end"
        for block in data if event["event"] == "points" else []:
            for i, epoch in enumerate(block["epochs"]):
                for run in block["runs"]:
                    self.epochs.append((run, epoch))
                    self.values[run, epoch] = {name: block[name][i] for name in METRICS}
        for one in data if event["event"] == "fisher" else []:
            for run in one["runs"]:
                self.measured.append((run, one["epoch"], one["probe"]))
                self.fisher[run, one["epoch"], one["probe"]] = one


def check(listener: Listener, http: httpx.Client, id: str) -> None:
    """What came, each once and in order within a run, is what the tables say."""
    rows = http.get(f"/v1/experiments/{id}/metrics?shape=wide").json()
    expected = {(r["run"], r["epoch"]): {name: r[name] for name in METRICS} for r in rows}
    assert len(listener.epochs) == len(expected)
    assert listener.values == expected
    for run in {run for run, _ in expected}:
        mine = [epoch for one, epoch in listener.epochs if one == run]
        assert mine == sorted(mine)
    traces = http.get(f"/v1/experiments/{id}/fisher").json()
    found = {(run, epoch): one for (run, epoch, _), one in listener.fisher.items()}
    assert len(listener.measured) == len(traces) == len(found)
    for trace in traces:
        one = found[trace["run"], trace["epoch"]]
        assert one["total"] == trace["trace"]
        assert one["layers"] == {layer["name"]: layer["trace"] for layer in trace["layers"]}


def test_points_come_while_an_experiment_is_trained_and_are_those_of_the_tables(
    lab: Any, http: httpx.Client
) -> None:
    id = submit(lab, training=LONG)
    lab.start_worker()
    listener = Listener(id)
    listener.listen(http)
    check(listener, http, id)


LONG = {"epochs_after_deficit": 40, "batch_size": 64, "augmentation": {"shift": 2}}


def test_a_hundred_broken_connections_leave_no_gap_and_repeat_nothing(
    lab: Any, http: httpx.Client
) -> None:
    """Half of them at another process, and one of the two is started anew in between."""
    id = submit(lab, training=LONG)
    listener, draw = Listener(id), random.Random(7)
    lab.start_worker()
    for _ in range(2):
        with (
            api_process(lab.settings) as api,
            httpx.Client(base_url=api.url, timeout=60, trust_env=False) as other,
        ):
            for i in range(50):
                if i % 5 == 0:
                    listener.listen(draw.choice([http, other]), 1)
                else:
                    listener.break_off(draw.choice([http, other]), draw.randint(1, 2000))
                if listener.ended:
                    check(listener, http, id)
                    listener = Listener(id)
    if not listener.ended:
        listener.listen(http)
    check(listener, http, id)


def test_who_comes_after_the_end_is_sent_everything_and_then_the_end(
    lab: Any, http: httpx.Client
) -> None:
    id = submit(lab)
    lab.start_worker()
    lab.wait(id)
    again = submit(lab)  # all of it is in the store
    for one in (id, again):
        listener = Listener(one)
        listener.listen(http)
        check(listener, http, one)
    answer = http.get(listener.path, headers={"Last-Event-ID": str(listener.last)})
    assert answer.status_code == 204


@pytest.mark.parametrize(
    "given", ["1.x", "1." + "A" * 70_000, "1.eJw", ".", "1.", "7.eJyrBgABGQB6"]
)
def test_a_position_that_is_none_of_ours_starts_anew(
    lab: Any, http: httpx.Client, given: str
) -> None:
    id = submit(lab)
    lab.service.cancel(id)
    with http.stream(
        "GET", f"/v1/experiments/{id}/events?points=true", headers={"Last-Event-ID": given}
    ) as answer:
        found = [e["event"] for e in parsed(answer.iter_lines()) if "event" in e]
    assert found[-1] == "end"
    assert set(found[:-1]) == {"status"}  # two of them where it was asked for just before


def test_a_position_reads_as_it_was_written_and_belongs_to_one_plan(lab: Any) -> None:
    ids = [submit(lab), submit(lab, seeds=[1, 2])]
    points, other = (Points(id, lab.service) for id in ids)
    assert not points.is_known()  # the data set is not prepared
    lab.start_worker()
    for id in ids:
        lab.wait(id, lambda status: status["plan"] is not None)
        lab.service.cancel(id)
    assert points.is_known()
    assert other.is_known()
    assert points.plan is not None
    draw = random.Random(3)
    for _ in range(50):
        sent = [
            Sent(draw.randint(0, s.end - s.start), draw.randint(0, len(w)))
            for s, w in zip(points.plan.segments, points.wanted, strict=True)
        ]
        assert points.sent_at(points.position(sent)) == sent
        assert all(one == Sent() for one in other.sent_at(points.position(sent)))
