"""Faults for half an hour: every kind, a kill at every write, ten at production values, and then
whatever is drawn. Prints its seed first and a table last; fails where anything was lost or wrong,
and where too little was injected to say so.

    python -m tests.faults.run --minutes 30 --seed 7
    python -m tests.faults.run --only "Redis away" --seed 7
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.faults import criterion, damage, deaths, disks
from tests.faults.kinds import (
    AT_PRODUCTION_VALUES,
    AT_REST,
    BOUNDARY,
    KINDS,
    ON_SMALL_DISKS,
    SEVERAL_A_ROUND,
)
from tests.faults.play import Play
from tests.faults.reference import References
from tests.faults.round import Round
from tests.faults.site import PRODUCTION, Site
from tests.faults.table import PRODUCTION as AT_PRODUCTION
from tests.faults.table import Table

OUTAGE_SECONDS, PRODUCTION_OUTAGE_SECONDS = 8.0, 60.0
REFERENCE_SEEDS = 8
TRIES = 3
"""Rounds in which a kind is tried that is missed by chance."""
LAST_SECONDS = 660  # for looking again at all, full disks, and ten faults at production values


class Run:
    def __init__(self, data: Path, seed: int, minutes: float, only: str | None) -> None:
        self.data, self.seed, self.minutes, self.only = data, seed, minutes, only
        self.deadline = time.monotonic() + 60 * minutes
        self.table = Table()
        self.random = random.Random(seed)
        say(f"seed {seed}; data in {data}")
        self.references = References(data / "reference", REFERENCE_SEEDS)
        say("references are computed")

    def __call__(self) -> int:
        if self._is_wanted(*KINDS, BOUNDARY):
            self._quick()
        if self._is_wanted(*ON_SMALL_DISKS):
            self._on_small_disks()
        if not self.only:
            self._at_production_values()
        print(self.table, flush=True)
        total = self.table.total
        print(f"{total.injected} faults injected: {total.lost} lost, {total.wrong} wrong")
        failures = self._failures()
        for failure in failures:
            print(failure, flush=True)
        return 1 if failures or total.lost + total.wrong else 0

    def _failures(self) -> list[str]:
        """Beside what was lost or wrong: why this run shows less than it should."""
        minutes = 0 if self.only else self.minutes
        if not (self.only or criterion.is_full(minutes)):
            say(f"not the full version of {criterion.FULL_MINUTES} minutes: numbers are not judged")
        found = criterion.shortcomings(self.table, minutes, not disks.must_be_filled())
        return [f"FAILED  {shortcoming}" for shortcoming in found]

    def _quick(self) -> None:
        with Site(self.data / "quick") as site:
            play = self._play(site, OUTAGE_SECONDS)
            for name, kind in self._wanted(KINDS):
                self._until_injected(play, name, kind)
            if self._is_wanted(BOUNDARY):
                self._at_every_write(play)
            for kind in damage.OBJECTS if self._is_wanted(AT_REST) else ():
                play(AT_REST, partial(damage.at_rest, kind=kind), kind)
            while not self.only and time.monotonic() < self.deadline - LAST_SECONDS:
                name = self.random.choice([*sorted(KINDS), *2 * SEVERAL_A_ROUND])
                play(name, KINDS[name])
            site.restart()
            play.look_again()

    def _at_every_write(self, play: Play) -> None:
        found: list[deaths.Boundary] = []
        scout = Round(play.site, self.references, self.random, 0, BOUNDARY)
        found += deaths.boundaries(scout)
        say(f"{len(found)} writes of an undisturbed sweep to be killed at")
        for boundary in found:
            play(BOUNDARY, partial(deaths.at_boundary, boundary=boundary), " ".join(boundary))

    def _on_small_disks(self) -> None:
        data = self.data / "disks"
        if not disks.can_mount(self.data):
            say(f"no disk is filled: {disks.CANNOT_MOUNT}")
            skipped = [name for name, _ in self._wanted(ON_SMALL_DISKS)]
            self.table.skipped |= dict.fromkeys(skipped, disks.CANNOT_MOUNT)
            return
        with disks.small(data) as env, Site(data, env=env) as site:
            play = self._play(site, OUTAGE_SECONDS)
            for name, kind in self._wanted(ON_SMALL_DISKS):
                self._until_injected(play, name, kind)
            play.look_again()

    def _at_production_values(self) -> None:
        with Site(self.data / "production", env=PRODUCTION) as site:
            play = self._play(site, PRODUCTION_OUTAGE_SECONDS)
            for name in AT_PRODUCTION_VALUES:
                self._until_injected(play, name + AT_PRODUCTION, KINDS[name])
            play.look_again()

    def _until_injected(self, play: Play, name: str, kind: Callable[[Round], None]) -> None:
        for _ in range(TRIES):
            missed = self.table.missed(name)
            play(name, kind)
            if self.table.missed(name) == missed:
                return

    def _play(self, site: Site, outage_seconds: float) -> Play:
        return Play(site, self.references, self.table, self.seed, outage_seconds, say)

    def _wanted(
        self, kinds: dict[str, Callable[[Round], None]]
    ) -> list[tuple[str, Callable[[Round], None]]]:
        return [(name, kind) for name, kind in kinds.items() if self._is_wanted(name)]

    def _is_wanted(self, *names: str) -> bool:
        return not self.only or any(self.only in name for name in names)


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S "), line, flush=True)


def in_own_mounts() -> None:
    """Mounting is for root: who is not becomes so in name, in a namespace of its own."""
    if os.geteuid() != 0 and shutil.which("unshare") and disks.UNSHARED not in os.environ:
        os.environ[disks.UNSHARED] = "1"
        command = ["unshare", "-Urm", sys.executable, "-m", "tests.faults.run", *sys.argv[1:]]
        if os.system("unshare -Urm true 2>/dev/null") == 0:
            os.execvp("unshare", command)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument("--only", help="kinds whose name holds this")
    parser.add_argument("--data", type=Path, help="kept; else a temporary folder, kept on failure")
    options = parser.parse_args()
    in_own_mounts()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    data = options.data or Path(tempfile.mkdtemp(prefix="hubel-faults-"))
    failed = Run(data, options.seed, options.minutes, options.only)()
    if not failed and options.data is None:
        shutil.rmtree(data)
    sys.exit(failed)


if __name__ == "__main__":
    main()
