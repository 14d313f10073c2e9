"""Brings what an MLflow server holds of one experiment up to date."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from api import meters
from api.experiment import Experiment
from api.mlflow import words
from api.mlflow.cursor import DELETED, RUNNING, Cursor, Held
from api.mlflow.server import MOST_METRICS, MOST_PARAMS, Refused, Server
from api.mlflow.words import EXPERIMENT, Point, Words
from shared.plan import Plan, RunPlan
from shared.results import Results

if TYPE_CHECKING:
    from api.service import Service

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"


class Sending:
    """Used by one thread."""

    def __init__(self, service: "Service", server: Server) -> None:
        self.service, self.server = service, server
        self._words: tuple[str, Words] | None = None
        """Of the experiment sent last: of thousands of runs they take seconds to make."""

    def bring(self, id: str, cursor: Cursor, until: float) -> bool:
        """Whether all that is there now was sent before the moment `until`. After an error the
        cursor has to be confirmed anew."""
        experiment = self.service.experiment(id)
        if experiment.plan is None:
            cursor.ended = experiment.outcome is not None
            return True
        copy = _Copy(self, experiment, experiment.plan, cursor, until)
        try:
            cut = copy.send()
            if not cut and experiment.outcome is not None:
                copy.confirm()  # where another process has made some of its runs too
                cursor.ended = not any(copy.due(run) for run in experiment.plan.runs)
        except BaseException:
            cursor.confirmed = False
            raise
        return not cut and (cursor.ended or experiment.outcome is None)

    def words(self, experiment: Experiment, results: Results) -> Words:
        if self._words is None or self._words[0] != experiment.id:
            self._words = experiment.id, Words.of(experiment, results)
        return self._words[1]


class _Copy:
    """One experiment, at one moment."""

    def __init__(
        self, sending: Sending, experiment: Experiment, plan: Plan, cursor: Cursor, until: float
    ) -> None:
        self.server, self.cursor, self.until = sending.server, cursor, until
        self.experiment, self.plan = experiment, plan
        service, id = sending.service, experiment.id
        over = experiment.outcome is not None
        self.done = service.done_segments(id) if over else set(service.tracker(id).done)
        read = Results.read(plan, service.records, id, experiment.spec.name, self.done)
        self.results = replace(read, measures=experiment.accepted.measures)
        self._words: Callable[[], Words] = lambda: sending.words(experiment, self.results)
        self._created = words.milliseconds(experiment.created)
        self._made = False

    def send(self) -> bool:
        """Whether it was cut short."""
        if not self.cursor.confirmed and any(map(self.due, self.plan.runs)):
            self._ask()
        refused: Refused | None = None
        for run in self.plan.runs:
            if self.due(run):
                if time.monotonic() > self.until:
                    return True
                try:
                    self._send(run)
                except Refused as error:  # the others are not at fault
                    refused = refused or error
        if refused is not None:
            raise refused
        return False

    def confirm(self) -> None:
        """Once more, after a run was made here."""
        if self._made:
            self._ask()
            self._made = False

    def due(self, run: RunPlan) -> bool:
        """Whether the server lacks something of it."""
        held, status = self.cursor.runs.get(run.index), self._status(run)
        if held is None:
            return status != RUNNING or words.reached(self.plan, run, self.done) is not None
        if held.status in (DELETED, status) and held.status != RUNNING:
            return False
        return status != RUNNING or next(self._points(run, held), None) is not None

    def _ask(self) -> None:
        for surplus in self.cursor.confirm(self.server.runs(EXPERIMENT, self.experiment.id)):
            self.server.delete(surplus)

    def _send(self, run: RunPlan) -> None:
        held = self.cursor.runs.get(run.index) or self._create(run)
        there, params = self.cursor.params.setdefault(run.index, set()), self._words().params(run)
        missing = iter([(key, value) for key, value in params.items() if key not in there])
        points = self._points(run, held)
        while True:
            batch = list(islice(points, MOST_METRICS - MOST_PARAMS))
            some = dict(islice(missing, MOST_PARAMS))
            if not batch and not some:
                break
            self.server.log(held.id, batch, some)
            held.sent |= {point["key"]: point["step"] for point in batch}
            there.update(some)
            meters.MIRRORED.inc(len(batch))
        if (status := self._status(run)) != RUNNING:
            self.server.end(held.id, status, self._ended(run))
            held.status = status

    def _create(self, run: RunPlan) -> Held:
        said = self._words()
        id = self.server.create(said.name(run), self._created, said.tags(run))
        self._made = True
        self.cursor.runs[run.index] = held = Held(id)
        return held

    def _points(self, run: RunPlan, held: Held) -> Iterator[Point]:
        until = words.reached(self.plan, run, self.done)
        if until is None:
            return iter(())
        whole = self._status(run) != RUNNING
        return words.points(self.results, run, self._words(), dict(held.sent), until, whole)

    def _status(self, run: RunPlan) -> str:
        if all(index in self.done for index in run.segments):
            return FINISHED
        if self.experiment.outcome is None:
            return RUNNING
        return KILLED if self.experiment.outcome["state"] == "cancelled" else FAILED

    def _ended(self, run: RunPlan) -> int:
        """When its last epoch was trained; of one that was reused, when it was asked for."""
        last = self.results.last_epochs(run, 1)
        if last:
            return max(self._created, words.milliseconds(last[-1]["time"]))
        ended = self.experiment.outcome
        return words.milliseconds(ended["finished"]) if ended else self._created
