"""`hubel fsck` and its endpoints, over HTTP against a real store."""

import json
import os
import subprocess
import sys
import threading
import time
from functools import partial

import httpx
import pytest
from serving import serving

from api.store_stream import WORK
from shared import garbage, names
from shared.live import Live

pytestmark = pytest.mark.services


@pytest.fixture
def url(settings, storage):
    with serving(settings.model_copy(update={"check_share": 1})) as address:
        yield address


def fsck(url, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "api.cli", "--url", url, "fsck", *arguments],
        capture_output=True, text=True, timeout=120, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip


def orphan(storage, data=b"nobody's"):
    return names.blob(storage.write_blob(data))


def test_a_whole_store_is_exit_status_0(url, storage):
    done = fsck(url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "0 objects, 0 bytes read: all is whole\n"


def test_damage_is_said_and_is_exit_status_1_until_it_is_repaired(url, storage):
    storage.write(names.within("", "a" * 64), b'{"segment')
    done = fsck(url)
    assert done.returncode == 1
    assert done.stdout.startswith(f"damaged segments/{'a' * 64}/within.json\n    found ")
    assert "1 objects" in done.stdout
    done = fsck(url, "--repair")
    assert done.returncode == 0
    assert "within.json -> removed" in done.stdout
    assert fsck(url).returncode == 0


def test_json_is_what_the_service_says_line_by_line(url, storage):
    storage.write(names.within("", "a" * 64), b'{"segment')
    done = fsck(url, "--json", "--quick")
    assert done.returncode == 1
    finding, summary = map(json.loads, done.stdout.splitlines())
    assert finding["type"] == "finding"
    assert finding.keys() == {"type", "kind", "object", "found", "expected", "action", "bytes"}
    assert (summary["type"], summary["quick"], summary["repair"]) == ("summary", True, False)
    assert (summary["objects"], summary["damaged"], summary["unrepaired"]) == (1, 1, 1)
    assert summary["kinds"] == {"damaged": 1}


def test_a_collection_never_removes_what_is_younger_than_an_hour(url, storage):
    name = orphan(storage)
    time.sleep(2)  # listings tell whole seconds
    assert "removed 0 objects" in fsck(url, "--collect", "--older-than", "0s").stdout
    assert storage.exists(name)


def test_a_collection_removes_what_nothing_names_once_it_is_old_enough(url, storage, monkeypatch):
    monkeypatch.setattr(garbage, "collect", partial(garbage.collect, grace_seconds=0))
    name = orphan(storage)
    assert "removed 0 objects" in fsck(url, "--collect").stdout
    assert "would remove 0" in fsck(url, "--collect", "--older-than", "1m", "--dry-run").stdout
    assert storage.exists(name)
    while storage.exists(name):  # listings tell whole seconds
        done = fsck(url, "--collect", "--older-than", "0s", "--max-bytes", "500GB")
        assert done.returncode == 0
    assert f"orphan {name} -> removed" in done.stdout
    assert "removed 1 objects, 8 bytes" in done.stdout


def test_a_collection_tells_only_of_what_it_removed(url, storage):
    """Of what is damaged too it says so, line by line."""
    id = names.new_experiment_id()
    for name in (names.experiment_object(id, "spec.json"), names.index_entry(id)):
        storage.write(name, b"{")
    done = fsck(url, "--quick", "--collect", "--older-than", "30d")
    assert "damaged" in done.stdout
    assert "removed 0 objects, 0 bytes" in done.stdout


def test_options_in_a_body_are_refused_and_not_passed_over(url, storage):
    for path in ("collect", "check"):
        answer = httpx.post(f"{url}/v1/store/{path}", json={"dry_run": True}, timeout=60)
        assert answer.status_code == 400
        assert "?dry_run=true" in answer.json()["detail"]


def test_a_collection_that_must_not_go_on_ends_with_the_reason(url, storage):
    storage.write(names.manifest("", "a" * 64), b"{")
    done = fsck(url, "--collect", "--older-than", "0s")
    assert done.returncode == 3
    assert "Nothing was collected" in done.stderr
    assert "hubel fsck --repair" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--collect", "--older-than", "30 fortnights"], "is not a number with a unit, say 30d"),
        (["--collect", "--max-bytes", "1e9"], "is not a number with a unit, say 500GB"),
        (["--max-bytes", "1GB"], "go with --collect"),
    ],
)
def test_what_cannot_be_meant_is_refused(url, arguments, word):
    done = fsck(url, *arguments)
    assert done.returncode == 2
    assert word in done.stderr


def test_one_check_at_a_time(url, settings, storage):
    live = Live(settings)
    assert live.take(WORK, "another")
    answer = httpx.post(f"{url}/v1/store/check", trust_env=False)
    assert answer.status_code == 409
    assert answer.headers["Retry-After"] == "60"
    assert "one at a time" in answer.json()["detail"]
    live.release(WORK, "another")
    assert httpx.post(f"{url}/v1/store/check", trust_env=False).status_code == 200
    assert httpx.post(f"{url}/v1/store/collect", trust_env=False).status_code == 200


def test_who_has_read_the_last_line_can_ask_for_the_next_one(url, monkeypatch):
    release = Live.release

    def late(live, *arguments):
        time.sleep(0.3)
        release(live, *arguments)

    monkeypatch.setattr(Live, "release", late)
    with httpx.Client(trust_env=False) as client:
        for _ in range(2):
            with client.stream("POST", f"{url}/v1/store/check") as answer:
                assert answer.status_code == 200
                assert any(json.loads(line)["type"] == "summary" for line in answer.iter_lines())


def test_who_goes_away_ends_the_check_and_frees_its_place(settings, storage):
    for number in range(400):
        storage.write(names.within("", f"{number:064x}"), b"{")
    with serving(settings.model_copy(update={"check_share": 0.02})) as url:
        with httpx.stream("POST", f"{url}/v1/store/check", trust_env=False, timeout=60) as answer:
            assert json.loads(next(answer.iter_lines()))["type"] in ("finding", "progress")
        live, waited = Live(settings), threading.Event()
        for _ in range(200):
            if live.take(WORK, "another"):
                break
            waited.wait(0.1)
        else:
            pytest.fail("the check goes on although nobody reads it")
    assert storage.exists(names.within("", f"{399:064x}"))
