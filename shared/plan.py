"""The plan of an experiment, as it is stored: its runs, their segments, what waits for what."""

import operator
import zlib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field

from shared.probe import Probe
from shared.schedule import Config, Stretch

Probed = tuple[int, str]
"""(epoch, probe digest)"""

State = tuple[str, str]
"""(scope, key)"""


class Segment(BaseModel):
    """A stretch of epochs [start, end) that one worker trains in one go, or a stored one."""

    scope: str
    key: str
    parent: str
    start: int
    end: int
    config: int
    stretches: list[Stretch]
    keys: list[str]
    """Names of the states after start + 1, ..., end epochs."""
    stored: bool
    probes: list[Probed] = []
    """Not yet measured when the plan was made."""
    needs: list[State] = Field([], exclude_if=operator.not_)
    """Other runs' states that its probes look at. Such a segment trains nothing: it begins where it
    ends, so that a run whose partner fails has still been trained."""

    @property
    def only_measures(self) -> bool:
        """Whether it stands at the end of another segment, and trains nothing."""
        return self.start == self.end > 0

    def state(self, epoch: int) -> str:
        return self.parent if epoch == self.start else self.keys[epoch - self.start - 1]

    def replay_end(self, missing: list[Probed]) -> int:
        """Last epoch to train again when the segment is stored and these probes are not."""
        return max((e for e, _ in missing if self.start < e < self.end), default=self.start)

    @property
    def planned(self) -> int:
        """Epochs that its plan means to train for it."""
        return (self.replay_end(self.probes) if self.stored else self.end) - self.start


class RunPlan(BaseModel):
    index: int
    variant: str | None
    base: str | None = None
    """The variant of which this one is a twin; its own where it is none."""
    control: str | None = None
    """What the twin controls for: "restart" or "constant"."""
    point: dict[str, Any]
    seed: int
    epochs: int
    config: int
    windows: list[dict[str, Any]]
    changes: list[dict[str, Any]] = Field([], exclude_if=operator.not_)
    """What of how it is trained is other from an epoch on: `schedule.changes`."""
    pruning: dict[str, Any] = Field({}, exclude_if=operator.not_)
    """As it was asked for, a sparsity of 0 too."""
    segments: list[int]
    probes: list[tuple[int, str, str]]
    """(epoch, state key, probe digest)"""


class Epochs(BaseModel):
    """How much training an experiment is."""

    alone: int
    """if every run were trained by itself"""
    shared: int
    """after runs share their common epochs"""
    stored: int
    """of these, in the store already"""
    new: int
    """shared - stored"""
    replayed: int
    """stored epochs trained again to reach a fork, checkpoint or measurement inside a segment"""


class Plan(BaseModel):
    schema_version: int = 1
    configs: list[Config]
    probes: dict[str, Probe]
    segments: list[Segment]
    runs: list[RunPlan]
    epochs: Epochs
    device_seconds: float
    """Estimated for the reference device, see shared/cost.py."""
    bytes: int | None = None
    """What training adds to the store, see shared/store_size.py; None: planned before that was
    said."""

    @property
    def cut(self) -> str:
        """A name of how it is cut into segments: a plan that was lost may be made otherwise."""
        return f"{zlib.crc32(''.join(segment.key for segment in self.segments).encode()):08x}"

    def scope(self, run: RunPlan) -> str:
        """Of the names of a run's states; of a run without segments, the shared one."""
        return self.segments[run.segments[0]].scope if run.segments else ""

    def keys(self, run: RunPlan) -> list[str]:
        """Names of a run's states from epoch 0, as far as there are segments."""
        segments = [self.segments[i] for i in run.segments]
        after = [key for segment in segments for key in segment.keys]
        return [segments[0].parent, *after] if segments else []

    def changes(self, run: RunPlan) -> list[dict[str, Any]]:
        """What of how a run is trained is other from an epoch on, in order: `training.changes`, and
        what starts again where a deficit is removed."""
        found = {change["at"]: dict(change) for change in run.changes}
        for stretch in (one for index in run.segments for one in self.segments[index].stretches):
            for name, at in (("learning_rate_restart", stretch.restart),
                             ("optimizer_restart", stretch.optimizer_restart)):  # fmt: skip
                if at:
                    found.setdefault(at, {"at": at})[name] = True
        return [found[at] for at in sorted(found)]

    def leading_to(self, segment: Segment) -> list[Stretch]:
        """What the network was shown from epoch 0 to the segment's end."""
        for run in self.runs:
            path = [self.segments[i] for i in run.segments]
            for end, part in enumerate(path, 1):
                if (part.scope, part.key) == (segment.scope, segment.key):
                    return [s for part in path[:end] for s in part.stretches]
        raise ValueError(f"no run of this plan goes through state {segment.key}")

    def probed(self, segment: Segment) -> list[Probed]:
        """All that this experiment measures of the states that a segment reaches, and of the
        initial state where it begins with that. What looks at another run's state too is measured
        by a segment of its own, where there is one: not where it was measured before."""
        apart = segment.only_measures
        lines = {(s.scope, s.key) for s in self.segments if s.only_measures}
        has_line = (segment.scope, segment.key) in lines
        first = segment.start if segment.start == 0 or apart else segment.start + 1
        states = {segment.state(e): e for e in range(first, segment.end + 1)}
        found = {
            (states[key], digest): None
            for run in self.runs
            if self.scope(run) == segment.scope
            for _, key, digest in run.probes
            if key in states and (("other" in self.probes[digest]) == apart or not has_line)
        }
        return sorted(found)

    def children(self, index: int) -> Iterator[int]:
        """Segments that may be able to start once this one is done."""
        done = self.segments[index]
        state = (done.scope, done.key)
        for i, segment in enumerate(self.segments):
            follows = segment.start > 0 and (segment.scope, segment.parent) == state
            if i != index and (follows or state in segment.needs):
                yield i
