"""`hubel watch` in a real terminal, against a real service that is away for a while."""

import os
import pty
import re
import subprocess
import sys
import time
from typing import Any

import pytest
from api_process import api_process
from rich.console import Console
from small import submit

from api.run_bars import CURVE, Screen, curve

pytestmark = pytest.mark.services


def in_a_terminal(url: str, id: str) -> tuple[subprocess.Popen[bytes], int]:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "--url", url, "watch", id],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "110", "LINES": "30"},
    )  # fmt: skip
    os.close(theirs)
    return child, ours


def read(terminal: int, until: str = "", seconds: float = 60) -> str:
    text, deadline = "", time.monotonic() + seconds
    while not (until and re.search(until, text)):
        assert time.monotonic() < deadline, text[-3000:]
        try:
            text += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # the other end is closed
            break
    return text


def test_watch_shows_each_run_with_its_curve_and_outlives_the_service(lab: Any) -> None:
    training = {"epochs_after_deficit": 30, "batch_size": 64, "augmentation": {"shift": 2}}
    id = submit(lab, training=training)
    with api_process(lab.settings) as api:
        port, url = api.address[1], api.url
        child, terminal = in_a_terminal(url, id)
        lab.start_worker()
        seen = read(terminal, until=r"end=4 seed 0.*[1-9]\d?/34.*%")
    seen += read(terminal, until="no answer; asking again")
    with api_process(lab.settings, port=port):
        seen += read(terminal)
        assert child.wait(30) == 0
    for run, epochs in ((0, 30), (1, 32), (2, 34)):
        assert re.search(rf"{run} end=\d seed 0.*{epochs}/{epochs}", seen)
    assert re.search(r"[▁▂▃▄▅▆▇█]{24}", seen)
    assert f"{id}  succeeded" in seen
    assert "runs: 3 of 3 done" in seen


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([0.0, 0.5, 1.0], "▁▅█"),
        ([None, 0.1, None], " ▁ "),
        ([0.0, 1.0] * 2 * CURVE, "▅" * CURVE),
        ([1.5, -3.0], "█▁"),
    ],
)
def test_a_curve_is_as_many_blocks_as_there_is_room_for(
    values: list[float | None], expected: str
) -> None:
    assert curve(values) == expected


def test_runs_under_way_are_shown_before_those_that_wait_or_are_done() -> None:
    screen = Screen(Console(width=100, height=7, force_terminal=True))
    screen.name(
        [{"run": i, "epochs": 2, "variant": None, "point": {}, "seed": i} for i in range(6)]
    )
    done = {"runs": [0, 1, 2], "epochs": [1, 2], "test_accuracy": [0.1, 0.2]}
    screen.take("points", [done, {"runs": [4], "epochs": [1], "test_accuracy": [0.5]}])
    with screen.console.capture() as text:
        screen.console.print(screen.shown())
    shown = [int(n) for n in re.findall(r"seed (\d)", text.get())]
    assert shown == [3, 4, 5]
    assert "and 3 more runs" in text.get()
