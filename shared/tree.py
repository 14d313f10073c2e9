"""Runs -> tree of segments: what is trained once, what is there already, and what it costs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

from shared import cost
from shared.chain import Manifest, Path, Remembered, Stored, stored_chain
from shared.plan import Epochs, Plan, Probed, RunPlan, Segment
from shared.probe import Probe
from shared.schedule import Stretch

Span = tuple[int, int, bool]
"""(start, end, whether it is stored)"""

ASKED_AT_ONCE = 16
"""Questions to the store under way at a time: its answers take a network's time."""


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
        self.paths, self.stored, self.alone = paths, Remembered(stored), alone
        self.cuts = cut_states(paths)
        self.known = [_Known(self._new(p, 0), set()) for p in paths] if alone else self._ask()
        self.configs: dict[str, int] = {}
        self.segments: dict[tuple[str, str, int], Segment] = {}
        self.probes: dict[str, Probe] = {}

    def _ask(self) -> list["_Known"]:
        with ThreadPoolExecutor(ASKED_AT_ONCE) as askers:
            return list(askers.map(self._known, self.paths))

    def _known(self, path: Path) -> "_Known":
        chain = stored_chain(path, self.cuts, self.stored, "")
        reached = chain[-1].end if chain else -1
        measured = {one for manifest in chain for one in manifest.measured}
        # A state that is not stored yet is measured when it is reached.
        asked = {(epoch, digest) for epoch, _, digest in path.probes if epoch <= reached} - measured
        measured |= {(e, d) for e, d in asked if self.stored.measured("", path.keys[e], d)}
        return _Known(self._spans(path, chain), measured)

    def _spans(self, path: Path, chain: list[Manifest]) -> list[Span]:
        """What is stored and what is new, end to end. A stored segment is cut where a checkpoint is
        asked for inside it: up to there the run is looked at as if it ended there."""
        tail: list[Span] = []
        while cut := _last_cut(path, chain):
            index, epoch = cut
            after = [(m.start, m.end, True) for m in chain[index + 1 :]]
            beyond = self._new(path, chain[-1].end)
            tail = [(epoch, chain[index].end, True), *after, *beyond, *tail]
            path = path.model_copy(update={"keys": path.keys[: epoch + 1]})
            chain = stored_chain(path, self.cuts, self.stored, "")
        spans = [(m.start, m.end, True) for m in chain]
        return spans + self._new(path, chain[-1].end if chain else 0) + tail

    def _new(self, path: Path, reached: int) -> list[Span]:
        ends = [e for e in range(reached + 1, path.epochs + 1) if path.keys[e] in self.cuts]
        return [(a, b, False) for a, b in pairwise([reached, *ends])]

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
        known = self.known[index]
        names = [self._segment(path, scope, *span) for span in known.spans]
        self._attach_probes(path, names, known.measured)
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

    def _attach_probes(
        self, path: Path, names: list[tuple[str, str, int]], measured: set[Probed]
    ) -> None:
        for epoch, probe, digest in path.probes:
            self.probes[digest] = probe
            if (epoch, digest) in measured:
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
            if segment.start == 0 and not self.stored.begun(segment.scope, segment.keys[0]):
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


@dataclass(frozen=True)
class _Known:
    """What the store holds of one run."""

    spans: list[Span]
    measured: set[Probed]


def _last_cut(path: Path, chain: list[Manifest]) -> tuple[int, int] | None:
    """The last stored segment with a checkpoint asked for inside: its place, and the last such
    epoch."""
    for index in reversed(range(len(chain))):
        manifest = chain[index]
        inside = [e for e in path.checkpoints if manifest.start < e < manifest.end]
        if inside:
            return index, max(inside)
    return None


def _clip(stretches: list[Stretch], start: int, end: int) -> list[Stretch]:
    return [
        s.model_copy(update={"start": max(s.start, start), "end": min(s.end, end)})
        for s in stretches
        if s.start < end and s.end > start
    ]
