"""A run that goes on otherwise from an epoch on: a new experiment, linked to the old one both ways,
that trains only what is new."""

import asyncio
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from shared import fork, history, names, planning
from shared.cache import Cache
from shared.errors import Conflict, Fault, Invalid
from shared.fork import Fork
from shared.plan import Plan, RunPlan
from shared.rewriting import Rewriting
from shared.schedule import Facts, config, keys
from shared.spec import ExperimentSpec, RunSpec
from shared.tokens import LOCAL, Principal

if TYPE_CHECKING:
    from api.experiment import Experiment
    from api.service import Service

FRESH_SECONDS = 1.0
"""For so long a poller is told the links that were found last."""
LINKS_BYTES = 4 << 20
LINK_BYTES = 80


@dataclass(frozen=True)
class _Ready:
    """A fork that was looked at."""

    spec: ExperimentSpec
    rewriting: Rewriting
    old: Plan
    run: RunPlan


class Forks:
    """One a service, used by all its threads."""

    def __init__(self, service: "Service") -> None:
        self.service, self.store = service, service.store
        self._linked: Cache[tuple[float, list[str]]] = Cache(LINKS_BYTES)

    def dry_run(self, id: str, asked: Fork) -> tuple[ExperimentSpec, Plan]:
        """The spec and its plan, with nothing stored or queued."""
        ready = self._ready(id, asked)
        return ready.spec, self._plan(asked, ready, None)

    def accept(
        self,
        id: str,
        asked: Fork,
        principal: Principal = LOCAL,
        idempotency_key: str | None = None,
    ) -> tuple["Experiment", bool]:
        """The new experiment, and whether this call made it (False: the first answer again)."""
        given = asked.model_dump(mode="json", exclude_unset=True)

        @cache
        def ready() -> _Ready:
            return self._ready(id, asked)

        def write(made: str, plan: Plan) -> "Experiment":
            spec = ready().spec
            stored = {
                "given": spec.model_dump(mode="json", exclude_unset=True),
                "accepted": spec.model_dump(mode="json"),
                "forks": id,
                "forked_at": {"run": asked.run, "epoch": asked.epoch},
            }
            return self.service.acceptance.write(made, stored, plan, principal)

        return self.service.acceptance.once(
            {"forks": id, "asked": given},
            principal,
            idempotency_key,
            lambda made: self._plan(asked, ready(), made),
            write,
        )

    def _ready(self, id: str, asked: Fork) -> _Ready:
        old, plan = self._old(id)
        run = _run(asked, plan)
        point = fork.point_of(old, run).run
        facts = self._facts(point, plan, run)
        rewriting = Rewriting(asked, point)
        with rewriting.blaming():
            spec = fork.spec(asked, old, run, rewriting, self.service.settings)
            history.check(asked, spec, plan.keys(run), run.seed, facts)
        return _Ready(spec, rewriting, plan, run)

    def _plan(self, asked: Fork, ready: _Ready, made: str | None) -> Plan:
        service = self.service
        with ready.rewriting.blaming():
            plan = planning.plan_for(ready.spec, service.records, service.settings, made)
        fork.check_differs(asked, ready.old, ready.run, plan)
        return plan

    def _old(self, id: str) -> tuple[ExperimentSpec, Plan]:
        accepted = self.service.accepted(id)
        if accepted.measures is not None:
            raise Conflict(
                f"{id} is a measurement job and trains nothing: fork or prune the experiment that"
                f" it measures, {accepted.measures}"
            )
        plan = self.service.plan_left(id)
        if plan is None and self.service.outcome(id) is None:
            raise Conflict("The experiment is preparing its data set: fork it once it is queued")
        if plan is None:
            raise Conflict("The experiment ended without a plan: there is no run to go on from")
        return accepted.spec, plan

    def _facts(self, point: RunSpec, plan: Plan, run: RunPlan) -> Facts:
        """Of the data set, if a run planned now has the names that this one has."""
        facts = planning.facts(point.dataset.name, self.store)
        before, now = plan.configs[run.config], config(point, facts, run.seed)
        if keys(now, []) != keys(before, []):
            parts = sorted(part for part in now if now[part] != before.get(part))
            raise Conflict(
                f"The run cannot go on: {', '.join(parts)} of it were others when it was planned"
                " (a data set that was PUT anew, or another training version); submit its spec as"
                " a new experiment"
            )
        return facts

    # --- links ---

    def link(self, id: str) -> None:
        """Note beside the old experiment that this one goes on from it. Again: no change."""
        old = self.service.accepted(id).forks
        if old is not None:
            self.store.write(names.fork(old, id), b"")
            self._keep(old, self._found(old))

    def of(self, id: str) -> list[str]:
        """Those that go on from an experiment, oldest first."""
        return self._keep(id, self._found(id))

    async def polled(self, id: str) -> list[str]:
        kept = self._linked.get(id)
        if kept is not None and time.monotonic() - kept[0] < FRESH_SECONDS:
            return kept[1]
        return await asyncio.to_thread(self.of, id)

    def _found(self, id: str) -> list[str]:
        return [names.experiment_of(name) for name in self.store.names(names.forks(id))]

    def _keep(self, id: str, found: list[str]) -> list[str]:
        self._linked.replace(id, (time.monotonic(), found), LINK_BYTES * (1 + len(found)))
        return found


def _run(asked: Fork, plan: Plan) -> RunPlan:
    if asked.run >= len(plan.runs):
        message = f"run: there is no run {asked.run}: the last one is {len(plan.runs) - 1}"
        raise Invalid(message, [Fault("/run", "no-such-run", message)])
    run = plan.runs[asked.run]
    if asked.epoch > run.epochs:
        message = f"epoch: {asked.epoch} lies after the end: run {run.index} has {run.epochs}"
        raise Invalid(message, [Fault("/epoch", "after-the-end", message)])
    return run
