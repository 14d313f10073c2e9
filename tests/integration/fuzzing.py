"""Schemathesis against a running service: how many cases each operation got, and what was wrong."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
CONFIG = HERE / "schemathesis.toml"


@dataclass
class Found:
    """Of one or several runs, by operation."""

    cases: Counter[str] = field(default_factory=Counter)
    good: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)
    """What schemathesis says of each violation."""

    @property
    def total(self) -> int:
        return sum(self.cases.values())

    def table(self) -> str:
        rows = [f"{'operation':<48}{'cases':>8}{'2xx':>8}{'5xx':>8}{'violations':>12}"]
        for name in [*sorted(self.cases), *sorted(self.violations.keys() - self.cases.keys())]:
            numbers = f"{self.cases[name]:>8}{self.good[name]:>8}{self.crashes[name]:>8}"
            rows.append(f"{name:<48}{numbers}{self.violations[name]:>12}")
        return "\n".join([*rows, f"{'all':<48}{self.total:>8}{sum(self.good.values()):>8}"
                          f"{sum(self.crashes.values()):>8}{sum(self.violations.values()):>12}"])  # fmt: skip


def fuzz(
    url: str, headers: dict[str, str], examples: int, seed: int, seconds: float, folder: Path
) -> Found:
    """All checks and phases, data that the document allows and data that it does not, with these
    headers; at most `examples` cases for an operation in each phase."""
    folder.mkdir(parents=True, exist_ok=True)
    log, report = folder / "answers.log", folder / "report.ndjson"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"{url}/openapi.json", "--checks", "all", "--mode", "all", "--no-color"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure"),
        *("--max-examples", str(examples), "--seed", str(seed), "--request-timeout", "60"),
        *("--report", "ndjson", "--report-ndjson-path", str(report)),
        *("--suppress-health-check", "all"),
        *(word for name, value in headers.items() for word in ("-H", f"{name}:{value}")),
    ]
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "fuzz_hooks",
        "HUBEL_FUZZ_LOG": str(log),
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=seconds
    )
    (folder / "said.txt").write_text(done.stdout + done.stderr)
    if done.returncode not in (0, 1):
        raise ChildProcessError(done.stdout[-4000:] + done.stderr[-4000:])
    return _read(log, report)
