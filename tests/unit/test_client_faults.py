"""The Python client against a service that refuses, stumbles, breaks off, or is not there."""

import json
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

import hubel
from api.sdk import asked, frames, http, waiting
from hubel import Client, ExperimentFailed, ServiceError

ID = "0" * 24
PLAN = {"runs": 2, "epochs": {"alone": 8, "shared": 6, "stored": 0, "new": 6, "replayed": 0}}
PLAN |= {"device_seconds": 61.2}


def status(state: str, done: int = 0) -> dict[str, Any]:
    return {
        "id": ID, "name": "<b>", "state": state, "created": "2026-01-01T00:00:00.000Z",
        "progress": {"epochs": {"done": done, "planned": 6}, "runs": {"total": 2}},
        "time_left_seconds": 75.0, "tags": {}, "plan": PLAN,
        "failures": [{"run": 1, "reason": "no memory"}] if state == "failed" else [],
    }  # fmt: skip


class Script(BaseHTTPRequestHandler):
    """Gives (status, body, headers) in order, the last again and again; None breaks off."""

    protocol_version = "HTTP/1.1"
    answers: list[Any]
    asked: list[tuple[str, str, Any, bytes]]

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.command, self.path, self.headers, body))
        given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if given is None:
            self.close_connection = True
            return
        code, found, *headers = given
        raw = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(code)
        for name, value in [("Content-Length", str(len(raw))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


Play = Callable[..., tuple[Client, list[Any]]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """play(*answers): a client of a service that gives them, and what it was asked."""
    monkeypatch.setattr(http, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(waiting, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("HUBEL_TOKEN", "a-secret")
    with ExitStack() as stack:

        def run(*answers: Any) -> tuple[Client, list[Any]]:
            handler = type("Given", (Script,), {"answers": list(answers), "asked": []})
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            client = Client(f"http://127.0.0.1:{server.server_port}/")
            return stack.enter_context(client), handler.asked

        yield run


AGAIN = ("Retry-After", "0")


@pytest.mark.parametrize("lost", [None, (502, b"<html>"), (503, {}, AGAIN), (429, {}, AGAIN)])
def test_a_submit_without_an_answer_is_sent_again_under_one_key(play: Play, lost: Any) -> None:
    client, calls = play(lost, lost, (202, status("queued")))
    assert client.submit({"seeds": [0]}).id == ID
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in calls}
    assert (len(calls), len(keys)) == (3, 1)
    assert {body for *_, body in calls} == {b'{"seeds":[0]}'}
    client.submit({"seeds": [0]})
    assert calls[-1][2]["Idempotency-Key"] not in keys


def test_a_key_that_is_still_in_flight_is_waited_for_and_another_conflict_is_not(
    play: Play,
) -> None:
    client, _ = play((409, {}, AGAIN), (202, status("queued")))
    assert client.submit({}, key="mine").id == ID
    client, calls = play((409, {"title": "Refused in this state", "detail": "it has ended"}))
    with pytest.raises(ServiceError, match="it has ended"):
        client.submit({})
    assert len(calls) == 1


def test_the_service_says_when_to_ask_again_and_is_not_waited_for_all_day(play: Play) -> None:
    client, calls = play((429, {}, ("Retry-After", "3600")))
    with pytest.raises(ServiceError) as caught:
        client.datasets()
    assert (caught.value.status, caught.value.retry_after, len(calls)) == (429, 3600, 1)


def test_what_has_no_key_is_sent_again_only_where_it_was_refused(play: Play) -> None:
    client, calls = play((429, {}, AGAIN), None, (201, {"id": "x", "secret": "s"}))
    with pytest.raises(ServiceError, match="No answer"):
        client.webhooks.create("https://lab.example", ["experiment.failed"])
    assert len(calls) == 2


def test_a_refusal_is_one_error_with_all_that_was_said(play: Play) -> None:
    fault = {"pointer": "/model/width", "code": "x", "message": "should be \x1b[1mmore"}
    body = {"type": "/problems/invalid", "title": "Invalid", "status": 422, "detail": "width"}
    body |= {"errors": [fault], "request_id": "r1"}
    client, calls = play((422, body))
    with pytest.raises(ServiceError) as caught:
        client.submit({})
    error = caught.value
    assert (error.status, error.type, error.detail) == (422, "/problems/invalid", "width")
    assert (error.errors, error.request_id, len(calls)) == ((fault,), "r1", 1)
    assert "/model/width  should be" in str(error)
    assert "\x1b" not in str(error)
    again = pickle.loads(pickle.dumps(error))  # as processes hand it on
    assert (str(again), again.status) == (str(error), 422)


@pytest.mark.parametrize("body", [b"<html>", b"\xff", b"null", b'"text"'])
def test_an_answer_from_some_other_server_is_said_to_be_one(play: Play, body: bytes) -> None:
    client, _ = play((200, body))
    for ask in (client.datasets, lambda: client.experiment(ID), client.experiments):
        with pytest.raises(ServiceError, match="does something else listen there"):
            ask()


def test_the_token_is_sent_and_never_shown(play: Play) -> None:
    client, calls = play((200, status("running")))
    found = client.experiment(ID)
    assert calls[0][2]["Authorization"] == "Bearer a-secret"
    assert "secret" not in f"{client!r}{found!r}{found._repr_html_()}{vars(client)}"
    assert repr(Client("http://me:secret@lab.example/")) == "Client('http://lab.example')"
    with pytest.raises(ValueError, match="token") as caught:
        Client(token="two secrets")
    assert "secrets" not in str(caught.value)


def test_no_proxy_sees_what_is_asked_on_this_machine(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    client, _ = play((200, {"datasets": []}))
    assert client.datasets() == []


def test_waiting_outlasts_outages_and_says_so_once(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    away = [None, (503, {}), (429, {}), (500, b"x")]
    client, calls = play((202, status("queued")), *away, (200, status("succeeded", 6)))
    made = client.submit({})
    assert made.wait() is made
    assert len(calls) == 6
    told = capsys.readouterr().err
    assert told.count("Asking again until it answers") == 1
    assert f"{ID} succeeded 6/6 epochs" in told
    assert "6 of 6 epochs" in made._repr_html_()
    assert "&lt;b&gt;" in made._repr_html_()


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_waiting_for_what_does_not_succeed_raises_unless_told_not_to(
    play: Play, state: str
) -> None:
    client, _ = play((200, status(state)))
    with pytest.raises(ExperimentFailed, match=ID) as caught:
        client.experiment(ID).wait(progress=False)
    assert (caught.value.id, caught.value.state) == (ID, state)
    assert ("run 1: no memory" in str(caught.value)) == (state == "failed")
    assert client.experiment(ID).wait(progress=False, check=False).id == ID


def test_ctrl_c_leaves_the_experiment_running_and_says_how_to_go_on(
    play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    client, calls = play((200, status("running", 1)))
    monkeypatch.setattr(waiting.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.experiment(ID).wait(progress=False)
    assert f"client.experiment({ID!r}).wait()" in capsys.readouterr().err
    assert {method for method, *_ in calls} == {"GET"}


def test_waiting_can_end_after_a_time_and_at_a_refusal(play: Play) -> None:
    client, _ = play((200, status("running", 1)))
    with pytest.raises(TimeoutError, match="goes on"):
        client.experiment(ID).wait(progress=False, timeout=0.02)
    client, _ = play((200, status("running", 1)), (404, {"title": "Not found"}))
    with pytest.raises(ServiceError, match="Not found"):
        client.experiment(ID).wait(progress=False)


def test_what_python_has_becomes_json(play: Play) -> None:
    client, calls = play((202, status("queued")))
    swept, model = {"deficit.end": np.arange(0, 9, 4)}, {"width": np.float32(0.5)}
    others = {"seeds": range(2), "fisher": None, "sweep": swept, "model": model}
    client.submit(preset="fig1a", scale="mini", **others)
    assert json.loads(calls[0][3]) == {
        "preset": "fig1a", "scale": "mini", "seeds": [0, 1], "fisher": None,
        "sweep": {"deficit.end": [0, 4, 8]}, "model": {"width": 0.5},
    }  # fmt: skip
    client.submit("fig1c")
    assert json.loads(calls[1][3]) == {"preset": "fig1c"}
    for wrong in ({}, {"spec": {}, "preset": "fig1a"}, {"spec": {}, "seeds": [0]}):
        with pytest.raises(TypeError):
            client.submit(**wrong)


def test_a_model_of_the_spec_is_sent_as_it_was_written() -> None:
    spec = hubel.ExperimentSpec(
        training=hubel.Training(epochs=3),
        deficit=hubel.Blur(name="blur", end=2),
        fisher=hubel.Fisher(every=1),
    )
    assert asked.plain(spec) == {
        "training": {"epochs": 3},
        "deficit": {"name": "blur", "end": 2},
        "fisher": asked.plain(spec.fisher),
    }
    assert hubel.ExperimentSpec.model_validate(asked.plain(spec)) == spec
    with pytest.raises(AttributeError, match="no 'Blurr'"):
        _ = hubel.Blurr


def test_a_name_that_is_no_part_of_a_path_is_refused_here(play: Play) -> None:
    client, calls = play((200, {}))
    for ask in (client.experiment, client.preset, client.delete_dataset, client.webhooks.delete):
        with pytest.raises(ValueError, match="no id or name"):
            ask("../x")
    assert calls == []


def test_a_frame_has_every_digit_and_names_stay_text() -> None:
    rows = [
        "time,run,variant,epoch,value,non_finite",
        "2026-01-31T12:00:00.250Z,0,NA,1,0.1234567890123456789,",
        "2026-01-31T12:00:01.000Z,1,0.10,1,,nan",
    ]
    found = frames.of_csv("\r\n".join(rows).encode())
    assert list(found["variant"]) == ["NA", "0.10"]
    assert found["value"][0] == 0.1234567890123456789
    assert np.isnan(found["value"][1])
    assert found["time"][0].isoformat() == "2026-01-31T12:00:00.250000+00:00"


def test_infinity_is_itself_in_a_frame_and_the_name_of_a_data_set_is_no_number() -> None:
    wide = [
        "time,run,dataset.name,train_loss,test_loss,non_finite",
        "2026-01-31T12:00:00.250Z,0,007,,,train_loss=NaN;test_loss=-Infinity",
        "2026-01-31T12:00:01.000Z,1,7,0.5,0.5,",
    ]
    found = frames.of_csv("\r\n".join(wide).encode())
    assert list(found["dataset.name"]) == ["007", "7"]
    np.testing.assert_array_equal(found["train_loss"], [np.nan, 0.5])
    np.testing.assert_array_equal(found["test_loss"], [-np.inf, 0.5])
    long = "time,value,non_finite\r\n2026-01-31T12:00:00.250Z,,Infinity"
    assert frames.of_csv(long.encode())["value"][0] == np.inf


def test_reading_digits_exactly_is_asked_of_the_pandas_that_do_not_by_themselves() -> None:
    asked_for = {"float_precision": "round_trip"}
    assert [frames._exactly(v) for v in ("2.2.3", "3.0.0", "3.1.1", "3.10.0rc1")] == [
        asked_for, asked_for, {}, {},
    ]  # fmt: skip


def test_what_is_not_installed_is_named_with_its_extra(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, calls = play((200, status("succeeded")))
    found = client.experiment(ID)
    for module, ask in (("pandas", found.metrics), ("altair", lambda: found.figure("x"))):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=rf"{module}.*hubel\[client\]"):
            ask()
    assert len(calls) == 1


def test_a_file_is_there_when_it_is_whole(play: Play, tmp_path: Any) -> None:
    client, _ = play((200, b"PK", ("Content-Length", "99")), (200, b"PK\x05\x06"))
    target = tmp_path / "all.zip"
    target.write_bytes(b"old")
    client._http._client.timeout = 0.2
    assert hubel.Experiment(client._http, ID).export(target).read_bytes() == b"PK\x05\x06"
    assert [file.name for file in tmp_path.iterdir()] == ["all.zip"]


GONE = (404, {"title": "Not Found", "detail": "no such experiment", "status": 404})


def test_what_was_deleted_by_a_try_whose_answer_was_lost_is_deleted(play: Play) -> None:
    client, asked = play((200, status("succeeded")), None, GONE)
    client.experiment(ID).delete()
    assert [method for method, *_ in asked] == ["GET", "DELETE", "DELETE"]


def test_deleting_what_is_not_there_is_refused(play: Play) -> None:
    client, _ = play((200, status("succeeded")), GONE)
    with pytest.raises(ServiceError, match="no such experiment"):
        client.experiment(ID).delete()
