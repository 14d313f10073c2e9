"""One or more sweeps with faults on their way, and what came of it."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from shared import names
from shared.plan import Plan
from shared.records import Records
from tests.faults import peers
from tests.faults.reference import References
from tests.faults.rule import AFTER, BEFORE, Call, Phase, Rule
from tests.faults.site import Site
from tests.faults.sweep import Sweep

NOTICED_SECONDS = 30
"""A dead worker is noticed within the lease and this."""
PATIENCE_SECONDS = 100
"""Beyond that, for two busy cores: torch is imported once more, the sweep trained."""
API, WORKER = "api", r"worker-\d+"
SUBMIT_SECONDS = 20
"""Within which a submit is answered while Redis is away."""


class NotInjected(AssertionError):
    """A planned fault did not come about: nothing was tried."""


@dataclass
class Round:
    site: Site
    references: References
    random: Random
    outage_seconds: float
    kind: str
    injected: int = 0
    sweeps: list[Sweep] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    takeovers: list[float] = field(default_factory=list)
    """Seconds from a worker's death until another began its segment."""
    workers_killed: int | None = None
    """Processes, of a kind of fault that costs work by nothing else."""

    # --- work ---

    def sweep(self, http: httpx.Client | None = None) -> Sweep:
        """Fresh work, not submitted yet."""
        return self._kept(self.references.fresh(http or self.site.http))

    def long_sweep(self) -> Sweep:
        return self._kept(self.references.fresh_long(self.site.http))

    def begun(self) -> Sweep:
        """A sweep in its midst: at a time drawn from how long one takes."""
        sweep = self.sweep()
        sweep.submit()
        time.sleep(self.random.uniform(0, 1.2))
        return sweep

    def await_end(self, sweep: Sweep) -> None:
        reference = self.references.of(sweep)
        sweep.await_end(reference, self.site.lease + NOTICED_SECONDS + PATIENCE_SECONDS)

    def check(self) -> list[str]:
        """Everything has ended well, and shows what the reference shows. All that is amiss."""
        for sweep in self.sweeps:
            self.await_end(sweep)
            sweep.compare(self.references.of(sweep))
            self._check_work(sweep)
        found = self.complaints + [c for sweep in self.sweeps for c in sweep.complaints]
        if not found and not self.injected:
            raise NotInjected(f"{self.kind}: no fault was injected")
        return found

    def _check_work(self, sweep: Sweep) -> None:
        """A crash loses one segment at most."""
        if self.workers_killed is None:
            return
        epochs = sweep._get(f"/v1/experiments/{sweep.id}")["progress"]["epochs"]
        longest = max(segment.end - segment.start for segment in self.plan(sweep).segments)
        if epochs["trained"] > epochs["planned"] + self.workers_killed * longest:
            self.complaints.append(
                f"lost: {self.workers_killed} killed, segments of {longest} epochs, and {epochs}"
            )

    def await_stored(self, sweep: Sweep, until: float) -> list[dict[str, Any]]:
        """The manifests of all its segments, told by the store alone."""
        store = self.site.direct_store()
        wanted = [names.manifest(segment.scope, segment.key)
                  for segment in self.plan(sweep).segments]  # fmt: skip
        while not all(map(store.exists, wanted)):
            if time.monotonic() > until:
                self.complaints.append(f"lost: work does not go on: {sweep.status()}")
                return []
            time.sleep(0.2)
        return [dict(store.read_json(name)) for name in wanted]

    def plan(self, sweep: Sweep) -> Plan:
        """As it is stored."""
        return Records(self.site.direct_store()).plan(sweep.id)

    def _kept(self, sweep: Sweep) -> Sweep:
        self.sweeps.append(sweep)
        return sweep

    # --- faults ---

    def kill_worker(self, pid: int) -> None:
        """A child, or a parent whose child dies with it."""
        self.site.kill(pid)
        self.injected += 1
        self.workers_killed = (self.workers_killed or 0) + 1

    def through(self, *rules: Rule) -> None:
        """A sweep from start to end under these rules. Each of their hits is a fault."""
        sweep = self.sweep()
        with self.site.store.holding(*rules):
            sweep.submit()
            self.await_end(sweep)
        self.injected += sum(len(rule.hits) for rule in rules)

    def worker_rule(self, action: str, phase: Phase, **changes: object) -> Rule:
        return Rule(action, phase, who=WORKER, **changes)  # type: ignore[arg-type]

    def await_hit(self, rule: Rule, seconds: float = 60) -> Call:
        deadline = time.monotonic() + seconds
        while not rule.hits:
            if time.monotonic() > deadline:
                raise NotInjected(f"{self.kind}: no request matched {rule}")
            time.sleep(0.02)
        return rule.hits[0]

    def any_phase(self) -> Phase:
        return self.random.choice((BEFORE, AFTER))

    def check_takeover(self, dead: Call) -> None:
        """Of the segment that its worker had begun, once all has ended."""
        seconds = self.seconds_to_takeover(dead)
        if seconds is None:
            return
        self.takeovers.append(seconds)
        if seconds > self.site.lease + NOTICED_SECONDS:
            self.complaints.append(f"late: taken over after {seconds:.1f} s")

    def seconds_to_takeover(self, dead: Call) -> float | None:
        """None where it had begun nothing that it had not finished."""
        calls = list(self.site.store.calls)  # it grows meanwhile
        begun = [c for c in calls if "/attempts/" in c.name and c.is_write]
        ours = [c for c in begun if c.pid == dead.pid and c.at <= dead.at]
        if not ours or (ours[-1].method == "DELETE" and ours[-1] is not dead):
            return None
        work = ours[-1].name.rpartition("/")[0]
        again = [c for c in begun if c.at > dead.at and c.name.startswith(work)
                 and c.pid != dead.pid and c.method == "PUT"]  # fmt: skip
        return again[0].at - dead.at if again else None


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """They stand still inside the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def with_parent(pid: int) -> list[int]:
    parent = peers.parent_of(pid)
    return [pid] if parent is None else [parent, pid]
