"""Runs -> tree of segments: what is trained once, what is there already, and what it costs."""

from itertools import pairwise

from shared import cost, known, store_size
from shared.chain import Path, Remembered, Stored
from shared.known import Known
from shared.plan import Epochs, Plan, RunPlan, Segment
from shared.probe import Probe
from shared.schedule import Config, Stretch

Name = tuple[str, str, int]
"""(scope, key, start) of a segment"""


def make(paths: list[Path], stored: Stored) -> Plan:
    """The plan of an experiment, given what is in the store now."""
    remembered = Remembered(stored)
    return joined(paths, known.look(paths, cut_states(paths), remembered), remembered)


def joined(paths: list[Path], found: list[Known], stored: Stored) -> Plan:
    """The plan of runs of which it is known what is stored."""
    return _Planner(paths, found, stored).plan()


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
    def __init__(self, paths: list[Path], found: list[Known], stored: Stored) -> None:
        self.paths, self.known, self.stored = paths, found, stored
        self.configs: dict[str, int] = {}
        self.segments: dict[Name, Segment] = {}
        self.probes: dict[str, Probe] = {}
        self.placed: set[tuple[str, str, str]] = set()
        """(scope, state, probe digest) of what a segment measures: no other has to."""

    def plan(self) -> Plan:
        order: dict[Name, int] = {}
        runs = []
        for path, found in zip(self.paths, self.known, strict=True):
            names = self._run(path, found)
            for name in names:
                order.setdefault(name, len(order))
            runs.append(self._run_plan(path, [order[name] for name in names]))
        segments = [self.segments[name] for name in order]
        configs = [self.paths[i].config for i in self._config_owners()]
        return Plan(
            configs=configs,
            probes=self.probes,
            segments=segments,
            runs=runs,
            epochs=self._epochs(segments),
            device_seconds=self._device_seconds(configs, segments),
            bytes=store_size.of(configs, segments),
        )

    def _run_plan(self, path: Path, segments: list[int]) -> RunPlan:
        return RunPlan(
            index=path.index,
            variant=path.variant,
            base=path.base,
            control=path.control,
            point=path.point,
            seed=path.seed,
            epochs=path.epochs,
            config=self.configs[path.keys[0]],
            windows=path.windows,
            changes=path.changes,
            pruning=path.pruning,
            segments=segments,
            probes=[(epoch, path.keys[epoch], digest) for epoch, _, digest in path.probes],
        )

    def _config_owners(self) -> list[int]:
        owners = {path.keys[0]: i for i, path in reversed(list(enumerate(self.paths)))}
        return [owners[key] for key in self.configs]

    def _run(self, path: Path, found: Known) -> list[Name]:
        self.configs.setdefault(path.keys[0], len(self.configs))
        missing = self._missing(path, found)
        if not found.spans:
            return self._initial(path, missing)
        names = [self._segment(path, *span) for span in found.spans]
        trained = [self.segments[name] for name in names]
        for epoch, digest in missing:
            if digest in path.needs:
                self._measuring(path, epoch, digest)
            else:
                next(s for s in trained if epoch <= s.end).probes.append((epoch, digest))
        end = (path.scope, path.keys[-1], path.epochs)
        return list(dict.fromkeys([*names, end] if end in self.segments else names))

    def _measuring(self, path: Path, epoch: int, digest: str) -> None:
        """A segment without epochs, that waits for another run's state."""
        assert epoch == path.epochs, "segments of a run stand end to end"
        name = self._segment(path, epoch, epoch, stored=False)
        segment = self.segments[name]
        segment.probes.append((epoch, digest))
        if path.needs[digest] not in segment.needs:
            segment.needs.append(path.needs[digest])

    def _missing(self, path: Path, found: Known) -> list[tuple[int, str]]:
        """What is neither measured nor has its place in another run's segment."""
        missing = []
        for epoch, probe, digest in path.probes:
            self.probes[digest] = probe
            name = (path.scope, path.keys[epoch], digest)
            if (epoch, digest) not in found.measured and name not in self.placed:
                self.placed.add(name)
                missing.append((epoch, digest))
        return missing

    def _initial(self, path: Path, missing: list[tuple[int, str]]) -> list[Name]:
        """Of a run that has not begun and is not to be: a segment without epochs, if its initial
        state is to be measured."""
        name = (path.scope, path.keys[0], 0)
        if missing:
            self._segment(path, 0, 0, stored=True)
            self.segments[name].probes.extend(missing)
        return [name] if name in self.segments else []

    def _segment(self, path: Path, start: int, end: int, stored: bool) -> Name:
        name = (path.scope, path.keys[end], start)
        if name not in self.segments:
            self.segments[name] = Segment(
                scope=path.scope,
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

    def _epochs(self, segments: list[Segment]) -> Epochs:
        shared = {(path.scope, key) for path in self.paths for key in path.keys[1:]}
        chains = {(s.scope, key) for s in segments if s.stored for key in s.keys}
        inside = self._covered(segments, chains)
        replays = sum(s.replay_end(s.probes) - s.start for s in segments if s.stored)
        again = sum(
            (s.scope, key) in chains or (s.scope, key) in inside
            for s in segments
            if not s.stored
            for key in s.keys
        )
        stored = len(chains & shared | inside)
        return Epochs(
            alone=sum(path.epochs for path in self.paths),
            shared=len(shared),
            stored=stored,
            new=len(shared) - stored,
            replayed=again + replays,
        )

    def _covered(
        self, segments: list[Segment], chains: set[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """States in new segments that a stored segment passes through."""
        covered: set[tuple[str, str]] = set()
        known = chains | {(path.scope, path.keys[0]) for path in self.paths}
        for segment in segments:
            scope = segment.scope
            if segment.stored or (scope, segment.parent) not in known:
                continue
            if segment.start == 0 and not self.stored.begun(scope, segment.keys[0]):
                continue
            for key in segment.keys:
                if (scope, key) not in chains and self.stored.covering(scope, key) is None:
                    break
                covered.add((scope, key))
                known.add((scope, key))
        return covered

    def _device_seconds(self, configs: list[Config], segments: list[Segment]) -> float:
        return sum(cost.device_seconds(configs[s.config], s.planned) for s in segments)


def _clip(stretches: list[Stretch], start: int, end: int) -> list[Stretch]:
    return [
        s.model_copy(update={"start": max(s.start, start), "end": min(s.end, end)})
        for s in stretches
        if s.start < end and s.end > start
    ]
