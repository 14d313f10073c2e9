"""What the scale bench measured, in Markdown.

python -m tests.bench.scale_table tests/bench/SCALE.json      writes SCALE.md again
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.load_table import spread

Found = dict[str, Any]

ENOUGH = 4.0
"""Segments a second from which on a ceiling is computed."""

HEAD = """# How much one reconcile loop, one Redis and one store can serve

Written by `make bench-scale` (`tests/bench/scale.py`); the numbers are in `SCALE.json`. The real
API with its planner and its reconcile loop, Valkey and SeaweedFS as local mode starts them, on one
machine with the simulated workers: the store and the workers take most of its cores, so what is
finished in a second is a lower bound for servers of their own.

- **A simulated worker** runs the worker's own code: it takes a message from Celery's list (the
  commands that kombu sends), takes the lease, reads plan, attempts, outcome and the parent's
  checkpoint, writes attempt, blobs, pointers and manifest, and wakes the children. In place of
  training it pauses: log-normal with the mean that the table says and a sigma of {sigma:g} of the
  logarithm. Checkpoints are {kib} KiB. Leases are renewed as often as a worker's steps and its
  thread renew them (4.5 commands a second), and the store is asked every 5 s whether the experiment
  has ended; but several renewals go in one message, plans are parsed once a process, and a process
  shares its cache of manifests.
- **Segments** are of {epochs} epochs, in experiments of 232: {seeds} seeds of a deficit that is
  removed at five epochs, the runs sharing what they have in common. No two experiments share
  anything.
- **offered**: workers by mean seconds of a segment. **finished**: manifests written in a second.
- **wait**: from when a segment could be done (its experiment was accepted, its parent stored) until
  a worker has it, with all that it asks before training: the queue's latency.
- **gap**: of a worker, from the end of a segment, its children woken, to the next one's training.
- **idle**: workers' time in gaps. **CPU**: shares of one core. **passes**: of the reconcile loop,
  which rests {rest:g} s between two. **plans read**: again, since 256 MiB of them are kept.
  **load**: the machine's average over a minute, at the end of the step.
