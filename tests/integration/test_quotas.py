"""Never more device seconds are accepted than a token allows, whoever asks and wherever."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from small import body

from api import quotas
from api.service import Service
from shared import names
from shared.errors import Forbidden, HubelError
from shared.live import Live
from shared.measurements import LaterMeasurements
from shared.queue import Sender, make_app
from shared.records import Records
from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.storage import Storage
from shared.tokens import Principal

pytestmark = pytest.mark.services


def spec(seed: int) -> ExperimentSpec:
    return ExperimentSpec.model_validate(body(seeds=[seed], sweep={}))


def principal(seconds: float) -> Principal:
    return Principal(names.new_token_id(), "a student", "submit", device_seconds=seconds)


def replica(settings: Settings) -> Service:
    """As another process of the API has it."""
    app = make_app(settings)
    return Service(Records(Storage(settings)), Live(settings), Sender(app), settings)


@pytest.fixture
def service(settings: Settings, storage: Storage) -> Service:
    return replica(settings)


def test_forty_requests_at_two_processes_are_accepted_up_to_the_quota_and_not_beyond(
    service: Service, settings: Settings
) -> None:
    cost = service.dry_run(spec(0)).device_seconds
    student = principal(7.5 * cost)
    services = (service, replica(settings))

    def ask(seed: int) -> tuple[str, str]:
        try:
            return "accepted", services[seed % 2].accept(spec(seed), student)[0].id
        except Forbidden as error:
            return error.code, ""

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(ask, range(40)))
    accepted = [id for answer, id in answers if answer == "accepted"]
    assert len(accepted) == 7
    assert {answer for answer, id in answers if not id} == {"quota-exhausted"}
    for one in (*services, replica(settings)):
        assert one.quotas.used(student.id) == pytest.approx(7 * cost)
    assert list(service.store.names(names.INDEX)) == sorted(map(names.index_entry, accepted))


def test_the_refusal_says_what_is_used_asked_and_allowed(service: Service) -> None:
    cost = service.dry_run(spec(0)).device_seconds
    student = principal(1.5 * cost)
    service.accept(spec(0), student)
    with pytest.raises(Forbidden) as refused:
        service.accept(spec(1), student)
    for number in (1.5 * cost, cost, 0.5 * cost):
        assert f"{number:g}" in refused.value.detail
    assert "a student" in refused.value.detail


def test_the_same_experiment_is_charged_once(service: Service, settings: Settings) -> None:
    cost = service.dry_run(spec(0)).device_seconds
    student = principal(1.5 * cost)
    first, _ = service.accept(spec(0), student, "key")
    again, made = replica(settings).accept(spec(0), student, "key")
    assert (again.id, made) == (first.id, False)
    replica(settings).quotas.charge(student, first.id, cost)  # by whoever completes it
    assert service.quotas.used(student.id) == pytest.approx(cost)


def test_who_has_no_quota_is_not_charged(service: Service) -> None:
    someone = Principal(names.new_token_id(), "x", "submit")
    service.accept(spec(0), someone)
    assert list(service.store.names(names.ledger(someone.id))) == []


def test_what_was_not_trained_is_given_back_when_it_is_needed(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = service.dry_run(spec(0)).device_seconds
    student = principal(1.5 * cost)
    first, _ = service.accept(spec(0), student)
    service.cancel(first.id)
    with pytest.raises(Forbidden):  # a worker may still be storing what it was at
        service.accept(spec(1), student)
    monkeypatch.setattr(quotas, "ENDED_FOR_SECONDS", 0.0)
    service.accept(spec(1), student)
    with pytest.raises(Forbidden):
        service.accept(spec(2), student)
    assert replica(settings).quotas.used(student.id) == pytest.approx(cost)


def test_what_was_trained_is_not_given_back(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "ENDED_FOR_SECONDS", 0.0)
    lab.start_worker()
    cost = lab.service.dry_run(spec(0)).device_seconds
    student = principal(1.6 * cost)
    first, _ = lab.service.accept(spec(0), student)
    assert lab.wait(first.id)["state"] == "succeeded"
    with pytest.raises(Forbidden):
        lab.service.accept(spec(1), student)
    assert lab.service.quotas.used(student.id) == pytest.approx(cost)
    again, _ = lab.service.accept(spec(0), student)  # all of it is stored: it costs nothing
    assert lab.wait(again.id)["state"] == "succeeded"
    inside = LaterMeasurements.model_validate({"fisher": {"epochs": [1], "samples": 8}})
    replayed = lab.service.jobs.plan(first.id, inside).device_seconds
    assert 0 < replayed < 0.6 * cost
    lab.service.jobs.accept(first.id, inside, student)
    assert lab.service.quotas.used(student.id) == pytest.approx(cost + replayed)


def test_a_charge_without_an_experiment_is_given_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed between the two leaves one."""
    student = principal(10)
    service.quotas.charge(student, names.new_experiment_id(), 8)
    with pytest.raises(Forbidden):
        service.quotas.charge(student, names.new_experiment_id(), 8)
    monkeypatch.setattr(quotas, "LOST_AFTER_SECONDS", -1.0)
    service.quotas.charge(student, names.new_experiment_id(), 8)
    assert service.quotas.used(student.id) == 8


def test_a_damaged_entry_of_a_ledger_is_mended(service: Service, settings: Settings) -> None:
    student = principal(10)
    service.quotas.charge(student, names.new_experiment_id(), 8)
    (entry,) = service.store.names(names.ledger(student.id))
    whole = service.store.read(entry)
    service.store.write(entry, whole.replace(b"8", b"0"))
    assert replica(settings).quotas.used(student.id) == 8
    assert service.store.read(entry) == whole


def test_a_ledger_holds_no_more_than_ids_and_numbers(service: Service) -> None:
    student = principal(10)
    id = f"{0:012x}{secrets.token_hex(6)}"
    service.quotas.charge(student, id, 8)
    (entry,) = service.store.names(names.ledger(student.id))
    assert service.store.read_json(entry) == {"experiment": id, "seconds": 8, "settled": False}


def test_a_store_that_is_away_accepts_nothing(settings: Settings) -> None:
    away = replica(settings.model_copy(update={"s3_endpoint": "127.0.0.1:1"}))
    with pytest.raises(HubelError) as refused:
        away.quotas.charge(principal(10), names.new_experiment_id(), 1)
    assert refused.value.status == 503
