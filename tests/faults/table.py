"""What was injected, how often, and what it did."""

from dataclasses import dataclass, field


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

    def add(self, kind: str, injected: int, complaints: list[str], seconds: float) -> None:
        line = self.lines.setdefault(kind, Line())
        line.injected += injected
        line.seconds += seconds
        line.wrong += any(c.startswith("wrong") for c in complaints)
        line.lost += any(not c.startswith("wrong") for c in complaints)

    def miss(self, kind: str) -> None:
        self.lines.setdefault(kind, Line()).missed += 1

    @property
    def total(self) -> Line:
        parts = [vars(line) for line in self.lines.values()]
        return Line(**{name: sum(part[name] for part in parts) for name in vars(Line())})

    @property
    def kinds(self) -> int:
        """Of which at least one was really injected."""
        return sum(line.injected > 0 for line in self.lines.values())

    def __str__(self) -> str:
        head = f"{'fault':<44}{'times':>7}{'lost':>6}{'wrong':>7}{'missed':>8}{'seconds':>9}"
        rows = [_row(kind, line) for kind, line in self.lines.items()]
        return "\n".join([head, *rows, _row(f"all ({self.kinds} kinds)", self.total)])


def _row(name: str, line: Line) -> str:
    numbers = f"{line.injected:>7}{line.lost:>6}{line.wrong:>7}{line.missed:>8}"
    return f"{name:<44}{numbers}{line.seconds:>9.0f}"
