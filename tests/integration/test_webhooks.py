"""Webhooks on a real store and a real Redis, told to a real receiver that verifies what it gets."""

import json
import logging
import os
import secrets
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis
import trustme
from api_process import api_process
from click.testing import CliRunner
from receiver import Receiver, receiving
from serving import serving
from small import body
from standardwebhooks import Webhook as Reference
from standardwebhooks import WebhookVerificationError

from api import cli, deliveries, dispatch, outcome, webhooks
from api.courier import Courier
from api.dispatch import Dispatcher
from api.service import Service
from deploy.servers import free_ports
from shared import addresses, names
from shared.addresses import Pinned
from shared.check import findings
from shared.errors import Invalid
from shared.findings import Report
from shared.live import Live
from shared.queue import Sender, make_app
from shared.records import Records
from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.storage import Storage

pytestmark = pytest.mark.services

SPEC = ExperimentSpec.model_validate(
    body(dataset={"name": "gratings", "train_samples": 128, "test_samples": 64}, sweep={})
)


@pytest.fixture
def private(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Receivers of these tests are on this machine, and what fails is tried again soon."""
    monkeypatch.setattr(deliveries, "PAUSES", (0.3, 0.3))
    monkeypatch.setattr(dispatch, "LONGEST_REST", 0.1)
    return settings.model_copy(update={"webhook_private": True, "reconcile_seconds": 0.2})


def service_of(settings: Settings) -> Service:
    sender = Sender(make_app(settings))
    return Service(Records(Storage(settings).open()), Live(settings), sender, settings)


@pytest.fixture
def service(private: Settings, storage: Storage) -> Service:
    """Of a process beside the one that serves."""
    return service_of(private)


@pytest.fixture
def http(private: Settings, storage: Storage) -> Iterator[httpx.Client]:
    with (
        serving(private) as url,
        httpx.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def made(http: httpx.Client, receiver: Receiver, **more: Any) -> str:
    answer = http.post("/v1/webhooks", json={"url": receiver.url, **more})
    assert answer.status_code == 201, answer.text
    receiver.secret = answer.json()["secret"]
    return str(answer.json()["id"])


def ended(service: Service, state: str = "succeeded") -> str:
    experiment, _ = service.accept(SPEC)
    assert service.finish(experiment.id, outcome.ended(state, []))
    return experiment.id


def until(holds: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def tried(http: httpx.Client, id: str) -> list[tuple[str, list[int | None]]]:
    """State and statuses of each delivery."""
    page = http.get(f"/v1/webhooks/{id}/deliveries").json()
    return [(d["state"], [t["status"] for t in d["tries"]]) for d in page["deliveries"]]


def test_each_end_is_told_once_signed_and_thin(
    http: httpx.Client, service: Service, receiver: Receiver
) -> None:
    before = ended(service)
    hook = made(http, receiver)
    ids = {state: ended(service, state) for state in ("succeeded", "failed")}
    answer = http.post("/v1/experiments", json=SPEC.model_dump(mode="json", exclude_unset=True))
    ids["cancelled"] = answer.json()["id"]
    assert http.post(f"/v1/experiments/{ids['cancelled']}/cancel").status_code == 200
    until(lambda: len(receiver.messages) >= 3)
    time.sleep(0.5)  # and no more
    assert sorted(receiver.told) == [f"experiment.{state}" for state in sorted(ids)]
    assert len({m.id for m in receiver.messages}) == 3
    for message in receiver.messages:
        told = message.body["data"]
        status = http.get(told["links"]["self"]).json()
        assert told["id"] == ids[told["state"]] != before
        assert (told["name"], told["state"]) == (status["name"], status["state"])
        assert message.body["timestamp"] == status["finished"]
        assert message.headers["host"] == receiver.url.split("/")[2]
        assert message.headers["content-type"] == "application/json"
    assert tried(http, hook) == [("delivered", [204])] * 3
    assert list(service.store.names("webhooks/due/")) == []


def test_only_the_events_that_were_asked_for_are_told(
    http: httpx.Client, service: Service, receiver: Receiver
) -> None:
    hook = made(http, receiver, events=["experiment.failed"])
    ended(service)
    ended(service, "failed")
    until(lambda: receiver.messages and not list(service.store.names("webhooks/due/")))
    assert receiver.told == ["experiment.failed"]
    assert tried(http, hook) == [("delivered", [204])]


def test_a_body_that_somebody_changed_does_not_verify(
    http: httpx.Client, service: Service, receiver: Receiver
) -> None:
    made(http, receiver)
    ended(service, "failed")
    until(lambda: receiver.messages)
    message, reference = receiver.messages[0], Reference(receiver.secret)
    assert reference.verify(message.raw, message.headers)["type"] == "experiment.failed"
    forged = message.raw.replace(b"failed", b"succeeded")
    for raw, headers in (
        (forged, message.headers),
        (message.raw, message.headers | {"webhook-id": "msg_other"}),
        (message.raw, message.headers | {"webhook-timestamp": str(int(time.time()) - 60)}),
    ):
        with pytest.raises(WebhookVerificationError):
            reference.verify(raw, headers)
    with pytest.raises(WebhookVerificationError):
        Reference("whsec_" + "A" * 44).verify(message.raw, message.headers)


def test_after_500_it_is_tried_again_under_the_same_id_until_it_is_taken(
    http: httpx.Client, service: Service, receiver: Receiver
) -> None:
    receiver.says = lambda number: (500 if number < 3 else 200, {})
    hook = made(http, receiver)
    ended(service)
    until(lambda: tried(http, hook) == [("delivered", [500, 500, 200])])
    assert len({m.id for m in receiver.messages}) == 1
    assert len({m.raw for m in receiver.messages}) == 1


def test_tries_end(http: httpx.Client, service: Service, receiver: Receiver) -> None:
    receiver.says = lambda _: (503, {})
    hook = made(http, receiver)
    ended(service)
    until(lambda: tried(http, hook) == [("failed", [503] * 3)])
    last = http.get(f"/v1/webhooks/{hook}/deliveries").json()["deliveries"][0]
    assert last["next_try"] is None
    assert last["tries"][-1]["reason"] == "503 Service Unavailable"


def test_the_schedule_takes_more_than_a_day_and_less_than_a_day_and_a_half() -> None:
    whole = sum(deliveries.PAUSES) / 3600
    assert 24 < whole < whole * (1 + deliveries.JITTER) < 36
    delivery = deliveries.Delivery(
        id=names.message(round(time.time() * 1000), "0" * 24), type="x", experiment=None, due=0
    )
    for pause in deliveries.PAUSES:
        delivery = delivery.after(webhooks_answer(500), time.time())
        assert delivery.due is not None
        wait = delivery.due / 1000 - time.time()
        assert pause - 1 < wait < pause * (1 + deliveries.JITTER)
    assert delivery.after(webhooks_answer(None), time.time()).state == "failed"


def webhooks_answer(status: int | None) -> deliveries.Answer:
    return deliveries.Answer(status, "as asked")


def test_a_receiver_that_was_away_is_told_when_it_is_back(
    http: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PAUSES", (0.5,) * 60)
    (port,) = free_ports(1)
    away = Receiver(url=f"http://127.0.0.1:{port}/hook")
    hook = made(http, away)
    id = ended(service)
    until(lambda: ("waiting", [None]) in [(state, t[:1]) for state, t in tried(http, hook)])
    with receiving(port) as receiver:
        receiver.secret = away.secret
        until(lambda: receiver.messages)
        assert receiver.messages[0].body["data"]["id"] == id
        until(lambda: tried(http, hook)[0][0] == "delivered")


def test_one_receiver_that_hangs_holds_up_no_other(
    http: httpx.Client, service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.courier.ALL_SECONDS", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hook = made(http, Receiver(url=f"http://127.0.0.1:{silent.getsockname()[1]}/"))
        made(http, receiver)
        began = time.monotonic()
        for _ in range(3):
            ended(service)
        until(lambda: len(receiver.messages) == 3)
        assert time.monotonic() - began < 1.5
        until(lambda: tried(http, hook))
    assert "no answer within 1.5 s" in http.get(f"/v1/webhooks/{hook}/deliveries").text


def test_what_waited_too_long_behind_a_receiver_that_is_away_is_given_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one try for all of it."""
    monkeypatch.setattr(deliveries, "MOST_AGE", 0.0)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/hook"
    hook = service.webhooks.make(webhooks.NewWebhook(url=url), "us")
    for _ in range(3):
        ended(service)
    Dispatcher(service)._serve(hook.id)
    found = [service.deliveries.shown(name) for name in service.deliveries.newest(hook.id, None)]
    assert [one["state"] for one in found] == ["failed"] * 3
    reasons = [one["tries"][-1]["reason"] for one in reversed(found)]
    assert "no answer" in reasons[0]
    assert all("not sent: it waited" in reason for reason in reasons[1:])
    assert list(service.store.names("webhooks/due/")) == []


def test_an_end_that_cannot_be_read_holds_up_no_other_and_is_told_once_it_is_mended(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "UNREADABLE_SECONDS", 0.2)
    hook = service.webhooks.make(webhooks.NewWebhook(url=receiver.url), "us")
    receiver.secret = hook.secret.get_secret_value()
    damaged, whole = ended(service), ended(service, "failed")
    name = names.experiment_object(damaged, "outcome.json")
    kept = service.store.read(name)
    for each in (name, names.copy(name)):
        service.store.write(each, b'{"sta')
    reader = Dispatcher(service_of(service.settings))
    reader._serve(hook.id)
    assert [m.body["data"]["id"] for m in receiver.messages] == [whole]
    service.store.write(name, kept)
    time.sleep(0.3)
    reader._serve(hook.id)
    assert [m.body["data"]["id"] for m in receiver.messages] == [whole, damaged]


def test_410_disables_a_webhook_for_good(
    http: httpx.Client, service: Service, receiver: Receiver
) -> None:
    receiver.says = lambda _: (410, {})
    hook = made(http, receiver)
    ended(service)
    until(lambda: http.get(f"/v1/webhooks/{hook}").json()["state"] == "disabled")
    until(lambda: tried(http, hook) == [("failed", [410])])
    ended(service)
    until(lambda: tried(http, hook) == [("failed", [None]), ("failed", [410])])
    assert len(receiver.messages) == 1
    assert "410" in http.get(f"/v1/webhooks/{hook}").json()["disabled"]["reason"]
    assert http.post(f"/v1/webhooks/{hook}/test").status_code == 409


def test_a_redirect_is_not_followed(
    http: httpx.Client, service: Service, receiver: Receiver
) -> None:
    with receiving() as elsewhere:
        receiver.says = lambda _: (307, {"Location": elsewhere.url})
        hook = made(http, receiver)
        found = http.post(f"/v1/webhooks/{hook}/test").json()
        assert (found["state"], found["tries"][0]["status"]) == ("failed", 307)
        assert "redirect" in found["tries"][0]["reason"]
        assert elsewhere.messages == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/x", "not a public address"),
        ("https://localhost/x", "not a public address"),
        ("http://169.254.169.254/latest", "not a public address"),
        ("http://[::ffff:10.0.0.1]/", "not a public address"),
        ("ftp://8.8.8.8/", "https://HOST"),
        ("http://user:hunter2@8.8.8.8/", "name or password"),
        ("https://bücher.example/", "xn--"),
        ("https://no-such-host.invalid/", "not known"),
        ("http://8.8.8.8:99999/", "not a URL"),
    ],
)
def test_where_nobody_should_be_sent_is_refused(
    settings: Settings, storage: Storage, url: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        service_of(settings).webhooks.make(webhooks.NewWebhook(url=url), "us")
    assert refused.value.faults[0].pointer == "/url"
    assert "hunter2" not in refused.value.detail


def test_a_name_that_moves_to_a_private_address_later_is_not_called(
    settings: Settings, storage: Storage, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name service is somebody else's: here it says what its owner wants it to."""
    port = int(receiver.url.split(":")[2].split("/")[0])
    service, real = service_of(settings), socket.getaddrinfo
    answers = iter(["93.184.215.14", "127.0.0.1"])

    def resolve(host: Any, *more: Any, **named: Any) -> Any:
        known = host == "rebound.example"
        return real(next(answers) if known else host, *more, **named)

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    url = f"http://rebound.example:{port}/"
    hook = service.webhooks.make(webhooks.NewWebhook(url=url), "us")
    found = service.deliveries.test(hook)
    assert "127.0.0.1, which is not a public address" in found.tries[0].reason
    assert receiver.messages == []


def test_what_was_looked_at_is_what_is_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is resolved once: a second answer of its owner's would count for nothing."""
    port = int(receiver.url.split(":")[2].split("/")[0])
    asked: list[object] = []
    courier = Courier(private=True)
    pinned = Pinned("rebound.example", port, ("127.0.0.1",))
    monkeypatch.setattr(Courier, "destination", lambda *_: pinned)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_names(asked))
    url = f"http://rebound.example:{port}/hook"
    assert courier.send(url, "whsec_" + "A" * 44, "msg_1", "{}").status == 204
    assert "rebound.example" not in asked
    assert receiver.messages[0].headers["host"] == f"rebound.example:{port}"


def refuse_names(asked: list[object]) -> Callable[..., Any]:
    real = socket.getaddrinfo

    def resolve(host: object, *more: Any, **named: Any) -> Any:
        asked.append(host if isinstance(host, str) else bytes(host).decode())  # type: ignore[call-overload]
        return real(host, *more, **named)

    return resolve


def test_a_certificate_counts_by_the_name_and_not_by_the_address(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example.org").configure_cert(context)
    with receiving(trusted=context) as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        secret = "whsec_" + "A" * 44
        said = {}
        for host in ("hooks.example.org", "other.example.org"):
            pinned = Pinned(host, port, ("127.0.0.1",))
            monkeypatch.setattr(Courier, "destination", lambda *_, pinned=pinned: pinned)
            said[host] = Courier(True).send(f"https://{host}:{port}/", secret, "msg_1", "{}")
        assert said["hooks.example.org"].status == 204
        assert said["other.example.org"].status is None
        assert "ertificate" in said["other.example.org"].reason
        assert len(receiver.messages) == 1


def test_an_end_whose_writer_died_before_it_was_said_to_be_due_is_told(
    private: Settings, service: Service, receiver: Receiver
) -> None:
    hook = service.webhooks.make(webhooks.NewWebhook(url=receiver.url), "us")
    receiver.secret = hook.secret.get_secret_value()
    experiment, _ = service.accept(SPEC)
    service.outcomes.write(experiment.id, outcome.ended("failed", []))
    assert list(service.store.names("webhooks/due/")) == []
    with serving(private):
        until(lambda: receiver.messages)
        until(lambda: not service.store.exists(names.active_marker(experiment.id)))
    assert receiver.messages[0].body["data"]["id"] == experiment.id
    assert len(receiver.messages) == 1


def test_a_webhook_is_not_told_what_had_ended_before_it_was_made(
    service: Service, receiver: Receiver
) -> None:
    """Also where somebody finishes it again, as the reconcile loop does."""
    id = ended(service)
    time.sleep(0.002)
    service.webhooks.make(webhooks.NewWebhook(url=receiver.url), "us")
    found = service.outcome(id)
    assert found is not None
    assert not service.finish(id, found)
    assert list(service.store.names("webhooks/due/")) == []
    ended(service)
    assert len(list(service.store.names("webhooks/due/"))) == 1


def test_a_service_that_was_killed_while_it_told_tells_again_under_the_same_id(
    private: Settings, service: Service, receiver: Receiver
) -> None:
    """And Redis loses everything at the same moment."""
    with api_process(private) as api:
        child = api.child

        def says(number: int) -> tuple[int, dict[str, str]]:
            if number == 1:
                os.kill(child.pid, signal.SIGKILL)
            return 204, {}

        receiver.says = says
        made_by = httpx.post(
            f"{api.url}/v1/webhooks", json={"url": receiver.url}, timeout=60, trust_env=False
        )
        receiver.secret = made_by.json()["secret"]
        id = ended(service)
        until(lambda: receiver.messages)
    with redis.Redis.from_url(private.redis_url.get_secret_value()) as client:
        client.flushall()
    with serving(private):
        until(lambda: len(receiver.messages) == 2)
        until(lambda: not list(service.store.names("webhooks/due/")))
    first, second = receiver.messages
    assert first.id == second.id
    assert first.raw == second.raw
    assert second.body["data"]["id"] == id


def test_a_try_that_was_noted_and_whose_mark_was_not_moved_is_not_lost(
    service: Service, receiver: Receiver
) -> None:
    receiver.says = lambda number: (500 if number == 1 else 204, {})
    hook = service.webhooks.make(webhooks.NewWebhook(url=receiver.url), "us")
    receiver.secret = hook.secret.get_secret_value()
    ended(service)
    (mark,) = service.store.names("webhooks/due/")
    dispatcher = Dispatcher(service)
    assert dispatcher._see_to(hook, mark) is False
    (moved,) = service.store.names("webhooks/due/")
    service.store.write(mark, b"")  # as if whoever moved it had died in between
    service.store.remove(moved)
    assert dispatcher._see_to(hook, mark) is None
    assert list(service.store.names("webhooks/due/")) == [moved]
    assert len(receiver.messages) == 1
    assert dispatcher._see_to(hook, moved)
    assert list(service.store.names("webhooks/due/")) == []
    service.store.write(mark, b"")  # nor is what was taken told again
    assert dispatcher._see_to(hook, mark) is None
    assert len(receiver.messages) == 2


def test_who_has_just_seen_that_there_is_no_end_tells_of_it_all_the_same(
    service: Service, receiver: Receiver
) -> None:
    hook = service.webhooks.make(webhooks.NewWebhook(url=receiver.url), "us")
    id = ended(service_of(service.settings))
    (mark,) = service.store.names("webhooks/due/")
    service.outcomes.none_yet(id)
    assert service.outcome(id) is None
    assert Dispatcher(service)._see_to(hook, mark)
    assert len(receiver.messages) == 1


def test_of_two_services_one_tells(
    private: Settings, http: httpx.Client, service: Service, receiver: Receiver
) -> None:
    made(http, receiver)
    with serving(private):
        for _ in range(5):
            ended(service)
        until(lambda: len(receiver.messages) >= 5)
        time.sleep(0.5)
    assert len(receiver.messages) == 5


def test_a_secret_is_shown_once_and_never_said_again(
    http: httpx.Client, service: Service, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.says = lambda _: (500, {})
    hook = made(http, receiver)
    ended(service)
    until(lambda: tried(http, hook) == [("failed", [500] * 3)])
    answers = [
        http.get("/v1/webhooks"),
        http.get(f"/v1/webhooks/{hook}"),
        http.get(f"/v1/webhooks/{hook}/deliveries"),
        http.post(f"/v1/webhooks/{hook}/test"),
    ]
    kept = service.store.read(names.webhook(hook)).decode()
    secret = receiver.secret.removeprefix("whsec_")
    assert secret in kept  # it has to be: each message is signed with it
    for text in (*(a.text for a in answers), caplog.text, repr(service.webhooks.find(hook))):
        assert secret not in text
    assert all(a.status_code == 200 for a in answers)
    assert json.loads(kept)["secret"] == receiver.secret


def test_a_deleted_webhook_is_gone_with_all_that_was_told_there(
    http: httpx.Client, service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "SWEEP_SECONDS", 0.0)
    hook = made(http, receiver)
    ended(service)
    until(lambda: tried(http, hook) == [("delivered", [204])])
    assert http.delete(f"/v1/webhooks/{hook}").status_code == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
        assert http.request(method, f"/v1/webhooks/{hook}{path}").status_code == 404
    until(lambda: not list(service.store.names("webhooks/")))
    assert not service.store.exists(names.copy(names.webhook(hook)))
    ended(service)
    time.sleep(0.5)
    assert len(receiver.messages) == 1


def test_there_are_no_more_than_so_many(service: Service, receiver: Receiver) -> None:
    wanted = webhooks.NewWebhook(url=receiver.url)
    for _ in range(webhooks.MOST):
        service.webhooks.make(wanted, "us")
    with pytest.raises(webhooks.Conflict, match=f"{webhooks.MOST} webhooks"):
        service.webhooks.make(wanted, "us")


def test_deliveries_come_in_pages_latest_first(
    http: httpx.Client, service: Service, receiver: Receiver
) -> None:
    hook = made(http, receiver)
    ids = [ended(service) for _ in range(5)]
    until(lambda: len(tried(http, hook)) == 5)
    path, seen = f"/v1/webhooks/{hook}/deliveries?page_size=2", []
    while path:
        page = http.get(path).json()
        seen += [one["experiment"] for one in page["deliveries"]]
        path = page["next"]
    assert seen == ids[::-1]
    assert http.get(f"/v1/webhooks/{hook}/deliveries?page_token=eA").status_code == 400


def test_an_experiment_that_was_deleted_is_not_told(service: Service, receiver: Receiver) -> None:
    hook = service.webhooks.make(webhooks.NewWebhook(url=receiver.url), "us")
    at = round(time.time() * 1000)
    mark = names.due(hook.id, at, names.message(at, names.new_experiment_id()))
    service.store.write(mark, b"")
    assert Dispatcher(service)._see_to(hook, mark) is None
    assert not service.store.exists(mark)
    assert receiver.messages == []


def test_a_check_of_the_store_knows_webhooks(
    service: Service, settings: Settings, receiver: Receiver
) -> None:
    hook = service.webhooks.make(webhooks.NewWebhook(url=receiver.url), "us")
    service.deliveries.test(hook)
    ended(service)

    def never(*_: object) -> bool:
        raise AssertionError("a worker has nothing to mend here")

    def found(repair: bool = False) -> set[tuple[str, str]]:
        report = Report(repair)
        return {
            (one.object, one.action)
            for one in findings(service.store, settings, report, never, grace_seconds=0)
            if "webhooks/" in one.object
        }

    time.sleep(1.1)  # listings tell whole seconds
    assert found() == set()
    name, told = names.webhook(hook.id), names.deliveries("f" * 20) + "0" * 12 + "-" + "0" * 24
    kept = service.store.read(name)
    service.store.write(name, kept.replace(b"127.0.0.1", b"127.0.0.2"))
    service.store.write_json(f"{told}.json", {})
    time.sleep(1.1)
    assert found(repair=True) == {(name, "rebuilt"), (f"{told}.json", "removed")}
    assert service.store.read(name) == kept
    assert found() == set()


def test_the_command_line_makes_lists_tests_and_deletes_webhooks(
    http: httpx.Client, receiver: Receiver
) -> None:
    def hubel(*arguments: str) -> Any:
        return CliRunner().invoke(cli.main, ["--url", str(http.base_url), "webhook", *arguments])

    created = hubel("create", receiver.url, "--event", "experiment.failed")
    assert created.exit_code == 0, created.output
    receiver.secret = created.stdout.strip()
    assert receiver.secret.startswith("whsec_")
    listed = hubel("list")
    assert f"live      {receiver.url}  (failed)" in listed.stdout
    assert receiver.secret not in listed.output
    (one,) = json.loads(hubel("list", "--json").stdout)
    sent = hubel("test", one["id"])
    assert (sent.exit_code, receiver.told) == (0, ["webhook.test"])
    receiver.says = lambda _: (500, {})
    refused = hubel("test", one["id"])
    assert refused.exit_code == 1
    assert "500 Internal Server Error" in refused.stdout
    assert hubel("deliveries", one["id"]).stdout.count("webhook.test") == 2
    assert hubel("delete", one["id"]).stdout == f"{one['id']} deleted\n"
    assert hubel("test", secrets.token_hex(10)).exit_code == 2
