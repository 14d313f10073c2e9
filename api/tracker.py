"""How far one experiment is: which of its segments are done, can run, or have failed."""

import time
from threading import Lock
from typing import Any

from shared.live import Live
from shared.plan import Plan, Segment
from shared.records import Records
from shared.work import work_name

FRESH_SECONDS = 1.0
"""However many clients poll, the store is asked again at most this often for one experiment."""


class Tracker:
    def __init__(self, experiment: str, plan: Plan) -> None:
        self.experiment, self.plan = experiment, plan
        self.todo = [i for i, s in enumerate(plan.segments) if not s.stored or s.probes]
        self.done = set(range(len(plan.segments))) - set(self.todo)
        self.failed: dict[int, str] = {}
        self._enders: dict[tuple[str, str], list[int]] = {}
        for i, segment in enumerate(plan.segments):
            self._enders.setdefault((segment.scope, segment.key), []).append(i)
        self._lock = Lock()
        self._refreshed = 0.0

    def refresh(self, records: Records, at_most_every: float = FRESH_SECONDS) -> None:
        """Ask the store about the segments that can run; what is done stays done."""
        with self._lock:
            if time.monotonic() - self._refreshed < at_most_every:
                return
            while found := [i for i in self.ready() if _is_done(self.plan.segments[i], records)]:
                self.done.update(found)
            self._refreshed = time.monotonic()

    def ready(self) -> list[int]:
        """Segments that are not done and wait for nothing."""
        return [i for i in self.todo if i not in self.done and i not in self.failed
                and self._parent_done(i)]  # fmt: skip

    def finished(self) -> bool:
        """True once every run is done, has failed, or waits for what has failed."""
        return not self.ready()

    def run_states(self, ended: str | None, running: set[int]) -> list[str]:
        return [self._run_state(run.segments, ended, running) for run in self.plan.runs]

    def failures(self) -> list[dict[str, Any]]:
        return [
            {"run": run.index, "epoch": self.plan.segments[i].start, "reason": self.failed[i]}
            for run in self.plan.runs
            for i in run.segments
            if i in self.failed
        ]

    def running(self, live: Live) -> dict[int, dict[str, Any]]:
        """Segments being worked on now, with what their worker last said."""
        works = {work_name(self.plan.segments[i]): i for i in self.ready()}
        return {works[work]: said for work, said in live.progress(list(works)).items()}

    def epochs_planned(self) -> int:
        return sum(_length(self.plan.segments[i]) for i in self.todo)

    def epochs_done(self, running: dict[int, dict[str, Any]]) -> int:
        whole = sum(_length(self.plan.segments[i]) for i in self.todo if i in self.done)
        begun = [(self.plan.segments[i], said["epoch"]) for i, said in running.items()]
        return whole + sum(min(max(e - s.start, 0), _length(s)) for s, e in begun)

    def _parent_done(self, index: int) -> bool:
        segment = self.plan.segments[index]
        if segment.start == 0 or segment.stored:
            return True
        return any(i in self.done for i in self._enders.get((segment.scope, segment.parent), []))

    def _run_state(self, segments: list[int], ended: str | None, running: set[int]) -> str:
        if all(i in self.done for i in segments):
            return "succeeded"
        if any(i in self.failed for i in segments):
            return "failed"
        if ended is not None:
            return "cancelled" if ended == "cancelled" else "failed"
        begun = any(i in running or (i in self.done and i in self.todo) for i in segments)
        return "running" if begun else "queued"


def _is_done(segment: Segment, records: Records) -> bool:
    if records.manifest(segment.scope, segment.key) is None:
        return False
    return all(records.measured(segment.scope, segment.state(e), d) for e, d in segment.probes)


def _length(segment: Segment) -> int:
    """Epochs that the plan means to train for this segment."""
    if segment.stored:
        return segment.replay_end(segment.probes) - segment.start
    return segment.end - segment.start
