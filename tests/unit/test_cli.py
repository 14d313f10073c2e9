"""The command line against a service that answers, refuses, stumbles, or is not there."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api import cli, follow, words

ID = "0" * 24
PLAN = {
    "runs": 2,
    "segments": 3,
    "epochs": {"alone": 8, "shared": 6, "stored": 0, "new": 6, "replayed": 0},
    "device_seconds": 61.2,
}


def status(state: str, done: int = 0) -> dict[str, Any]:
    epochs = {"done": done, "planned": 6, "reused": 0, "trained": done}
    runs = {"total": 2, "queued": 0, "running": 2, "succeeded": 0, "failed": 0}
    return {
        "id": ID, "name": "a\x1b[31mb", "state": state, "created": "2026-01-01T00:00:00.000Z",
        "finished": None, "progress": {"epochs": epochs, "runs": runs},
        "time_left_seconds": 75.0, "failures": [{"run": 1, "reason": "no memory"}]
        if state == "failed" else [], "plan": PLAN, "tags": {},
    }  # fmt: skip


Answer = tuple[int, Any]


class Script(BaseHTTPRequestHandler):
    """Gives prepared answers in order, the last one again and again; notes what was asked."""

    answers: list[Answer | None]
    asked: list[tuple[str, str, bytes]]

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.asked.append((self.command, self.path, self.rfile.read(length)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:  # the connection breaks off
            self.close_connection = True
            return
        code, body = answer
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def script(answers: list[Any]) -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """A service that gives these answers: its address, and what it was asked."""
    handler = type("Given", (Script,), {"answers": answers, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    server.server_close()


Play = Callable[..., tuple[Result, list[tuple[str, str, bytes]]]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """play(answers, *arguments): the command line's result, and what it asked for."""
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.01)
    with ExitStack() as servers:

        def run(answers: list[Any], *arguments: str, input: str | None = None) -> Any:
            url, asked = servers.enter_context(script(answers))
            env = {"HUBEL_URL": url}
            return CliRunner().invoke(cli.main, arguments, input=input, env=env), asked

        yield run


def test_submit_sends_the_bytes_as_they_are_and_prints_the_id(play: Play) -> None:
    text = '{"training": {"epochs": 1e1}}'
    result, asked = play([(202, status("queued"))], "submit", "-", input=text)
    assert (result.exit_code, result.stdout) == (0, ID + "\n")
    assert asked == [("POST", "/v1/experiments", text.encode())]


def test_submit_names_a_preset_and_what_is_to_be_other_in_it(play: Play) -> None:
    settings = (
        "seeds=[0,1]", "sweep.deficit.end=[0,4]", "training.batch_size=32", "fisher=null",
        "training.schedule.name=constant", "variants.two.model.n=2", "name=a=b",
    )  # fmt: skip
    options = [word for setting in settings for word in ("--set", setting)]
    arguments = ["submit", "--preset", "fig1a", "--scale", "mini", *options]
    result, asked = play([(202, status("queued"))], *arguments)
    assert (result.exit_code, result.stdout) == (0, ID + "\n")
    assert json.loads(asked[0][2]) == {
        "preset": "fig1a",
        "scale": "mini",
        "seeds": [0, 1],
        "sweep": {"deficit.end": [0, 4]},
        "training": {"batch_size": 32, "schedule": {"name": "constant"}},
        "fisher": None,
        "variants": {"two": {"model.n": 2}},
        "name": "a=b",
    }


def test_a_preset_can_be_planned_first(play: Play) -> None:
    answer = {"plan": PLAN, "certain": True, "spec": {}}
    result, asked = play([(200, answer)], "submit", "--preset", "fig1a", "--dry-run")
    assert asked == [("POST", "/v1/experiments?dry_run=true", b'{"preset": "fig1a"}')]
    assert "6 after sharing" in result.stdout


def listed(name: str, shared: int) -> dict[str, Any]:
    plan = PLAN | {"epochs": {"alone": 9999, "shared": shared}}
    return {"name": name, "title": f"title of {name}", "scales": {"mini": {"plan": plan}}}


def test_presets_are_listed_with_what_they_cost(play: Play) -> None:
    answer = {"presets": [listed("fig1a", 2376), listed("fig1c", 12)]}
    result, asked = play([(200, answer)], "presets")
    assert asked[0][1] == "/v1/presets"
    assert all(text in result.stdout for text in ("title of fig1a", "2,376", "fig1c", "mini"))
    as_json, _ = play([(200, answer)], "presets", "--json")
    assert answer == json.loads(as_json.stdout)