"""


def markdown(found: Found) -> str:
    parts = [_head(found), _about(found), _light(found["light"])]
    parts += [_accepted(found), _backlog(found["backlog"]), _costs(found), _killed(found["killed"])]
    return "\n".join(parts)


def _head(found: Found) -> str:
    options = found["options"]
    return HEAD.format(
        sigma=found["sigma"], kib=options["checkpoint_kib"], epochs=options["epochs"],
        seeds=found["seeds"], rest=found["reconcile_seconds"],
    )  # fmt: skip


def _about(found: Found) -> str:
    about, options = found["about"], found["options"]
    loads = [step["load"] for step in found["light"] + found["backlog"]]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['date']}; {about['hardware']}; {versions}. {options['rounds']} rounds, a step"
        f" counts for {options['step']:g} s after {options['warm']:g} s, {options['replicas']} API"
        f" process. Where there are several numbers: median (least to most) over the rounds.\n"
        f"Other work shared the machine: its load average was {min(loads):.1f} to {max(loads):.1f},"
        " this bench's own included."
        + (f" All of it ran at nice {options['priority']}.\n" if options["priority"] else "\n")
    )


def _light(steps: list[Found]) -> str:
    lines = [
        "## Workers enough: how long work waits", "",
        "All there is to do are these experiments, submitted at once, each at most 40 segments"
        " wide; workers for all that can be done at a time. Nothing else waits.", "",
        "| experiments | workers | s a segment | finished/s | wait p50 s | p99 s | most s | n |"
        " Redis commands/s | store requests/s, workers | API | load |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for (key, seconds), rounds in _grouped(steps, "experiments").items():
        cells = [str(key), str(rounds[0]["workers"]), f"{seconds:g}"]
        cells += _cells(rounds, "finished", "wait.p50", "wait.p99", "wait.most")
        cells += [str(sum(step["wait"]["n"] for step in rounds))]
        cells += _cells(rounds, "redis_commands", "worker_requests", "api_requests", "load")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _accepted(found: Found) -> str:
    made, before = found["accepted"], found["empty"]["memory"]
    cpu = made["cpu"]
    memory = ", ".join(
        f"{name} {before[name]:.0f} to {made['memory'][name]:.0f}" for name in before
    )
    return (
        f"## {made['segments']:,} segments that wait\n\n"
        f"{made['experiments']} experiments, submitted by {found['parallel']} clients at once,"
        f" were accepted in {made['seconds']:.0f} s:"
        f" {made['segments'] / made['seconds']:,.0f} segments a second,"
        f" {1000 * cpu['api-0'] / made['experiments']:.0f} ms of the API's CPU an experiment."
        f" Memory in MiB, from empty to then: {memory}. After the sweep {found['left']:,} segments"
        " were left.\n"
    )


def _backlog(steps: list[Found]) -> str:
    lines = [
        "| workers | s a segment | offered/s | finished/s | idle % | gap p50 s | p99 s | most s |"
        " CPU: Redis | store | API | workers | Redis commands/s | store requests/s, workers | API |"
        " passes p50 s | most s | looks/s | plans read/s | load |",
        "|---" * 20 + "|",
    ]
    for (key, seconds), rounds in _grouped(steps, "workers").items():
        cells = [str(key), f"{seconds:g}", f"{rounds[0]['offered']:.3g}"]
        cells += _cells(rounds, "finished")
        cells += [spread([100 * step["idle_share"] for step in rounds])]
        cells += _cells(rounds, "gap.p50", "gap.p99", "gap.most", "cpu.redis", "cpu.store")
        cells += [spread([_api(step["cpu"]) for step in rounds])]
        cells += _cells(rounds, "cpu.simulated workers", "redis_commands", "worker_requests")
        cells += _cells(rounds, "api_requests", "passes.p50", "passes.most")
        for name in ("looks", "plans_read"):
            cells.append(spread([step[name] / step["seconds"] for step in rounds]))
        cells += _cells(rounds, "load")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _costs(found: Found) -> str:
    """What one segment takes: other work on the machine disturbs this least."""
    who: dict[str, Callable[[Found], float]] = {
        "Redis": lambda cpu: cpu["redis"], "store": lambda cpu: cpu["store"], "API": _api,
        "simulated workers": lambda cpu: cpu["simulated workers"],
    }  # fmt: skip
    lines = [
        "## What a segment takes", "",
        "CPU milliseconds of each process by finished segment, and in brackets the segments a"
        " second at which that would be one core (computed); store requests of workers, and Redis"
        " commands, by finished segment. Below 4 a second there is no bracket: most is then for the"
        " backlog that the loop goes round, however little is finished.", "",
        f"| with | {' | '.join(who)} | store requests | Redis commands |", "|---" * 7 + "|",
    ]  # fmt: skip
    for title, key, steps in (
        ("nothing waits, {} experiments, {:g} s", "experiments", found["light"]),
        ("a backlog, {} workers, {:g} s", "workers", found["backlog"]),
    ):
        for (value, seconds), every in _grouped(steps, key).items():
            if not (rounds := [step for step in every if step["finished"]]):
                continue
            cells = [_cost(rounds, one) for one in who.values()]
            for name in ("worker_requests", "redis_commands"):
                cells.append(spread([step[name] / step["finished"] for step in rounds]))
            lines.append(f"| {title.format(value, seconds)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cost(rounds: list[Found], of: Callable[[Found], float]) -> str:
    """Without a ceiling where few segments are finished: most of it is then for what waits."""
    each = sorted(of(step["cpu"]) / step["finished"] for step in rounds)
    middle = each[len(each) // 2]
    busy = min(step["finished"] for step in rounds) >= ENOUGH
    ceiling = f" [{1 / middle:,.0f}]" if busy and middle > 0 else ""
    return spread([1000 * one for one in each]) + ceiling


def _killed(one: Found) -> str:
    states = ", ".join(f"{count} {state}" for state, count in one["states"].items())
    again = one["takeover"]
    taken = (
        f"taken over {again['p50']:.1f} s later (median; p99 {again['p99']:.1f}, most"
        f" {again['most']:.1f}; a lease is {one['lease_seconds']:g} s)"
        if again["n"]
        else "not taken over"
    )
    rest = one["lost"] - one["taken_over"]
    return (
        "## A quarter of the workers dies\n\n"
        f"{one['segments']:,} segments, {one['workers']} workers, {one['segment_seconds']:g} s a"
        f" segment; SIGKILL for a process of {one['dead']} of the workers in mid-run. Of the"
        f" {one['lost']} segments that they had not said to be done {one['taken_over']} were"
        f" {taken}; {rest} had been stored just before. {one['seconds_after']:.0f} s after the kill"
        f" no experiment was left, and their states were: {states}. {one['twice']} segments were"
        " taken twice by workers that lived.\n"
    )


def _grouped(steps: list[Found], key: str) -> dict[tuple[int, float], list[Found]]:
    """Rounds of the same step: by what `key` names, and the mean of a segment's time."""
    found: dict[tuple[int, float], list[Found]] = {}
    for step in steps:
        found.setdefault((step[key], step["segment_seconds"]), []).append(step)
    return found


def _cells(rounds: list[Found], *paths: str) -> list[str]:
    """Of each path, such as `wait.p50`, its values over the rounds."""
    return [_cell([_at(step, path) for step in rounds]) for path in paths]


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return spread(known) if known else "none"


def _at(step: Found, path: str) -> float | None:
    found: Any = step
    for part in path.split("."):
        found = found.get(part) if found else None
    return found


def _api(cpu: Found) -> float:
    return float(sum(share for name, share in cpu.items() if name.startswith("api-")))


if __name__ == "__main__":
    source = Path(sys.argv[1])
    source.with_suffix(".md").write_text(markdown(json.loads(source.read_text())))
