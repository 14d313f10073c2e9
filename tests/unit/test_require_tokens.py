"""When a token is required, and what is said of a setting that is wrong: never the secret."""

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from api.main import NOT_CONFIGURED, refusal
from shared.settings import Settings

ADMIN = "a" * 40


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("[::1]", True),
        ("localhost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False),
        ("", False), ("example.org", False), ("127.0.0.1.example.org", False),
    ],
)  # fmt: skip
def test_only_loopback_needs_no_tokens(host: str, loopback: bool) -> None:
    settings = Settings(host=host)
    assert (settings.on_loopback, settings.tokens_required) == (loopback, not loopback)
    assert Settings(host=host, require_tokens=True).tokens_required


def test_the_service_refuses_to_be_open_to_a_network() -> None:
    given = Settings(host="0.0.0.0", require_tokens=False, admin_token=ADMIN)
    assert "HUBEL_REQUIRE_TOKENS is false" in (refusal(given) or "")
    assert refusal(Settings(host="0.0.0.0", admin_token=ADMIN)) is None
    assert refusal(Settings(host="127.0.0.1", require_tokens=False)) is None


@pytest.mark.parametrize("token", ["hunter2", "a" * 31, "a" * 201, "a b" * 20, "é" * 40])
def test_a_weak_admin_token_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(admin_token=token)
    assert token not in str(refused.value)


def test_an_empty_admin_token_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBEL_ADMIN_TOKEN", "")
    assert Settings().admin_token is None


def start(**variables: str) -> tuple[int, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("HUBEL_")}
    env |= {f"HUBEL_{name.upper()}": value for name, value in variables.items()}
    done = subprocess.run(
        [sys.executable, "-m", "api.main"], env=env, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stderr + done.stdout


def test_what_cannot_be_known_is_refused_with_what_to_do() -> None:
    status, said = start(host="0.0.0.0", port="0", s3_endpoint="127.0.0.1:1")
    assert status == NOT_CONFIGURED
    assert "Set HUBEL_ADMIN_TOKEN" in said
    assert "Traceback" not in said


def test_a_wrong_setting_is_named_in_one_line_without_its_value() -> None:
    status, said = start(admin_token="hunter2")
    assert status == NOT_CONFIGURED
    assert "HUBEL_ADMIN_TOKEN" in said
    assert "hunter2" not in said
    assert len(said.splitlines()) == 1
