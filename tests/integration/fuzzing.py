"""Schemathesis against a running service: how many cases each operation got, and what was wrong."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONFIG = HERE / "schemathesis.toml"
SHORT = "examples,fuzzing,stateful"
LONG = f"{SHORT},coverage"
"""Coverage alone is 4,000 cases: every boundary and every wrong type of every field."""
MEANT = ("GET /v1/tokens/{id}", "Deleted resource still available")
"""A token that was revoked is still shown: experiments name it. The check is off for this operation
in the configuration, and made all the same in some chains of calls (4.32)."""


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

    def add(self, other: "Found") -> None:
        for name in ("cases", "good", "crashes", "violations"):
            getattr(self, name).update(getattr(other, name))
        self.words += other.words

    def table(self) -> str:
        columns = [self.cases, self.good, self.crashes, self.violations]
        names = sorted(set().union(*columns))
        rows = [(name, *(column[name] for column in columns)) for name in names]
        rows += [("all", *(sum(column.values()) for column in columns))]
        head = f"{'operation':<46}{'cases':>8}{'2xx':>8}{'5xx':>8}{'violations':>12}"
        return "\n".join([head, *(f"{a:<46}{b:>8}{c:>8}{d:>8}{e:>12}" for a, b, c, d, e in rows)])


def fuzz(url: str, token: str, phases: str, examples: int, seed: int, folder: Path) -> Found:
    """All checks, data that the document allows and data that it does not, with this token or none;
    at most `examples` cases for an operation in the phase `fuzzing`."""
    folder.mkdir(parents=True, exist_ok=True)
    report, config = folder / "report.ndjson", folder / "schemathesis.toml"
    # Not as a header: schemathesis would send it also where it tries what happens without.
    bearer = f'\n[auth.openapi.token]\nbearer = "{token}"\n' if token else ""
    config.write_text(CONFIG.read_text() + bearer)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"{url}/openapi.json", "--checks", "all", "--mode", "all", "--no-color"),
        *("--phases", phases, "--continue-on-failure", "--suppress-health-check", "all"),
        *("--max-examples", str(examples), "--seed", str(seed), "--request-timeout", "60"),
        *("--report", "ndjson", "--report-ndjson-path", str(report)),
    ]
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "fuzz_hooks",
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    (folder / "said.txt").write_text(done.stdout + done.stderr)
    if done.returncode not in (0, 1):
        raise ChildProcessError(done.stdout[-4000:] + done.stderr[-4000:])
    return _read(report, done.returncode)


def _read(report: Path, code: int) -> Found:
    found, meant = Found(), 0
    for line in report.read_text().splitlines():
        ((kind, event),) = json.loads(line).items()
        if kind == "ScenarioFinished":
            meant += _count(event["recorder"], found)
        elif "Error" in kind:
            found.violations[str(event.get("label"))] += 1
            found.words.append(json.dumps(event)[:2000])
    if code and not found.words and not meant:
        raise AssertionError(f"schemathesis is not content, and {report} does not say why")
    return found


def _count(recorder: dict[str, Any], found: Found) -> int:
    """How much of what was said is meant to be so."""
    cases = {id: _label(one["value"]) for id, one in recorder.get("cases", {}).items()}
    for id, exchange in recorder.get("interactions", {}).items():
        status = (exchange.get("response") or {}).get("status_code", 599)
        found.cases[cases[id]] += 1
        found.good[cases[id]] += status < 300
        found.crashes[cases[id]] += status >= 500
    meant = 0
    for id, failure in _failures(recorder):
        if (cases[id], failure["title"]) == MEANT:
            meant += 1
            continue
        found.violations[cases[id]] += 1
        found.words.append(f"{cases[id]}: {failure['title']}: {failure['message']}"[:2000])
    return meant


def _label(case: dict[str, Any]) -> str:
    if case["method"] not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        return "other methods"
    return f"{case['method']} {case['path']}"


def _failures(recorder: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for id, checks in recorder.get("checks", {}).items():
        for check in checks:
            if check["status"] == "failure":
                yield id, check["failure_info"]["failure"]
