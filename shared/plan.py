"""Runs -> tree of segments: what is trained once, what is there already, what waits for what, and
what it costs."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from shared import cost
from shared.chain import Path, Stored, stored_chain
from shared.probe import Probe
from shared.schedule import Config, Stretch

Probed = tuple[int, str]
"""(epoch, probe digest)"""


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

    def state(self, epoch: int) -> str:
        return self.parent if epoch == self.start else self.keys[epoch - self.start - 1]

    def replay_end(self, missing: list[Probed]) -> int:
        """Last epoch to train again when the segment is stored and these probes are not."""
        return max((e for e, _ in missing if self.start < e < self.end), default=self.start)


class RunPlan(BaseModel):
    index: int
    variant: str | None
    point: dict[str, Any]
    seed: int
    epochs: int
    config: int
    windows: list[dict[str, Any]]
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
    """stored epochs trained again to reach a fork or a measurement inside a stored segment"""


class Plan(BaseModel):
    schema_version: int = 1
    configs: list[Config]
    probes: dict[str, Probe]
    segments: list[Segment]
    runs: list[RunPlan]
    epochs: Epochs
    device_seconds: float
    """Estimated for the reference device, see shared/cost.py."""

    def leading_to(self, segment: Segment) -> list[Stretch]:
        """What the network was shown from epoch 0 to the segment's end."""
        for run in self.runs:
            path = [self.segments[i] for i in run.segments]
            if segment in path:
                return [s for part in path[: path.index(segment) + 1] for s in part.stretches]
        raise ValueError(f"no run of this plan goes through state {segment.key}")

    def children(self, index: int) -> Iterator[int]:
        """Segments that can start once this one is done."""
        done = self.segments[index]
        for i, segment in enumerate(self.segments):
            if segment.start > 0 and (segment.scope, segment.parent) == (done.scope, done.key):
                yield i


def make(paths: list[Path], stored: Stored, alone: Callable[[int], str] | None = None) -> Plan:
    """The plan of an experiment, given what is in the store now.

    `alone` (run index -> scope of names) switches reuse off: every run is trained by itself.
    """
    return _Planner(paths, stored, alone).plan()


def cut_states(paths: list[Path]) -> set[str]:
    """States at which training is cut: branch points, changes of the stimulus (where a later
    experiment is likeliest to branch), run ends, asked checkpoints, and a grid of absolute epochs
    that depends on the config alone."""
    cuts: set[str] = set()
    after: dict[str, str] = {}
    for path in paths:
        grid = cost.segment_grid(path.config)
        cuts.update(path.keys[grid::grid])
        cuts.update(path.keys[e] for e in path.checkpoints if e <= path.epochs)
        cuts.update(path.keys[stretch.end] for stretch in path.stretches)
        for key, following in pairwise(path.keys):
            if after.setdefault(key, following) != following:
                cuts.add(key)
    return cuts