def test_one_preset_is_shown_whole(play: Play) -> None:
    answer = {"name": "fig1a", "spec": {"seeds": [0]}, "plan": {}}
    result, asked = play([(200, answer)], "presets", "fig1a", "--scale", "mini")
    assert asked[0][1] == "/v1/presets/fig1a?scale=mini"
    assert answer == json.loads(result.stdout)


def test_a_dry_run_says_what_there_would_be_to_do(play: Play, tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text("{}")
    answer = {"plan": PLAN, "certain": True, "spec": {}}
    result, asked = play([(200, answer)], "submit", str(file), "--dry-run")
    assert asked[0][1] == "/v1/experiments?dry_run=true"
    assert "8 epochs alone, 6 after sharing" in result.stdout
    assert "1 min 01 s" in result.stdout
    assert "; less than 1 s on a device" in words.plan(PLAN | {"device_seconds": 0.3}, True)
    assert ", about 2.35 GB in the store" in words.plan(PLAN | {"bytes": 2_345_678_901}, True)


def test_a_refusal_is_shown_by_field_and_exits_2(play: Play) -> None:
    fault = {"pointer": "/model/width", "code": "x", "message": "should be \x1b[1mmore"}
    body = {"title": "Invalid", "status": 422, "detail": "width", "errors": [fault]}
    result, _ = play([(422, body)], "submit", "-", input="{}")
    assert result.exit_code == 2
    assert "/model/width  should be" in result.stderr
    assert "\x1b" not in result.stderr


def test_an_answer_that_is_no_problem_document_is_shown_too(play: Play) -> None:
    result, _ = play([(502, b"<html>")], "status", ID)
    assert result.exit_code == 3
    assert "502" in result.stderr


def test_watching_follows_through_outages_until_the_end(play: Play) -> None:
    answers = [(202, status("queued")), (200, status("running", 2)), None, (503, {}), b""]
    answers[-1] = (200, status("succeeded", 6))
    result, asked = play(answers, "submit", "-", "--watch", input="{}")
    assert result.exit_code == 0
    assert "epochs: 6 of 6 trained" in result.stderr
    assert len(asked) == 5


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(play: Play) -> None:
    answers = [(200, status("running", n)) for n in (1, 1, 3)] + [(200, status("succeeded", 6))]
    result, _ = play(answers, "watch", ID)
    told = [line for line in result.stderr.splitlines() if line.startswith("running")]
    assert told == ["running 1/6 epochs, 1 min 15 s left", "running 3/6 epochs, 1 min 15 s left"]


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_watching_what_does_not_succeed_exits_1(play: Play, state: str) -> None:
    result, _ = play([(200, status(state))], "watch", ID)
    assert result.exit_code == 1
    assert ("run 1: no memory" in result.stderr) == (state == "failed")


def test_ctrl_c_leaves_the_experiment_running_and_says_so(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(follow.time, "sleep", interrupt)
    result, asked = play([(200, status("running", 1))], "watch", ID)
    assert result.exit_code == 130
    assert f"{ID} goes on without us" in result.stderr
    assert {method for method, _, _ in asked} == {"GET"}


def test_a_service_that_is_not_there_exits_3() -> None:
    result = CliRunner().invoke(cli.main, ["--url", "http://127.0.0.1:1", "list"])
    assert result.exit_code == 3
    assert "HUBEL_URL" in result.stderr


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8200",
        "localhost:8200",
        "",
        "ftp://x",
        "http://",
        "http://x\n",
        "http://\udcff",
        "http://a..b",
    ],
)
def test_an_address_that_is_none_is_wrong_usage(url: str) -> None:
    result = CliRunner().invoke(cli.main, ["--url", url, "list"])
    assert result.exit_code == 2
    assert "http://HOST:PORT" in result.stderr


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"\xff", b"null"])
@pytest.mark.parametrize(
    "arguments",
    [["list"], ["status", ID], ["watch", ID], ["results", ID], ["cancel", ID], ["retry", ID],
     ["presets"],
     ["submit", "-"], ["submit", "-", "--dry-run"]],
    ids=" ".join,
)  # fmt: skip
def test_an_answer_from_some_other_server_exits_3(
    play: Play, arguments: list[str], body: bytes
) -> None:
    result, _ = play([(200, body)], *arguments, input="{}")
    assert result.exit_code == 3
    assert "does something else listen there?" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [["status", "../../x"], ["figure", ID, "x/y", "-o", "a.svg"], ["figure", ID, "x", "-o", "a"],
     ["submit", "/no/such/file"], ["results", ID, "--format", "xml"], ["nonsense"],
     ["submit", "-", "--key", "\xe9"], ["submit", "-", "--key", "a\nb"],
     ["submit", "-", "--key", ""], ["list", "--name", "\udcff"], ["submit"],
     ["submit", "-", "--preset", "fig1a"], ["submit", "-", "--set", "a=1"],
     ["submit", "-", "--scale", "mini"], ["submit", "--preset", "fig1a", "--set", "a"],
     ["submit", "--preset", "fig1a", "--set", "a..b=1"],
     ["submit", "--preset", "fig1a", "--set", "preset=fig1c"], ["presets", "../x"],
     ["submit", "--preset", "fig1a", "--set", "a=1", "--set", "a.b=1"]],
)  # fmt: skip
def test_wrong_usage_exits_2_without_asking(play: Play, arguments: list[str]) -> None:
    result, asked = play([(200, {})], *arguments)
    assert (result.exit_code, asked) == (2, [])


