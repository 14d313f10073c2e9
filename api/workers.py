"""Which workers there are and what they do, as Redis has heard: advisory, and lost with it."""

import time
from typing import Any

from shared import moments
from shared.live import Live

Json = dict[str, Any]

_WHERE = ("start", "end", "epoch")
_SAID = ("device", "device_name", "experiment", "segment", "dataset")
_COUNTS = ("queued", "running", "waiting")


def of(live: Live) -> Json:
    """By name. `known` is false where nobody can say, which is not that there are none."""
    told = live.workers()
    counts = (live.backlog() or {}).get("segments", {})
    queue = {"messages": live.queue_length()} | {name: counts.get(name) for name in _COUNTS}
    return {"workers": _shown(told or {}, live), "queue": queue, "known": told is not None}


def _shown(told: dict[str, Json], live: Live) -> list[Json]:
    progress = live.progress([about["work"] for about in told.values() if about.get("work")])
    now = time.time()
    return [
        _worker(name, about, progress.get(about.get("work") or "", {}), now)
        for name, about in sorted(told.items())
    ]


def _worker(name: str, about: Json, progress: Json, now: float) -> Json:
    seen = now - about["ago"]
    return {
        "name": name,
        "state": about["state"],
        "unfit": about["unfit"],
        **{field: about.get(field) for field in _SAID},
        **{field: progress.get(field) for field in _WHERE},
        "since": moments.at(seen - about["for"]),
        "seen": moments.at(seen),
    }
