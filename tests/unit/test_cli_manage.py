"""The commands that change what is said of an experiment."""

import json

import pytest
from test_cli import ID, Play, play, status

__all__ = ["play"]

TAGGED = status("running") | {"tags": {"lab": "vision"}, "notes": "one\ntwo"}


def test_tag_sends_a_merge_patch_and_says_what_there_is_now(play: Play) -> None:
    arguments = ("lab=a=b", "draft-", "--notes", "one\ntwo")
    result, asked = play([(200, TAGGED)], "tag", ID, *arguments)
    assert result.exit_code == 0, result.output
    method, path, body = asked[0]
    assert (method, path) == ("PATCH", f"/v1/experiments/{ID}")
    assert json.loads(body) == {"tags": {"lab": "a=b", "draft": None}, "notes": "one\ntwo"}
    assert result.stdout.splitlines() == ["tags: lab=vision", "notes: one", "notes: two"]


def test_tag_without_a_change_only_looks(play: Play) -> None:
    result, asked = play([(200, TAGGED)], "tag", ID)
    assert asked[0][:2] == ("GET", f"/v1/experiments/{ID}")
    assert "lab=vision" in result.stdout


@pytest.mark.parametrize("change", ["lab", "=x", "-"])
def test_what_is_no_change_of_a_tag_is_wrong_usage(play: Play, change: str) -> None:
    result, asked = play([(200, TAGGED)], "tag", ID, "--", change)
    assert (result.exit_code, asked) == (2, [])
    assert "KEY=VALUE" in result.output


def test_delete_asks_first_and_does_nothing_without_a_yes(play: Play) -> None:
    result, asked = play([(200, status("succeeded"))], "delete", ID, input="n\n")
    assert result.exit_code == 1
    assert [method for method, _, _ in asked] == ["GET"]
    assert "a\ufffd[31mb" in result.output


def test_delete_says_what_was_deleted(play: Play) -> None:
    result, asked = play([(204, b"")], "delete", ID, "--yes")
    assert (result.exit_code, result.stdout) == (0, f"{ID} deleted\n")
    assert asked[0][:2] == ("DELETE", f"/v1/experiments/{ID}")
