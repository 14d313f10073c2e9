"""How far one experiment is: which of its segments are done, can run, or have failed."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, NamedTuple

from api.time_left import TimeLeft
from shared import urgency
from shared.live import Live
from shared.plan import Plan, RunPlan, Segment, State
from shared.records import Records
from shared.work import work_name

FRESH_SECONDS = 1.0
"""However many clients poll, the store is asked again at most this often for one experiment."""
AGAIN_SECONDS = 10.0
"""And about a segment that no worker says it has finished, at most this often."""
ASKED_FOR_A_STATUS = 64
"""Segments that a poll asks the store about, at most, of the many that could have become done."""
WAVE = 64
PATIENCE_SECONDS = 5.0
"""For how long a poll waits for another one's questions; it then answers what is known."""

# The store's answers take a network's time, so several questions are under way at once.
_askers = ThreadPoolExecutor(16, thread_name_prefix="tracker")


class Tracker:
    def __init__(self, experiment: str, plan: Plan) -> None:
        self.experiment, self.plan = experiment, plan
        self.urgency = urgency.remaining(plan)
        todo = [i for i, s in enumerate(plan.segments) if not s.stored or s.probes]
        self.todo = sorted(todo, key=lambda i: -self.urgency[i])
        """The most urgent first."""
        self.time_left = TimeLeft(plan, self.urgency)
        self.done = set(range(len(plan.segments))) - set(self.todo)
        self.failed: dict[int, dict[str, Any]] = {}
        self.sent: set[int] = set()
        """By the reconcile loop of this process."""
        self.trained = 0
        """Epochs that manifests say this experiment trained itself, replays left out."""
        self._enders: dict[State, list[int]] = {}
        """Segments that train up to a state."""
        for i, segment in enumerate(plan.segments):
            if segment.only_measures:
                continue
            self._enders.setdefault((segment.scope, segment.key), []).append(i)
        self._lock = Lock()
        self._refreshed = float("-inf")
        self._asked: dict[int, float] = {}
        """When the store was last asked about a segment that was not done."""
        self._ended = False

    def bytes(self) -> int:
        """About what this and the plan take in memory."""
        plan = self.plan
        keys = sum(len(segment.keys) for segment in plan.segments)
        probes = sum(len(run.probes) for run in plan.runs)
        parts = 3_900 * len(plan.segments) + 4_000 * len(plan.runs)
        return 4_000 + parts + 120 * keys + 200 * probes

    def refresh(
        self,
        records: Records,
        live: Live,
        at_most_every: float = FRESH_SECONDS,
        ask: int = ASKED_FOR_A_STATUS,
        again: float = AGAIN_SECONDS,
    ) -> list[int]:
        """Ask the store about up to `ask` segments that can run: first those that a worker says it
        finished, then those it was not asked about for `again` seconds, so that nothing depends on
        Redis. What is done stays done. Returns those that can run and, when last asked about, were
        not done.
        """
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            return []
        try:
            if self._ended or time.monotonic() - self._refreshed < at_most_every:
                return []
            self._ask(records, live, ask, again)
            self._refreshed = time.monotonic()
            return [i for i in self.ready() if i in self._asked]
        finally:
            self._lock.release()

    def _ask(self, records: Records, live: Live, budget: int, again: float) -> None:
        begun, asked = time.monotonic(), 0
        while asked < budget and (wave := self._next_wave(live, begun, again, budget - asked)):
            asked += len(wave)
            segments = [self.plan.segments[i] for i in wave]
            answers = _askers.map(lambda s: _trained(s, records, self.experiment), segments)
            for index, trained in zip(wave, answers, strict=True):
                if trained is None:
                    self._asked[index] = begun
                else:
                    self.done.add(index)
                    self.trained += trained.epochs
                    if trained.seconds:
                        self.time_left.note(index, *trained)

    def _next_wave(self, live: Live, begun: float, again: float, most: int) -> list[int]:
        """The next ones to ask about: said to be done, then those not asked about for longest."""
        ago = {i: begun - self._asked.get(i, float("-inf")) for i in self.ready()}
        said = self._said(live, [i for i in ago if ago[i] > 0])
        finished = {i: None for i in said if said[i].get("done")}
        due = [i for i in ago if ago[i] > 0 and ago[i] >= again and i not in finished]
        due.sort(key=lambda i: -ago[i])
        return [*finished, *due][: min(most, WAVE)]

    def ready(self) -> list[int]:
        """Segments that are not done and wait for nothing, the most urgent first."""
        return [i for i in self.todo if i not in self.done and i not in self.failed
                and self._waits_for_nothing(i)]  # fmt: skip

    def left(self) -> int:
        """Segments that are neither done nor have failed; some may wait for one that has."""
        return sum(i not in self.done and i not in self.failed for i in self.todo)

    def seconds_left(self, running: dict[int, dict[str, Any]], workers: int | None) -> float | None:
        """None: no idea yet."""
        todo = [i for i in self.todo if i not in self.done and i not in self.failed]
        done = [i for i in self.todo if i in self.done]
        return self.time_left.of(todo, done, running, workers)

    def has_begun(self, live: Live) -> bool:
        """Something was trained for it, or is."""
        return any(i in self.done for i in self.todo) or bool(self.running(live))

    def finished(self) -> bool:
        """True once every run is done, has failed, or waits for what has failed."""
        return not self.ready()

    def settle(self, records: Records, live: Live) -> None:
        """Ask the store about all that can have become done, however long that takes."""
        with self._lock:
            if not self._ended:
                self._ask(records, live, len(self.plan.segments), again=0)

    def end(self, outcome: dict[str, Any], records: Records, live: Live) -> None:
        """The experiment has an outcome: after success all is done, else it says what is. One of an
        earlier version does not: the store is asked, which may have got more since."""
        if self._ended:
            return
        kept = outcome.get("done", {})
        is_ours = kept.get("cut", "") in (None, self.plan.cut)
        says = outcome["state"] == "succeeded" or is_ours
        if not says:
            self.settle(records, live)
        with self._lock:
            if outcome["state"] == "succeeded":
                self.done.update(self.todo)
            elif says:
                self.done = {i for first, last in kept["segments"] for i in range(first, last + 1)}
            self._ended = True

    def run_states(self, ended: str | None, running: set[int]) -> list[str]:
        return [self._run_state(run.segments, ended, running) for run in self.plan.runs]

    def failures(self) -> list[dict[str, Any]]:
        if not self.failed:
            return []
        broken = self._never_reached()
        return [one for run in self.plan.runs for one in self._failures(run, broken)]

    def _failures(self, run: RunPlan, broken: dict[State, RunPlan]) -> Iterator[dict[str, Any]]:
        for i in run.segments:
            segment = self.plan.segments[i]
            told = {"run": run.index, "epoch": segment.start}
            if i in self.failed:
                yield told | self.failed[i]
                continue
            others = [broken[state] for state in segment.needs if state in broken]
            if i not in self.done and others:
                failure = next(self.failed[j] for j in others[0].segments if j in self.failed)
                reason = f"run {others[0].index}, which it is compared with, failed"
                yield told | failure | {"reason": f"{reason}: {failure['reason']}"}

    def _never_reached(self) -> dict[State, RunPlan]:
        """States that nobody comes to any more, with the run that failed on the way there."""
        found: dict[State, RunPlan] = {}
        for run in self.plan.runs:
            failed = [place for place, i in enumerate(run.segments) if i in self.failed]
            for i in run.segments[min(failed) :] if failed else ():
                segment = self.plan.segments[i]
                if not segment.only_measures:
                    found.setdefault((segment.scope, segment.key), run)
        return found

    def running(self, live: Live) -> dict[int, dict[str, Any]]:
        """Segments being worked on now, with what their worker last said. That a stored segment is
        done was said about other measurements of it."""
        said = self._said(live, self.ready())
        return {
            i: word for i, word in said.items()
            if not (word.get("done") and self.plan.segments[i].stored)
        }  # fmt: skip

    def _said(self, live: Live, indices: list[int]) -> dict[int, dict[str, Any]]:
        works = {work_name(self.plan.segments[i]): i for i in indices}
        return {works[work]: said for work, said in live.progress(list(works)).items()}

    def epochs_planned(self) -> int:
        return sum(self.plan.segments[i].planned for i in self.todo)

    def epochs_done(self, running: dict[int, dict[str, Any]]) -> int:
        whole = sum(self.plan.segments[i].planned for i in self.todo if i in self.done)
        begun = [(self.plan.segments[i], said["epoch"]) for i, said in running.items()]
        return whole + sum(min(max(e - s.start, 0), s.planned) for s, e in begun)

    def measurements(self) -> dict[str, int]:
        """Measurements that the plan wants made, and those of them in segments that are done."""
        counts = {i: len(self.plan.segments[i].probes) for i in self.todo}
        done = sum(count for i, count in counts.items() if i in self.done)
        return {"done": done, "planned": sum(counts.values())}

    def _waits_for_nothing(self, index: int) -> bool:
        segment = self.plan.segments[index]
        parent = [(segment.scope, segment.parent)] if segment.start > 0 else []
        return all(self._is_reached(state) for state in (*parent, *segment.needs))

    def _is_reached(self, state: State) -> bool:
        """A state that no segment of this plan ends in was there when it was planned."""
        enders = self._enders.get(state, [])
        return not enders or any(i in self.done or self.plan.segments[i].stored for i in enders)

    def _run_state(self, segments: list[int], ended: str | None, running: set[int]) -> str:
        if all(i in self.done for i in segments):
            return "succeeded"
        if any(i in self.failed for i in segments):
            return "failed"
        if ended is not None:
            return "cancelled" if ended == "cancelled" else "failed"
        begun = any(i in running or (i in self.done and i in self.todo) for i in segments)
        return "running" if begun else "queued"


class Trained(NamedTuple):
    epochs: int
    seconds: float


def _trained(segment: Segment, records: Records, experiment: str) -> Trained | None:
    """What the experiment trained of a segment that is done; None: it is not done."""
    if records.manifest(segment.scope, segment.key) is None:
        return None
    if not all(records.measured(segment.scope, segment.state(e), d) for e, d in segment.probes):
        return None
    if segment.stored or segment.only_measures:
        return Trained(0, 0.0)
    ours = [
        manifest
        for manifest in records.spanning(segment.scope, segment.key, segment.start)
        if manifest.provenance["experiment"] == experiment
    ]
    epochs = sum(manifest.end - max(manifest.start, segment.start) for manifest in ours)
    return Trained(epochs, sum(manifest.provenance.get("wall_seconds", 0.0) for manifest in ours))
