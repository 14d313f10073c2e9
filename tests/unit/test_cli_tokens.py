"""What the command line does with a token that it is given."""

import pytest
from click.testing import CliRunner

from api import cli
from api.client import Service


@pytest.mark.parametrize("token", ["hunter2 x", "hunter2\n", "hunter2é"])
def test_what_cannot_be_a_token_is_wrong_usage_and_not_repeated(token: str) -> None:
    for arguments, env in ((["--token", token], {}), ([], {"HUBEL_TOKEN": token})):
        result = CliRunner().invoke(cli.main, [*arguments, "list"], env=env)
        assert result.exit_code == 2
        assert "HUBEL_TOKEN" in result.output
        assert "hunter2" not in result.output


def test_help_does_not_show_the_token_that_is_set() -> None:
    result = CliRunner().invoke(cli.main, ["--help"], env={"HUBEL_TOKEN": "hunter2"})
    assert result.exit_code == 0
    assert "hunter2" not in result.output


@pytest.mark.parametrize("token", [None, "", "abc"])
def test_a_token_goes_into_the_header_and_nothing_does_without_one(token: str | None) -> None:
    headers = Service("http://127.0.0.1:1", token)._client.headers
    assert headers.get("authorization") == (f"Bearer {token}" if token else None)


@pytest.mark.parametrize(
    "arguments",
    [["create"], ["create", "x", "--scope", "root"], ["create", "x", "--rate", "0"],
     ["create", "x", "--quota", "-1"], ["create", "x", "--days", "0"], ["revoke", "../x"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_of_token_exits_2_without_asking(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli.main, ["--url", "http://127.0.0.1:1", "token", *arguments])
    assert result.exit_code == 2  # 3 would be: no answer
