"""The same sweeps undisturbed: what every other one of that seed has to show."""

import time
from pathlib import Path
from typing import Any

import httpx

from deploy.local import LocalMode
from tests.faults.sweep import BODY, Seen, Sweep

LONG: dict[str, Any] = {
    "dataset": BODY["dataset"] | {"train_samples": 1024},
    "training": BODY["training"] | {"batch_size": 8, "epochs_after_deficit": 6},
    "sweep": {},
    "linear_path": None,
}
"""One segment of some seconds: long enough to be stopped in its midst."""
LONG_SEED = 0
SECONDS = 300


class References:
    """Computed in advance, in a data folder of their own; hands out work that is still to do."""

    def __init__(self, data: Path, seeds: int) -> None:
        self._seeds = list(range(1, seeds + 1))
        self._given = 0
        with (
            LocalMode(data, workers=2) as local,
            httpx.Client(base_url=local.url, timeout=60, trust_env=False) as http,
        ):
            self.long = _seen(Sweep(http, LONG_SEED, **LONG))
            sweeps = {seed: Sweep(http, seed) for seed in self._seeds}
            for sweep in sweeps.values():
                sweep.submit()
            self.short = {seed: _seen(sweep) for seed, sweep in sweeps.items()}

    def begin_again(self) -> None:
        """Where nothing of any seed is trained yet."""
        self._given = 0

    def of(self, sweep: Sweep) -> Seen:
        return self.long if sweep.seed == LONG_SEED else self.short[sweep.seed]

    def fresh(self, http: httpx.Client) -> Sweep:
        """A sweep of which nothing is trained: of a new seed while there is one, which shares what
        its runs have in common; then each run by itself."""
        seed = self._seeds[self._given % len(self._seeds)]
        is_new = self._given < len(self._seeds)
        self._given += 1
        return Sweep(http, seed, reuse=is_new)

    def fresh_long(self, http: httpx.Client) -> Sweep:
        return Sweep(http, LONG_SEED, **LONG, reuse=False)


def _seen(sweep: Sweep) -> Seen:
    sweep.submit()
    deadline = time.monotonic() + SECONDS
    while sweep.end is None and time.monotonic() < deadline:
        sweep.status()
        time.sleep(0.2)
    assert sweep.end is not None, f"the reference has not ended: {sweep.status()}"
    assert sweep.end[0] == "succeeded", f"the reference ended otherwise: {sweep.status()}"
    seen = sweep.seen()
    assert not sweep.complaints, sweep.complaints
    return seen
