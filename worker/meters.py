"""What a worker's child counts for Prometheus, and its parent shows."""

from prometheus_client import Counter

from shared.forked import shared_values

with shared_values():
    _segments = Counter(
        "hubel_worker_segments",
        "Segments taken, by what came of them: reused is what was stored already, measured what was"
        " reached again to be measured; failed and given_back count all kinds of work",
        ["outcome"],
    )
    SEGMENTS = {
        outcome: _segments.labels(outcome)
        for outcome in ("trained", "reused", "measured", "failed", "given_back")
    }
    _epochs = Counter(
        "hubel_worker_epochs", "Epochs trained, or trained again to reach a stored state", ["kind"]
    )
    EPOCHS = {kind: _epochs.labels(kind) for kind in ("trained", "replayed")}
    _seconds = Counter(
        "hubel_worker_device_seconds",
        "Wall seconds in which the device trained or measured",
        ["kind"],
    )
    SECONDS = {kind: _seconds.labels(kind) for kind in ("training", "measuring")}
    _bytes = Counter("hubel_worker_checkpoint_bytes", "Bytes of checkpoints", ["direction"])
    CHECKPOINTS = {direction: _bytes.labels(direction) for direction in ("written", "read")}
    IDLE = Counter("hubel_worker_idle_seconds", "Seconds in which the worker had nothing to do")
    _deaths = Counter("hubel_worker_child_deaths", "Children that died, by why", ["reason"])
    DEATHS = {reason: _deaths.labels(reason) for reason in ("hung", "died", "infrastructure")}
