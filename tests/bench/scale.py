"""How many workers and segments one reconcile loop, one Redis and one store can serve.

python -m tests.bench.scale --segments 2000 --workers 64      tries it, small
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import machine, processes, scale_events, scale_table
from tests.bench.scale_system import PARALLEL, SEEDS, Scaled, between, wait_until
from tests.bench.scale_workers import SIGMA, Crew, Job, run

Found = dict[str, Any]

SWEEP = "1:2 8:2 64:120 64:8 64:3 512:120 2048:240"
LIGHT = "1:5 3:5"
IN_A_PROCESS = 512
"""Workers of one process at most."""
AT_LEAST = 4
"""Processes, where there are so many workers: a share of them can be killed."""
FREE_SHARE = 1.2
"""Workers where none is to be short of: for all that one experiment can do at once."""
WIDEST = SEEDS * 5
BUSY_SHARE, START_SECONDS = 0.9, 120.0
"""A step begins when so many have work, or after so long."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.bench.scale_workers"])


class Workers:
    """Simulated ones, in some processes."""

    def __init__(
        self, system: Scaled, name: str, count: int, seconds: float, checkpoint_bytes: int,
        kind: type[Crew] = Crew,
    ) -> None:  # fmt: skip
        self.count, self.seconds, self.files = count, seconds, []
        settings = system.settings.model_dump() | {
            field: getattr(system.settings, field).get_secret_value()
            for field in ("s3_access_key", "s3_secret_key", "redis_url")
        }
        several = min(count, max(AT_LEAST, math.ceil(count / IN_A_PROCESS)))
        self.pipes, self.processes = [], []
        for index in range(several):
            file = system.folder / f"{name}-{index}.events"
            workers = count // several + (index < count % several)
            job = Job(
                settings, f"{name}-{index}", workers, seconds, str(file), checkpoint_bytes, index
            )
            ours, theirs = _context.Pipe()
            process = _context.Process(target=run, args=(job, theirs, kind), daemon=True)
            process.start()
            self.files.append(file)
            self.pipes.append(ours)
            self.processes.append(process)

    def ask(self, word: str = "") -> Found:
        """All that live: requests to the store, CPU seconds, workers at work."""
        said = []
        for process, pipe in zip(self.processes, self.pipes, strict=True):
            if process.is_alive():
                pipe.send(word)
                said.append(pipe.recv())
        total = {key: sum(one[key] for one in said) for key in ("requests", "cpu", "busy")}
        return total | {"at": time.monotonic()}

    def kill(self, index: int) -> int:
        """As a machine dies. How many workers were on it."""
        self.processes[index].kill()
        self.processes[index].join()
        return self.count // len(self.processes)

    def end(self) -> None:
        """What is under way is given back."""
        self.ask("give back")
        for _ in wait_until(lambda: self.ask()["busy"] == 0, 60, 0.5):
            pass
        for process, pipe in zip(self.processes, self.pipes, strict=True):
            if process.is_alive():
                pipe.send("end")
            process.join(10)


def backlog(system: Scaled, workers: int, seconds: float, options: argparse.Namespace) -> Found:
    """Workers that always find work: how much they get done, and how long they wait for it."""
    name = f"backlog-{workers}-{time.monotonic():.0f}"
    fleet = Workers(system, name, workers, seconds, options.checkpoint_kib << 10)
    began = time.monotonic()
    for _ in wait_until(lambda: fleet.ask()["busy"] >= BUSY_SHARE * workers, START_SECONDS):
        pass
    started = time.monotonic() - began
    time.sleep(options.warm)
    found = _watch(system, fleet, options.step) | {"started": started}
    fleet.end()
    return _told(system, fleet, found) | {"workers": workers, "segment_seconds": seconds}


