"""What is made of pip-audit's answer. A script with answers of its form plays its program."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.audit import FOUND, NOT_ASKED, audit


@pytest.fixture
def program(tmp_path: Path) -> Any:
    def made(stdout: str, stderr: str, status: int) -> str:
        (tmp_path / "out").write_text(stdout)
        (tmp_path / "err").write_text(stderr)
        script = tmp_path / "pip-audit"
        script.write_text(
            f'#!/bin/sh\ncat "{tmp_path}/out"\ncat "{tmp_path}/err" >&2\nexit {status}\n'
        )
        script.chmod(0o755)
        return str(script)

    return made


def answer(*vulns: dict[str, Any]) -> str:
    return json.dumps({"dependencies": [{"name": "x", "version": "1.0", "vulns": vulns}]})


def test_what_is_clean_is_counted(program: Any) -> None:
    status, text = audit(program(answer(), "", 0))
    assert (status, text) == (0, "audit: 1 pinned distributions, none known to be vulnerable")


def test_what_is_vulnerable_is_named_with_the_version_that_is_not(program: Any) -> None:
    found = {"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"], "aliases": [], "description": ""}
    status, text = audit(program(answer(found), "Found 1 known vulnerability", 1))
    assert (status, text) == (FOUND, "x 1.0: PYSEC-1, mended in 1.1, 2.0")


def test_what_was_left_out_does_not_pass_for_clean(program: Any) -> None:
    skipped = {"name": "y", "skip_reason": "not found on the index"}
    status, text = audit(program(json.dumps({"dependencies": [skipped]}), "", 0))
    assert (status, text) == (FOUND, "y: not found on the index")


def test_a_network_that_does_not_let_it_is_said_to_be_the_reason(program: Any) -> None:
    error = "Traceback\nERROR:pip_audit._cli:Connection refused"
    status, text = audit(program("", error, 1))
    assert status == NOT_ASKED
    assert "nothing was audited" in text
    assert "Connection refused" in text
