"""What the store holds of runs that are to be planned."""

from dataclasses import dataclass
from itertools import pairwise

from shared import ahead
from shared.chain import Manifest, Path, Stored, stored_chain
from shared.plan import Probed

Span = tuple[int, int, bool]
"""(start, end, whether it is stored)"""


@dataclass(frozen=True)
class Known:
    """Of one run."""

    spans: list[Span]
    """End to end from epoch 0."""
    measured: set[Probed]


def look(paths: list[Path], cuts: set[str], stored: Stored) -> list[Known]:
    """Of each run what is stored and what is new, up to its end."""
    return ahead.each(lambda path: _look(path, cuts, stored), paths)


def chains(paths: list[Path], cuts: set[str], stored: Stored) -> list[list[Manifest]]:
    """Of each run the stored segments that cover as much of it as there is."""
    return ahead.each(lambda path: stored_chain(path, cuts, stored), paths)


def stored_alone(paths: list[Path], ways: list[list[Manifest]], stored: Stored) -> list[Known]:
    """Of each run that ends with what is stored of it: these segments and nothing new."""

    def known(path: Path, chain: list[Manifest]) -> Known:
        spans = [(m.start, m.end, True) for m in chain]
        return Known(spans, _measured(path, chain, path.epochs, stored))

    return ahead.each(known, paths, ways)


def _look(path: Path, cuts: set[str], stored: Stored) -> Known:
    chain = stored_chain(path, cuts, stored)
    # A state that is not stored yet is measured when it is reached.
    reached = chain[-1].end if chain else -1
    return Known(_spans(path, chain, cuts, stored), _measured(path, chain, reached, stored))


def _measured(path: Path, chain: list[Manifest], reached: int, stored: Stored) -> set[Probed]:
    """Manifests say what was measured on the way; only about the rest the store is asked."""
    found = {one for manifest in chain for one in manifest.measured}
    asked = {(epoch, digest) for epoch, _, digest in path.probes if epoch <= reached} - found
    return found | {(e, d) for e, d in asked if d in stored.probed(path.scope, path.keys[e])}


def _spans(path: Path, chain: list[Manifest], cuts: set[str], stored: Stored) -> list[Span]:
    """What is stored and what is new, end to end. A stored segment is cut where a checkpoint is
    asked for inside it: up to there the run is looked at as if it ended there."""
    tail: list[Span] = []
    while cut := _last_cut(path, chain):
        index, epoch = cut
        after = [(m.start, m.end, True) for m in chain[index + 1 :]]
        beyond = _new(path, chain[-1].end, cuts)
        tail = [(epoch, chain[index].end, True), *after, *beyond, *tail]
        path = path.model_copy(update={"keys": path.keys[: epoch + 1]})
        chain = stored_chain(path, cuts, stored)
    spans = [(m.start, m.end, True) for m in chain]
    return spans + _new(path, chain[-1].end if chain else 0, cuts) + tail


def _new(path: Path, reached: int, cuts: set[str]) -> list[Span]:
    ends = [e for e in range(reached + 1, path.epochs + 1) if path.keys[e] in cuts]
    return [(a, b, False) for a, b in pairwise([reached, *ends])]


def _last_cut(path: Path, chain: list[Manifest]) -> tuple[int, int] | None:
    """The last stored segment with a checkpoint asked for inside: its place, and the last such
    epoch."""
    for index in reversed(range(len(chain))):
        manifest = chain[index]
        inside = [e for e in path.checkpoints if manifest.start < e < manifest.end]
        if inside:
            return index, max(inside)
    return None
