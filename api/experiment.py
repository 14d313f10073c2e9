"""An experiment as the service knows it: what was asked for, its plan, its end."""

from dataclasses import dataclass
from typing import Any

from shared.plan import Plan
from shared.spec import ExperimentSpec


@dataclass(frozen=True)
class Accepted:
    """What was asked for and will not change."""

    spec: ExperimentSpec
    """Of a measurement job: what it measures was made of, under the job's name."""
    shown: dict[str, Any]
    """With every default as it was when this was accepted."""
    measures: str | None = None
    """The experiment that a measurement job measures."""
    submitted_by: dict[str, str] | None = None
    """Id and name of who did; None: before that was noted."""
    retries: str | None = None
    """The experiment that this one tries again."""
    forks: str | None = None
    """The experiment from a run of which this one goes on."""
    forked_at: dict[str, int] | None = None
    """The run and the epoch of it."""
    request: str | None = None
    """The X-Request-ID under which it was accepted; None: before that was noted."""


@dataclass(frozen=True)
class Experiment:
    id: str
    created: str
    accepted: Accepted
    plan: Plan | None
    """None while a data set is being prepared."""
    outcome: dict[str, Any] | None

    @property
    def spec(self) -> ExperimentSpec:
        return self.accepted.spec
