"""The runs of an experiment in a terminal, as they are trained: a bar, the curve and the last
accuracy of each, as many as there is room for."""

import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from api import words
from api.client import Json, Service, word
from api.lifecycle import ENDED

AGAIN_SECONDS = 1.0
CURVE = 24
"""Columns of a curve: accuracy from 0 to 1, the mean of as many epochs as share a column."""
LEVELS = "▁▂▃▄▅▆▇█"
AROUND = 4
"""Lines that are not runs."""
NAMED = 200
"""Runs that are asked about: no terminal shows more."""


def to_the_end(service: Service, id: str, console: Console) -> Json:
    """Show an experiment until it has ended; its last status."""
    screen = Screen(console)
    last: str | None = None
    with Live(get_renderable=screen.shown, console=console, refresh_per_second=4):
        while True:
            for event_id, event, data in service.events(id, last):
                last = event_id
                screen.note = ""
                screen.take(event, data)
                if screen.status and screen.status["progress"] and not screen.runs:
                    screen.name(_runs(service, id))
                if event == "end" and screen.status is not None:
                    return screen.status
            found = service.try_status(id)  # where something on the way cuts streams off
            screen.note = "" if found else "no answer; asking again"
            if found is not None:
                screen.take("status", found)
                if found["state"] in ENDED:
                    return found
            time.sleep(AGAIN_SECONDS)


def _runs(service: Service, id: str) -> list[Json]:
    answer = service.get(f"/v1/experiments/{word(id)}/runs", page_size=NAMED)
    found: list[Json] = service.read(answer, "runs")["runs"]
    return found


class Run:
    """What has come of one run so far."""

    def __init__(self, epochs: int, label: str) -> None:
        self.epochs, self.label = epochs, label
        self.accuracy: list[float | None] = []

    @property
    def rank(self) -> int:
        """Those under way are shown first, then those that wait."""
        done = len(self.accuracy)
        return 2 if done >= self.epochs else 0 if done else 1


class Screen:
    """What is shown. Events are taken in one thread and shown by another."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status: Json | None = None
        self.note = ""
        self.runs: dict[int, Run] = {}
        self._early: dict[int, list[float | None]] = {}
        """Of runs that are not named yet."""

    def name(self, runs: list[Json]) -> None:
        for one in runs:
            run = Run(one["epochs"], label(one))
            run.accuracy = self._early.get(one["run"], [])
            self.runs[one["run"]] = run

    def take(self, event: str, data: Any) -> None:
        if event == "status":
            self.status = data
        for block in data if event == "points" else []:
            for run in block["runs"]:
                known = self.runs.get(run)
                curve = known.accuracy if known else self._early.setdefault(run, [])
                curve += block["test_accuracy"]

    def shown(self) -> Group:
        room = max(1, self.console.height - AROUND)
        runs = dict(sorted(self.runs.items(), key=lambda one: one[1].rank)[:room])
        table = Table.grid(padding=(0, 1))
        for index in sorted(runs):
            table.add_row(*self._row(index, runs[index]))
        others = len(self.runs) - len(runs)
        more = [Text(f"and {others} more runs", "dim")] if others > 0 else []
        return Group(self._head(), table, *more)

    def _head(self) -> Table:
        head = Table.grid(padding=(0, 1))
        if self.status is None:
            head.add_row(self.note or "waiting for the service")
            return head
        what, count = words.counted(self.status)
        left = self.status.get("time_left_seconds")
        ended = self.status["state"] in ENDED
        head.add_row(
            f"{self.status['state']:<9}",
            ProgressBar(max(1, count["planned"]), count["done"], width=30),
            f"{count['done']}/{count['planned']} {what}",
            "" if left is None or ended else f"{words.duration(left)} left",
            Text(self.note, "yellow"),
        )
        return head

    def _row(self, index: int, run: Run) -> Iterator[Any]:
        done = len(run.accuracy)
        known = [value for value in run.accuracy if value is not None]
        yield Text(f"{index:>3} {run.label}"[: max(12, self.console.width - 64)])
        yield ProgressBar(max(1, run.epochs), done, width=12)
        yield Text(f"{done}/{run.epochs}", justify="right")
        yield Text(curve(run.accuracy), "cyan")
        yield f"{100 * known[-1]:.1f} %" if known else ""


def label(run: Json) -> str:
    """Variant, place in the sweep and seed in a few words."""
    values = (f"{path.rsplit('.', 1)[-1]}={value}" for path, value in run["point"].items())
    parts = [run["variant"] or "", *values, f"seed {run['seed']}"]
    return words.plain(" ".join(part for part in parts if part))


def curve(values: list[float | None], columns: int = CURVE) -> str:
    """Accuracies as blocks; a column without a finite one is empty."""
    count = min(columns, len(values))
    parts = [values[i * len(values) // count : (i + 1) * len(values) // count]
             for i in range(count)]  # fmt: skip
    return "".join(map(_block, parts))


def _block(part: list[float | None]) -> str:
    known = [value for value in part if value is not None]
    if not known:
        return " "
    mean = sum(known) / len(known)
    return LEVELS[min(len(LEVELS) - 1, max(0, int(mean * len(LEVELS))))]
