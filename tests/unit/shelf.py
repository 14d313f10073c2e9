"""A store that is a dict, filled by carrying plans out without tensors: one manifest per segment
and one pointer per epoch inside, exactly as a worker writes them."""

from shared import plan, probe, sweep
from shared.chain import Manifest, Path
from shared.schedule import Facts, changes, config, keys, timeline
from shared.spec import ExperimentSpec

FACTS = Facts("gratings", "d" * 64, (16, 16, 1), 8, 2000, 1000, (0.5,), (0.25,))
GRID = 20  # of a network this small, see shared/cost.py


class Shelf:
    def __init__(self):
        self.manifests, self.pointers, self.measurements = {}, {}, set()
        self.asked = 0

    def manifest(self, scope, key):
        self.asked += 1
        return self.manifests.get((scope, key))

    def covering(self, scope, key):
        self.asked += 1
        end = key if (scope, key) in self.manifests else self.pointers.get((scope, key), key)
        return end if (scope, end) in self.manifests else None

    def begun(self, scope, key):
        self.asked += 1
        return (scope, key) in self.pointers

    def probed(self, scope, key):
        self.asked += 1
        return {digest for *state, digest in self.measurements if state == [scope, key]}

    def carry_out(self, made: plan.Plan, at_most: int | None = None) -> int:
        """Train what a plan wants, parents first; the number of epochs trained. Where `at_most`
        says how many segments, the last of them is stopped half-way."""
        trained = 0
        waiting = [s for s in made.segments if not s.stored or s.probes]
        if at_most is not None:
            waiting = waiting[:at_most]
            if waiting and (last := waiting.pop()).start == 0 and last.end > 1:
                waiting.append(_half(last))
        while waiting:
            ready = [
                s
                for s in waiting
                if s.start == 0 or (s.scope, s.parent) in self.manifests
                if all(state in self.manifests for state in s.needs)
            ]
            assert ready, "segments wait for a parent that nobody trains"
            for segment in ready:
                trained += self._carry_out_segment(segment)
                waiting.remove(segment)
        return trained

    def _carry_out_segment(self, s: plan.Segment) -> int:
        self.measurements |= {(s.scope, s.state(e), digest) for e, digest in s.probes}
        if s.only_measures:
            assert s.needs
            return 0
        if s.stored:
            assert not s.keys or self.manifest(s.scope, s.key) is not None
            return s.replay_end(s.probes) - s.start
        for key in s.keys[:-1] or s.keys:
            self.pointers[s.scope, key] = s.key
        record = Manifest(key=s.key, parent=s.parent, start=s.start, end=s.end,
                          checkpoint="", metrics="", provenance={},
                          measured=s.probes)  # fmt: skip
        assert self.manifests.setdefault((s.scope, s.key), record) is record, "trained twice"
        return s.end - s.start


def _half(s: plan.Segment) -> plan.Segment:
    """What a worker stores that was asked to stop on the way."""
    end = (s.start + s.end) // 2
    return s.model_copy(
        update={
            "end": end,
            "key": s.state(end),
            "keys": s.keys[: end - s.start],
            "probes": [one for one in s.probes if one[0] <= end],
        }
    )


def body(**changes):
    base = {
        "dataset": {"name": "gratings"},
        "model": {"name": "all_cnn", "width": 0.1},
        "training": {"epochs_after_deficit": 15},
        "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
    }
    return base | changes


def paths(spec_body, scope=lambda run: "") -> list[Path]:
    spec = ExperimentSpec.model_validate(spec_body)
    out: list[Path] = []
    for point in sweep.points(spec):
        for seed in spec.seeds:
            stretches = timeline(point.run)
            settings = config(point.run, FACTS, seed)
            kept = spec.checkpoints
            out.append(
                Path(
                    index=len(out),
                    scope=scope(len(out)),
                    variant=point.variant,
                    base=point.base,
                    control=point.control,
                    point=point.values,
                    seed=seed,
                    config=settings,
                    stretches=stretches,
                    windows=[w.model_dump() | {"end": w.epochs.stop} for w in point.run.windows],
                    changes=changes(point.run),
                    keys=keys(settings, stretches),
                    probes=probe.probes(spec, point.run, stretches, FACTS),
                    checkpoints=kept.epochs if kept else [],
                )
            )
    return out


def removal(*ends, **changes):
    return body(sweep={"deficit.end": list(ends)}, **changes)