def light(system: Scaled, count: int, seconds: float, options: argparse.Namespace) -> Found:
    """Some experiments that are all there is to do, and workers enough: how long work waits."""
    workers = math.ceil(FREE_SHARE * WIDEST * count)
    name = f"light-{count}-{time.monotonic():.0f}"
    fleet = Workers(system, name, workers, seconds, options.checkpoint_kib << 10)
    while fleet.ask()["at"] and len(_all_free(fleet)) < workers:
        time.sleep(0.2)
    made = [system.submit() for _ in range(count)]
    system.remember(made)
    found = _watch(system, fleet, 4 * options.step, lambda: system.active() == 0)
    fleet.end()
    told = _told(system, fleet, found, accepted_since=min(at for _, at in made))
    return told | {"workers": workers, "segment_seconds": seconds, "experiments": count}


def _all_free(fleet: Workers) -> set[str]:
    lines = (line for f in fleet.files if f.exists() for line in f.read_text().splitlines())
    return {line.split(" ")[2] for line in lines}


def _watch(system: Scaled, fleet: Workers, seconds: float, done: Any = lambda: False) -> Found:
    before, theirs = system.look(), fleet.ask()
    for _ in wait_until(done, seconds):
        pass
    after, then = system.look(), fleet.ask()
    passed = then["at"] - theirs["at"]
    took = between(before, after, system.passes)
    took["cpu"]["simulated workers"] = (then["cpu"] - theirs["cpu"]) / passed
    requests = (then["requests"] - theirs["requests"]) / passed
    return took | {
        "since": before["at"], "until": after["at"], "worker_requests": requests,
        "load": os.getloadavg()[0],
    }  # fmt: skip


def _told(system: Scaled, fleet: Workers, found: Found, accepted_since: float = 0.0) -> Found:
    """Of the waits only those of experiments of this step: an earlier one may have left some."""
    since, until = found["since"], found["until"]
    story = scale_events.read(fleet.files)
    system.ended_at |= story.done
    gaps, unused = scale_events.idle(story, since, until)
    works = {name: one for name, one in system.works.items() if one.accepted >= accepted_since}
    waited = scale_events.waits(story, works, system.ended_at, since, until)
    ended = sum(since <= at < until for at in story.done.values())
    return found | {
        "offered": fleet.count / fleet.seconds,
        "finished": ended / (until - since),
        "n": ended,
        "wait": scale_events.summary(waited),
        "gap": scale_events.summary(gaps),
        "idle_share": unused / (fleet.count * (until - since)),
        "passes": scale_events.summary(found["passes"]) | {"all": found["passes"]},
        "errors": len(story.errors),
        "first_errors": story.errors[:3],
    }


