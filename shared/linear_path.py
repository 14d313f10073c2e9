"""Which runs are joined by a straight line through weight space: each run with a deficit, and the
one without it that it is compared with."""

from collections.abc import Collection

from shared.chain import Path
from shared.errors import Fault, Invalid
from shared.measurements import LinearPath
from shared.partners import among
from shared.probe import LINEAR_PATH, Probe, name


def added(
    paths: list[Path],
    asked: LinearPath | None,
    ended: Collection[int] | None = None,
    wanted: Collection[int] | None = None,
) -> list[Path]:
    """The runs, with a probe at the end of each that has a deficit and a partner without one.

    Of `wanted` runs alone (indices; None: of all), and where both of a pair have `ended`: a line
    joins final weights.
    """
    if asked is None:
        return paths
    joined = {
        index: other
        for index, other in among(paths).items()
        if (wanted is None or index in wanted)
        and (ended is None or {index, other.index} <= set(ended))
    }
    return [_joined(path, joined[path.index], asked) if path.index in joined else path
            for path in paths]  # fmt: skip


def check(asked: LinearPath | None, paths: list[Path], does: str = "is trained") -> None:
    """Refuse a line that no two runs are the ends of."""
    kinds = {probe["kind"] for path in paths for _, probe, _ in path.probes}
    if asked is not None and LINEAR_PATH not in kinds:
        message = (
            f"linear_path: none of these runs {does} with a deficit and has a partner that {does}"
            " without one (same seed and settings, as long): there is no line to look along"
        )
        raise Invalid(message, [Fault("/linear_path", "no-pair", message)])


def _joined(path: Path, other: Path, asked: LinearPath) -> Path:
    probe = _probe(path, other, asked)
    digest = name(probe)
    probes = [*path.probes, (path.epochs, probe, digest)]
    needs = {digest: (other.scope, other.keys[-1])}
    return path.model_copy(update={"probes": probes, "needs": needs})


def _probe(path: Path, other: Path, asked: LinearPath) -> Probe:
    data = path.config["dataset"]
    return {
        "kind": LINEAR_PATH,
        "other": {"key": other.keys[-1], "epoch": other.epochs},
        "points": asked.points,
        "train_samples": min(asked.samples, data["train_samples"]),
        "test_samples": min(asked.samples, data["test_samples"]),
        "batchnorm_statistics": "reestimated",
    }