SUMMARY = {
    "id": ID, "name": "[bold]demo", "score": "s", "interval": "t",
    "points": [
        {"variant": "blur", "point": {"deficit.end": 4}, "n": 2, "runs": 3, "mean": 0.925,
         "interval": [0.9, 0.95], "drop": {"mean": 0.02}},
        {"variant": None, "point": {"deficit.end": [1]}, "n": 0, "runs": 3, "mean": None,
         "interval": None, "drop": None},
    ],
}  # fmt: skip


JOB_PLAN = PLAN | {
    "epochs": PLAN["epochs"] | {"new": 0, "replayed": 5},
    "measurements": {"asked": 12, "stored": 4, "new": 8},
}


def job(state: str, done: int = 0) -> dict[str, Any]:
    found = status(state) | {"measures": "1" * 24, "time_left_seconds": None, "plan": JOB_PLAN}
    found["progress"]["measurements"] = {"done": done, "planned": 8}
    return found


def test_measure_posts_the_file_and_follows_the_job_by_its_measurements(play: Play) -> None:
    answers = [(202, job("queued")), (200, job("running", 4)), (200, job("succeeded", 8))]
    text = '{"fisher": {}}'
    result, asked = play(answers, "measure", "1" * 24, "-", "--watch", "--key", "k", input=text)
    assert (result.exit_code, result.stdout) == (0, ID + "\n")
    assert asked[0] == ("POST", f"/v1/experiments/{'1' * 24}/measurements", text.encode())
    assert "12 measurements, 4 there already, 8 new; 5 epochs replayed" in result.stderr
    assert "running 4/8 measurements" in result.stderr
    assert "measurements: 8 of 8" in result.stderr


def test_measure_can_say_what_there_would_be_to_do(play: Play) -> None:
    answers = [(200, {"plan": JOB_PLAN, "asked": {}})]
    result, asked = play(answers, "measure", ID, "-", "--dry-run", input="{}")
    assert asked[0][1] == f"/v1/experiments/{ID}/measurements?dry_run=true"
    assert "8 new" in result.stdout


def test_results_come_as_a_table_as_json_and_as_csv(play: Play) -> None:
    table, _ = play([(200, SUMMARY)], "results", ID)
    assert all(word in table.stdout for word in ("[bold]demo", "92.50 %", "90.00 to", "2 of 3"))
    as_json, _ = play([(200, SUMMARY)], "results", ID, "--format", "json")
    assert json.loads(as_json.stdout) == SUMMARY
    as_csv, _ = play([(200, SUMMARY)], "results", ID, "--format", "csv")
    assert as_csv.stdout.splitlines()[:2] == [
        "variant,deficit.end,n,runs,mean,low,high,drop",
        "blur,4,2,3,0.925,0.9,0.95,0.02",
    ]


