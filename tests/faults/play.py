"""Rounds of faults on one site, kept account of."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.reference import References
from tests.faults.round import NotInjected, Round
from tests.faults.site import Site
from tests.faults.sweep import Sweep
from tests.faults.table import PRODUCTION, Table

Kind = Callable[[Round], None]
LINES_KEPT = 2000


@dataclass
class Play:
    site: Site
    references: References
    table: Table
    seed: int
    outage_seconds: float
    say: Callable[[str], None]
    ended: list[Sweep] = field(default_factory=list)
    """To be looked at once more at the end."""
    played: int = 0

    def __post_init__(self) -> None:
        self.references.begin_again()

    def __call__(self, name: str, kind: Kind, suffix: str = "") -> list[str]:
        """One round. What is drawn in it depends on the seed, the kind and how many came before."""
        self.played += 1
        draws = Random(f"{self.seed} {name} {suffix} {self.played}")
        round = Round(self.site, self.references, draws, self.outage_seconds, name)
        self._let_settle()
        began, first_line = time.monotonic(), len(self.site.lines)
        try:
            kind(round)
            complaints = round.check()
        except NotInjected as missed:
            self.table.miss(name)
            self.say(f"  missed  {missed}")
            return []
        except Exception:  # noqa: BLE001  whatever it was, the account goes on
            complaints = [f"lost: {traceback.format_exc()}", *round.complaints]
        seconds = time.monotonic() - began
        self.table.add(name, round.injected, complaints, seconds)
        self.ended += round.sweeps
        word = "ok" if not complaints else "FAILED"
        self.say(f"  {word:<7} {seconds:5.1f} s  {round.injected:>3}  {name} {suffix}")
        for takeover in round.takeovers:
            self.say(f"          taken over after {takeover:.1f} s (lease {self.site.lease:g} s)")
        if complaints:
            self._explain(name, complaints, self.site.lines[first_line:][-LINES_KEPT:])
        return complaints

    def look_again(self) -> list[str]:
        """All that has ended is as it was: the end, and every number."""
        complaints = []
        for sweep in (sweep for sweep in self.ended if sweep.id):
            sweep.complaints.clear()
            sweep.http = self.site.http
            sweep.status()
            sweep.compare(self.references.of(sweep))
            complaints += sweep.complaints
        self.table.add("looked at again after a restart", 0, complaints, 0)
        for complaint in complaints:
            self.say(f"  FAILED  looked at again: {complaint}")
        return complaints

    def _let_settle(self) -> None:
        """Every round begins on a site on which all processes are there."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not self.site.is_whole():
            time.sleep(0.2)

    def _explain(self, name: str, complaints: list[str], lines: list[str]) -> None:
        for complaint in complaints:
            self.say(f"          {complaint}")
        file = Path(self.site.data) / f"{name.replace(' ', '-')}-{self.played}.txt"
        file.write_text("\n".join([*complaints, *lines]))
        self.say(f"          said meanwhile: {file}; data: {self.site.data}")
        only = name.removesuffix(PRODUCTION)
        self.say(f"          again: make faults ARGS='--only \"{only}\" --seed {self.seed}'")