def killed(system: Scaled, options: argparse.Namespace) -> Found:
    """A quarter of the workers dies in mid-run: whether all ends, and when their work goes on."""
    made = system.accept(options.kill_segments)
    fleet = Workers(system, "kill", options.kill_workers, options.kill_seconds, 1024)
    time.sleep(options.warm)
    dead = fleet.kill(0)
    at, began = time.monotonic(), time.monotonic()
    lost = {
        work: worker
        for when, work, worker in scale_events.read(fleet.files[:1]).taken
        if work not in scale_events.read(fleet.files[:1]).done
    }
    for _ in wait_until(lambda: system.active() == 0, options.kill_limit):
        pass
    seconds = time.monotonic() - began
    fleet.end()
    story = scale_events.read(fleet.files)
    system.ended_at |= story.done
    again = [min((t for t, w, _ in story.taken if w == work and t > at), default=None)
             for work in lost]  # fmt: skip
    return {
        "workers": options.kill_workers, "dead": dead, "segments": made["segments"],
        "segment_seconds": options.kill_seconds, "lease_seconds": system.settings.lease_seconds,
        "lost": len(lost), "taken_over": sum(one is not None for one in again),
        "takeover": scale_events.summary([one - at for one in again if one is not None]),
        "states": system.states(made["ids"]), "seconds_after": seconds,
        "twice": len(story.taken) - len({work for _, work, _ in story.taken}) - len(lost),
        "trained": len(story.done), "errors": len(story.errors),
        "first_errors": story.errors[:3], "load": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    options = _options()
    given = {name: value for name, value in vars(options).items() if not isinstance(value, Path)}
    found: Found = {"about": machine.about("scale"), "options": given, "sigma": SIGMA}
    found |= {"parallel": PARALLEL, "light": [], "backlog": []}
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        system = Scaled(Path(name), options.replicas, options.epochs)
        try:
            if options.priority:  # what starts later takes it over
                pids = [os.getpid(), *(child.pid for child in system.children.values())]
                processes.set_priority(pids, options.priority)
            found |= {"seeds": SEEDS, "reconcile_seconds": system.settings.reconcile_seconds}
            _measure(system, options, found)
        finally:
            system.stop()
    text = scale_table.markdown(found)
    print(text)
    if options.out:
        options.out.write_text(text)
        options.out.with_suffix(".json").write_text(json.dumps(_rounded(found), indent=1) + "\n")


def _measure(system: Scaled, options: argparse.Namespace, found: Found) -> None:
    found["empty"] = system.look()
    for round in range(options.rounds):
        for count, seconds in _pairs(options.light):
            say(f"round {round + 1}: {count:g} experiments alone, {seconds:g} s a segment")
            found["light"].append(noted(light(system, int(count), seconds, options), round))
    say(f"{options.kill_segments} segments, of {options.kill_workers} workers a quarter dies")
    found["killed"] = killed(system, options)
    say(json.dumps(found["killed"]))
    say(f"{options.segments} segments are accepted")
    made = system.accept(options.segments)
    found["accepted"] = {key: value for key, value in made.items() if key != "ids"}
    found["accepted"] |= {"memory": system.look()["memory"], "load": os.getloadavg()[0]}
    say(json.dumps(found["accepted"]))
    for round in range(options.rounds):
        for workers, seconds in _pairs(options.sweep):
            if workers <= options.workers:
                say(f"round {round + 1}: {workers:g} workers, {seconds:g} s a segment")
                step = backlog(system, int(workers), seconds, options)
                found["backlog"].append(noted(step, round))
    found["left"] = len(system.works) - len(system.ended_at)


def noted(step: Found, round: int) -> Found:
    keys = (
        "seconds",
        "offered",
        "finished",
        "n",
        "wait",
        "gap",
        "idle_share",
        "cpu",
        "errors",
        "load",
        "plans_read",
    )
    shown = {key: step[key] for key in keys} | {"passes": step["passes"]["all"]}
    say("  " + json.dumps(_rounded(shown)))
    return step | {"round": round}


def _pairs(text: str) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in (part.split(":") for part in text.split())]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--segments", type=int, default=100_000, help="that wait in the sweep")
    parser.add_argument("--sweep", default=SWEEP, help="WORKERS:SECONDS of a segment, and so on")
    parser.add_argument("--workers", type=int, default=2048, help="steps with more are left out")
    parser.add_argument("--light", default=LIGHT, help="EXPERIMENTS:SECONDS of a segment")
    parser.add_argument("--epochs", type=int, default=10, help="of a segment")
    parser.add_argument("--warm", type=float, default=10, help="seconds before a step counts")
    parser.add_argument("--step", type=float, default=20, help="seconds that a step counts")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--priority", type=int, default=0, help="nice value of all of it")
    parser.add_argument("--replicas", type=int, default=1, help="API processes")
    parser.add_argument("--checkpoint-kib", type=int, default=1)
    parser.add_argument("--kill-segments", type=int, default=928)
    parser.add_argument("--kill-workers", type=int, default=64)
    parser.add_argument("--kill-seconds", type=float, default=5, help="of a segment")
    parser.add_argument("--kill-limit", type=float, default=400)
    parser.add_argument("--out", type=Path, help="FILE.md, and FILE.json beside it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
