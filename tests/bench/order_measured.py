"""The order of work, measured: a preset's plan through the real API, its reconcile loop, Redis and
store, by simulated workers that pause in place of training."""

import threading
import time
from typing import Any

import httpx

from api.time_left import TimeLeft
from shared.live import Live
from shared.makespan import precedence
from shared.plan import Plan, Segment
from shared.presets import PRESETS, spec
from shared.urgency import remaining
from shared.work import work_name
from tests.bench import scale_events
from tests.bench.order_plans import QUARTERS, SIGMA, bound, simple_bound
from tests.bench.scale import Workers, _all_free
from tests.bench.scale_system import Scaled, wait_until
from tests.bench.scale_workers import Crew

Found = dict[str, Any]

POLL_SECONDS = 0.25
PRESENCE_SECONDS = 4.0
LIMIT_SECONDS = 1200.0


class Urgent(Crew):
    """Its segments take as long as the plan says, times a factor, times chance. It is seen."""

    _at, _told = "", float("-inf")

    def _run(
        self, experiment: str, plan: Plan, segment: Segment, tick: Any, how: Any = None
    ) -> bool:
        self._left = TimeLeft(plan, [])
        self._segment = segment
        return super()._run(experiment, plan, segment, tick, how)

    def seconds(self) -> float:
        parts = sum(self._left._parts(self._segment).values())
        drawn = self.random.lognormvariate(-SIGMA * SIGMA / 2, SIGMA)
        return self.shared.job.seconds * drawn * parts

    def tell(self, experiment: str | None) -> None:
        if (experiment or "") == self._at and time.monotonic() - self._told < PRESENCE_SECONDS:
            return
        self._at, self._told = experiment or "", time.monotonic()
        about = {"state": "training" if experiment else "idle", "experiment": experiment}
        self.live.tell_worker(self.supervisor, about | {"unfit": False, "for": 0.0})


class FirstCome(Urgent):
    """Does what a message names, as workers did before."""

    def chosen(self, experiment: str, index: int, work: str) -> int:
        self.live.take(work, self.supervisor)
        return index


KINDS: dict[str, type[Crew]] = {"urgent": Urgent, "first come": FirstCome}


def body(preset: str, seed: int) -> Found:
    """Small images, so that little is stored; cut as the paper's images are."""
    whole = spec(preset, PRESETS[preset], "paper")
    images = {"name": "gratings", "train_samples": 128, "test_samples": 64}
    whole["seeds"] = [seed + i for i in range(len(whole["seeds"]))]
    return whole | {"dataset": images, "checkpoints": {"every": 10}, "fisher": None}


def once(system: Scaled, preset: str, kind: str, workers: int, seconds: float, seed: int) -> Found:
    """`seconds`: that one worker would take for all of it."""
    asked = body(preset, seed)
    url = f"http://{system.host}:{system.port}/v1/experiments"
    with httpx.Client(timeout=120, trust_env=False) as client:
        dry = client.post(url, params={"dry_run": "true"}, json=asked).raise_for_status().json()
        factor = seconds / dry["plan"]["device_seconds"]
        name = f"{kind.replace(' ', '-')}-{workers}-{seed}"
        fleet = Workers(system, name, workers, factor, 1024, KINDS[kind])
        for _ in wait_until(lambda: _is_alone(system, fleet), 60, 0.2):
            pass
        began = time.monotonic()
        id = client.post(url, json=asked).raise_for_status().json()["id"]
        polls = _followed(client, f"{url}/{id}")
    fleet.end()
    story = scale_events.read(fleet.files)
    return _told(system.plan(id), story, workers, began, polls)


def _is_alone(system: Scaled, fleet: Workers) -> bool:
    """All of it is there, and nobody is believed to be there who has gone."""
    there = Live(system.settings).workers() or {}
    return len(_all_free(fleet)) == len(there) == fleet.count


def _followed(client: httpx.Client, url: str) -> list[Found]:
    polls, pause = [], threading.Event()
    until = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < until:
        status = client.get(url).raise_for_status().json()
        if status["state"] not in ("queued", "running"):
            assert status["state"] == "succeeded", status["state"]
            return polls
        epochs = status["progress"]["epochs"]
        share, left = epochs["done"] / epochs["planned"], status["time_left_seconds"]
        polls.append({"at": time.monotonic(), "share": share, "left": left})
        pause.wait(POLL_SECONDS)
    raise TimeoutError("the sweep does not end")


def _told(
    plan: Plan, story: scale_events.Story, workers: int, began: float, polls: list[Found]
) -> Found:
    """Bounds are those of the segments as they took, from taking to having stored them."""
    taken = {work: at for at, work, _ in sorted(story.taken, reverse=True)}
    names = [work_name(segment) for segment in plan.segments]
    seconds = [story.done[name] - taken[name] for name in names]
    last = max(story.done[name] for name in names)
    _, unused = scale_events.idle(story, began, last)
    return {
        "segments": len(names), "makespan": last - began, "work": sum(seconds),
        "simple bound": simple_bound(plan, seconds, workers),
        "bound": bound(plan, precedence(plan), seconds, workers),
        "idle": unused / workers / (last - began),
        "twice": len(story.taken) - len({work for _, work, _ in story.taken}),
        "errors": len(story.errors), "first_errors": story.errors[:2],
        "inversions": _inversions(plan, story),
        "estimates": [_ratio(polls, share, last) for share in QUARTERS],
    }  # fmt: skip


def _inversions(plan: Plan, story: scale_events.Story) -> float:
    """Share of the segments that were taken while a more urgent one could have been for a second
    and was not."""
    urgency = remaining(plan)
    index = {work_name(s): i for i, s in enumerate(plan.segments)}
    ends = {(s.scope, s.key): story.done[work_name(s)] for s in plan.segments}
    taken = {index[work]: at for at, work, _ in sorted(story.taken, reverse=True)}
    ready = {
        i: ends[s.scope, s.parent] if s.start else min(taken.values())
        for i, s in enumerate(plan.segments)
    }
    return sum(
        any(ready[j] < at - 1 and taken[j] > at and urgency[j] > urgency[i] for j in taken)
        for i, at in taken.items()
    ) / len(taken)


def _ratio(polls: list[Found], share: float, last: float) -> float | None:
    """What was said once so much was done, over what was then left."""
    poll = next(one for one in polls if one["share"] >= share)
    return None if poll["left"] is None else poll["left"] / (last - poll["at"])
