"""The archive: what is in it, made file after file while it is sent."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED

import orjson
from zipstream import ZipStream

from api import overview, pictures, tables
from api.experiment import Experiment
from api.export import checkpoints, readme, tensorboard
from api.export.checkpoints import Checkpoints, Choice
from api.figures import FIGURES
from api.renderer import Renderer, RenderingFailed
from api.service import Service
from shared import annotations, information, numbers, rows, second_order, traces, ways
from shared.errors import Conflict
from shared.partners import acting, stimulus
from shared.probe import FISHER, INFORMATION_PLANE, SECOND_ORDER
from shared.results import Results, Row, identity
from shared.rows import words

log = logging.getLogger(__name__)

Data = bytes | Iterator[bytes]
TABLES: Sequence[tables.Whole] = ("csv", "parquet")
PIECE = 64 << 10
"""Sent together: the server hands each piece from one thread to another."""
REDRAW = Path(__file__).with_name("redraw.py")


@dataclass(frozen=True)
class Archive:
    """Of what is there now. Holds one file's piece at a time."""

    service: Service
    experiment: Experiment
    results: Results
    renderer: Renderer
    choice: Choice

    def pieces(self) -> Iterator[bytes]:
        zip, held = ZipStream(compress_type=ZIP_DEFLATED), bytearray()
        for name, data in self._files():
            # Weights do not get smaller.
            kind = ZIP_STORED if name.endswith(".safetensors") else ZIP_DEFLATED
            zip.add(data, name, compress_type=kind)
            for part in zip.file():
                held += part
                if len(held) >= PIECE:
                    yield bytes(held)
                    held.clear()
        yield bytes(held) + b"".join(zip.footer())

    def _files(self) -> Iterator[tuple[str, Data]]:
        id, results = self.experiment.id, self.results
        status = self.service.status(id)
        states = self.service.run_states(id)
        yield "README.md", readme.text(self.service, status, results, self.choice).encode()
        yield "redraw.py", REDRAW.read_bytes()
        yield "spec.json", _json(self.experiment.accepted.shown)
        if self.experiment.plan is not None:
            yield "plan.json", self.experiment.plan.model_dump_json().encode()
        yield "status.json", _json(status)
        if jobs := [self.service.jobs.shown(job) for job in self.service.jobs.ids(id)]:
            yield "measurements.json", _json(jobs)
        yield "summary.json", _json(overview.summary(id, results))
        yield "analysis.json", _json(overview.analysis(id, results))
        clock = overview.clock(self.experiment, results)
        yield (
            "annotations.json",
            _json(annotations.annotations(results.plan, results.plan.runs, clock)),
        )
        yield "runs.csv", tables.pieces("csv", self._runs(states), self._run_columns(), results)
        yield from self._tables()
        yield from self._figures()
        yield from self._event_files()
        yield from self._checkpoints()

    def _runs(self, states: list[str]) -> Iterator[Row]:
        for run, state in zip(self.results.plan.runs, states, strict=False):
            found = overview.run(run, state, self.results)
            diverged = found["diverged"] or {}
            yield identity(run) | {
                "state": state,
                "epochs": run.epochs,
                "windows": "; ".join(map(_window, acting(run))),
                "score": found["score"],
                "diverged_epoch": diverged.get("epoch"),
                "diverged_step": diverged.get("step"),
            }

    def _run_columns(self) -> list[str]:
        head = ["run", "variant", "seed", *self.results.paths, "state", "epochs", "windows"]
        return [*head, "score", "diverged_epoch", "diverged_step"]

    def _tables(self) -> Iterator[tuple[str, Data]]:
        results, runs = self.results, self.results.plan.runs
        kinds = {results.plan.probes[digest]["kind"] for run in runs for _, _, digest in run.probes}
        for format in TABLES:
            found = rows.wide_rows(results)
            columns = rows.wide_columns(results)
            yield f"metrics.{format}", tables.pieces(format, found, columns, results)
            if FISHER in kinds:
                of_runs = (row for run in runs for row in traces.of_run(results, run))
                found, columns = traces.layer_rows(of_runs), traces.layer_columns(results)
                yield f"fisher.{format}", tables.pieces(format, found, columns, results)
            if SECOND_ORDER in kinds:
                found = (row for run in runs for row in second_order.of_run(results, run))
                columns = second_order.columns(results)
                yield f"second_order.{format}", tables.pieces(format, found, columns, results)
            if INFORMATION_PLANE in kinds:
                found = (row for run in runs for row in information.of_run(results, run))
                columns = information.columns(results)
                yield f"information.{format}", tables.pieces(format, found, columns, results)

        if kinds:  # gradients and filters are in no table
            stored = ({"run": run.index} | one for run in runs
                      for one in results.measurements(run, kinds))  # fmt: skip
            yield "measured.jsonl", tables.pieces("jsonl", stored, [], results)

    def _figures(self) -> Iterator[tuple[str, Data]]:
        """Those for which there is something to draw."""
        for name, build in FIGURES.items():
            try:
                made = build(self.results)
            except Conflict:
                continue
            for format, ending in (("json", "json"), ("vegalite", "vl.json"), ("svg", "svg")):
                try:
                    drawn = pictures.render(made, format, self.renderer)
                except RenderingFailed as error:
                    log.error("%s of %s: %s", name, self.experiment.id, error.detail)
                    continue
                yield f"figures/{name}.{ending}", drawn

    def _event_files(self) -> Iterator[tuple[str, Data]]:
        of = ways.ways(self.results, empirical=True)
        for run in self.results.plan.runs:
            events = tensorboard.event_file(self.results, run, of)
            if first := next(events, b""):
                name = f"tensorboard/{tensorboard.folder(run)}/events.out.tfevents.hubel"
                yield name, _chained(first, events)

    def _checkpoints(self) -> Iterator[tuple[str, Data]]:
        done = self.service.done_segments(self.experiment.id) if self.results.plan.runs else set()
        there = Checkpoints(self.service, self.results, done, self.choice)
        for name, file in there.files():
            yield name, checkpoints.pieces(file)
        listed = rows.csv_lines(there.rows, checkpoints.COLUMNS)
        yield "checkpoints.csv", "".join(listed).encode()


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _window(window: dict[str, Any]) -> str:
    """blur(resolution=8) 0 to 40"""
    return f"{words([stimulus(window)])} {window['start']} to {window['end']}"


def _json(value: Any) -> bytes:
    return orjson.dumps(numbers.shown(value), option=orjson.OPT_INDENT_2)