def test_a_figure_is_saved_in_the_form_that_its_name_says(play: Play, tmp_path: Path) -> None:
    target = tmp_path / "a.svg"
    result, asked = play([(200, b"<svg/>")], "figure", ID, "fisher_trace", "-o", str(target))
    assert result.exit_code == 0
    assert target.read_bytes() == b"<svg/>"
    assert asked[0][1] == f"/v1/experiments/{ID}/figures/fisher_trace?format=svg"
    drawn = ["figure", ID, "critical_period", "-o", str(tmp_path / "a.pdf")]
    _, asked = play([(200, b"%PDF")], *drawn, "--overlay", "fig1a", "--overlay", "fig1a_clean")
    assert asked[0][1].endswith("?format=pdf&overlay=fig1a&overlay=fig1a_clean")


def test_an_archive_is_there_whole_or_not_at_all(play: Play, tmp_path: Path) -> None:
    target = tmp_path / "all.zip"
    arguments = ["export", ID, "-o", str(target), "--checkpoints", "final"]
    result, asked = play([(200, b"PK")], *arguments)
    assert (result.exit_code, target.read_bytes()) == (0, b"PK")
    assert asked[0][1] == f"/v1/experiments/{ID}/export.zip?checkpoints=final"
    target.unlink()
    for answer, status in ((None, 3), ((409, {"title": "Conflict", "detail": "ask later"}), 2)):
        result, _ = play([answer], *arguments)
        assert result.exit_code == status
        assert list(tmp_path.iterdir()) == []
    elsewhere, _ = play([(200, b"PK")], "export", ID, "-o", str(tmp_path / "no" / "all.zip"))
    assert elsewhere.exit_code == 2
    assert "cannot be written" in elsewhere.stderr


def test_list_asks_for_pages_until_it_has_enough(play: Play) -> None:
    page = {"experiments": [status("running", 1)], "next": "x", "next_page_token": "t"}
    result, asked = play([(200, page)], "list", "-n", "2", "--tag", "lab:vision")
    assert len(result.stdout.splitlines()) == 2
    assert "\x1b" not in result.stdout
    assert "page_token=t" in asked[1][1]
    assert "tag=lab%3Avision" in asked[0][1]


def test_list_says_beside_the_others_what_could_not_be_read(play: Play) -> None:
    lost = [{"id": "f" * 24, "detail": "plan.json does not verify\x1b[2J"}]
    page = {"experiments": [status("running", 1)], "unreadable": lost, "next_page_token": None}
    result, _ = play([(200, page)], "list")
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr.startswith(f"{'f' * 24}  cannot be read: plan.json does not verify")
    assert "\x1b" not in result.stderr
    assert result.exit_code == 0


def test_cancel_says_what_was_cancelled(play: Play) -> None:
    result, asked = play([(200, status("cancelled"))], "cancel", ID)
    assert result.stdout == f"{ID} cancelled\n"
    assert asked == [("POST", f"/v1/experiments/{ID}/cancel", b"")]


def test_retry_posts_once_with_its_key_and_prints_the_new_id(play: Play) -> None:
    result, asked = play([(202, status("queued"))], "retry", ID, "--key", "k")
    assert result.stdout == f"{ID}\n"
    assert asked == [("POST", f"/v1/experiments/{ID}/retry", b"")]


# --- as a process of its own ---

PAGE = {"experiments": [status("running", 1)] * 20, "next": None, "next_page_token": None}


def hubel(url: str, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "api.cli", *arguments]
    env = os.environ | {"HUBEL_URL": url}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, **streams)


def test_a_full_disk_is_said_in_one_line() -> None:
    for arguments in (["list"], ["list", "--help"], ["--help"]):
        with script([(200, PAGE)]) as (url, _), open("/dev/full", "wb") as full:
            process = hubel(url, *arguments, stdout=full)
            said = process.communicate(timeout=60)[1].decode()
        assert said == "The output cannot be written: No space left on device\n"
        assert process.returncode == 2


def test_a_reader_that_has_enough_ends_it_quietly() -> None:
    for arguments, answer in ((["list"], PAGE), (["results", ID], SUMMARY)):
        read, write = os.pipe()
        os.close(read)
        with script([(200, answer)]) as (url, _):
            process = hubel(url, *arguments, stdout=write)
            os.close(write)
            assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 141


def test_ctrl_c_while_it_waits_for_its_input_exits_130(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spec")
    with script([(200, {})]) as (url, asked):
        process = hubel(url, "submit", str(tmp_path / "spec"))
        with (tmp_path / "spec").open("wb"):  # waits until it is opened for reading
            time.sleep(1)  # a signal just before the read itself is seen only after it
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60)[1].strip() == b""
        assert (process.returncode, asked) == (130, [])