class _Planner:
    def __init__(
        self, paths: list[Path], stored: Stored, alone: Callable[[int], str] | None
    ) -> None:
        self.paths, self.stored, self.alone = paths, stored, alone
        self.cuts = cut_states(paths)
        self.configs: dict[str, int] = {}
        self.segments: dict[tuple[str, str, int], Segment] = {}
        self.probes: dict[str, Probe] = {}

    def plan(self) -> Plan:
        order: dict[tuple[str, str, int], int] = {}
        runs = []
        for index, path in enumerate(self.paths):
            names = self._run(index, path)
            for name in names:
                order.setdefault(name, len(order))
            runs.append(self._run_plan(index, path, [order[name] for name in names]))
        segments = [self.segments[name] for name in order]
        epochs = self._epochs(segments)
        return Plan(
            configs=[self.paths[i].config for i in self._config_owners()],
            probes=self.probes,
            segments=segments,
            runs=runs,
            epochs=epochs,
            device_seconds=self._device_seconds(segments),
        )

    def _run_plan(self, index: int, path: Path, segments: list[int]) -> RunPlan:
        return RunPlan(
            index=index,
            variant=path.variant,
            point=path.point,
            seed=path.seed,
            epochs=path.epochs,
            config=self.configs[path.keys[0]],
            windows=path.windows,
            segments=segments,
            probes=[(epoch, path.keys[epoch], digest) for epoch, _, digest in path.probes],
        )

    def _config_owners(self) -> list[int]:
        owners = {path.keys[0]: i for i, path in reversed(list(enumerate(self.paths)))}
        return [owners[key] for key in self.configs]

    def _run(self, index: int, path: Path) -> list[tuple[str, str, int]]:
        scope = self.alone(index) if self.alone else ""
        self.configs.setdefault(path.keys[0], len(self.configs))
        there = stored_chain(path, self.cuts, self.stored, scope) if not self.alone else []
        spans = [(m.start, m.end, True) for m in there]
        reached = spans[-1][1] if spans else 0
        ends = [e for e in range(reached + 1, path.epochs + 1) if path.keys[e] in self.cuts]
        spans += [(a, b, False) for a, b in pairwise([reached, *ends])]
        names = [self._segment(path, scope, *span) for span in spans]
        self._attach_probes(path, scope, names)
        return names

    def _segment(
        self, path: Path, scope: str, start: int, end: int, stored: bool
    ) -> tuple[str, str, int]:
        name = (scope, path.keys[end], start)
        if name not in self.segments:
            self.segments[name] = Segment(
                scope=scope,
                key=path.keys[end],
                parent=path.keys[start],
                start=start,
                end=end,
                config=self.configs[path.keys[0]],
                stretches=_clip(path.stretches, start, end),
                keys=path.keys[start + 1 : end + 1],
                stored=stored,
            )
        return name

    def _attach_probes(self, path: Path, scope: str, names: list[tuple[str, str, int]]) -> None:
        for epoch, probe, digest in path.probes:
            self.probes[digest] = probe
            if not self.alone and self.stored.measured(scope, path.keys[epoch], digest):
                continue
            segment = next(s for s in map(self.segments.__getitem__, names) if epoch <= s.end)
            if (epoch, digest) not in segment.probes:
                segment.probes.append((epoch, digest))

    def _epochs(self, segments: list[Segment]) -> Epochs:
        alone = sum(path.epochs for path in self.paths)
        if self.alone:
            return Epochs(alone=alone, shared=alone, stored=0, new=alone, replayed=0)
        shared = {key for path in self.paths for key in path.keys[1:]}
        chains = {key for s in segments if s.stored for key in s.keys}
        inside = self._covered(segments, chains)
        replays = sum(s.replay_end(s.probes) - s.start for s in segments if s.stored)
        again = sum(
            key in chains or key in inside for s in segments if not s.stored for key in s.keys
        )
        stored = len(chains & shared | inside)
        return Epochs(
            alone=alone,
            shared=len(shared),
            stored=stored,
            new=len(shared) - stored,
            replayed=again + replays,
        )

    def _covered(self, segments: list[Segment], chains: set[str]) -> set[str]:
        """States in new segments that a stored segment passes through."""
        covered: set[str] = set()
        known = set(chains) | {path.keys[0] for path in self.paths}
        for segment in segments:
            if segment.stored or segment.parent not in known:
                continue
            for key in segment.keys:
                if key not in chains and self.stored.covering(segment.scope, key) is None:
                    break
                covered.add(key)
                known.add(key)
        return covered

    def _device_seconds(self, segments: list[Segment]) -> float:
        configs = [self.paths[i].config for i in self._config_owners()]
        total = 0.0
        for s in segments:
            epochs = s.replay_end(s.probes) - s.start if s.stored else s.end - s.start
            total += cost.device_seconds(configs[s.config], epochs)
        return total


def _clip(stretches: list[Stretch], start: int, end: int) -> list[Stretch]:
    return [
        s.model_copy(update={"start": max(s.start, start), "end": min(s.end, end)})
        for s in stretches
        if s.start < end and s.end > start
    ]
