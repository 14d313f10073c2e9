"""What was injected, how often, and what it did."""

from dataclasses import dataclass, field

PRODUCTION = " (45 s lease, 60 s out)"
"""What a row at production values is called beside the kind: the same kind, not one more."""


@dataclass
class Line:
    injected: int = 0
    lost: int = 0
    wrong: int = 0
    missed: int = 0
    """Rounds in which the fault did not come about."""
    seconds: float = 0.0


@dataclass
class Table:
    lines: dict[str, Line] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Kinds that cannot be injected on this machine, and why."""

    def add(self, kind: str, injected: int, complaints: list[str], seconds: float) -> None:
        line = self.lines.setdefault(kind, Line())
        line.injected += injected
        line.seconds += seconds
        line.wrong += any(c.startswith("wrong") for c in complaints)
        line.lost += any(not c.startswith("wrong") for c in complaints)

    def miss(self, kind: str) -> None:
        self.lines.setdefault(kind, Line()).missed += 1

    def missed(self, kind: str) -> int:
        return self.lines[kind].missed if kind in self.lines else 0

    @property
    def total(self) -> Line:
        parts = [vars(line) for line in self.lines.values()]
        return Line(**{name: sum(part[name] for part in parts) for name in vars(Line())})

    @property
    def kinds(self) -> int:
        """Of which at least one was really injected, at whatever values."""
        injected = [kind for kind, line in self.lines.items() if line.injected]
        return len({kind.removesuffix(PRODUCTION) for kind in injected})

    @property
    def at_production_values(self) -> int:
        """Faults."""
        return sum(line.injected for kind, line in self.lines.items() if kind.endswith(PRODUCTION))

    @property
    def never_injected(self) -> list[str]:
        """Missed in every round of theirs."""
        return [kind for kind, line in self.lines.items() if line.missed and not line.injected]

    def __str__(self) -> str:
        head = f"{'fault':<50}{'times':>7}{'lost':>6}{'wrong':>7}{'missed':>8}{'seconds':>9}"
        rows = [_row(kind, line) for kind, line in self.lines.items()]
        rows += [f"{kind:<50}skipped: {why}" for kind, why in self.skipped.items()]
        return "\n".join([head, *rows, _row(f"all ({self.kinds} kinds)", self.total)])


def _row(name: str, line: Line) -> str:
    numbers = f"{line.injected:>7}{line.lost:>6}{line.wrong:>7}{line.missed:>8}"
    return f"{name:<50}{numbers}{line.seconds:>9.0f}"
